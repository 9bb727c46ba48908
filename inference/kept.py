"""What is kept of an engine's answer as bytes. Pure.

The proxy asks engines for logprobs and ids that clients never see; they are five to fifty times the answer.
Once they are in columns of their own, keeping their JSON too would undo that. So the answer is kept as the
client got it, made by the code that made it for the client; where not every token is in its column, or the
answer has no end, as the engine sent it.
"""

from inference import capture
from inference.capture import Stream
from inference.engine.tag import Tag
from inference.exchange import Exchange
from inference.sse import StreamError
from inference.surfaces import NAMED

_TELLS_NOTHING = ("engine", "off", "unsampled", "refused", "unsupported", "untold")
"""How tokens are captured where the answer shows none for the proxy's sake."""


def answer(one: Exchange) -> bytes:
    """The answer's bytes to keep."""
    if one.status != 200 or not (one.capture in _TELLS_NOTHING or _has_all_tokens(one)):
        return one.response
    try:
        return _as_the_client_got_it(one)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, StreamError):
        return one.response


def _has_all_tokens(one: Exchange) -> bool:
    """Whether columns say everything that is taken out."""
    kept = {tokens.choice for tokens in one.tokens}
    answered = {choice.index for choice in one.choices}
    return one.capture == "wire" and one.tokens_match is True and bool(kept) and kept == answered


def _as_the_client_got_it(one: Exchange) -> bytes:
    """Raises what reading what is no answer raises."""
    plan = capture.plan(
        NAMED[one.surface],
        capture.load(one.request, deep=not NAMED[one.surface].model_first),
        served=one.model,
        public=one.route,
        capture="wire" if one.capture == "engine" else one.capture,
        top_k=one.top_k,
        tag=Tag(one.exchange_id, one.attempt, one.started_us, one.top_k) if one.capture == "engine" else None,
    )
    if not one.streamed:
        return capture.clean_body(plan, one.response)
    stream = Stream(plan)
    got = stream.feed(one.response) + stream.finish()
    if stream.broken or not stream.ended:
        raise StreamError(stream.broken or "it has no end")
    return got + stream.held()
