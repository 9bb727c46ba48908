"""What to ask an engine for beyond the client's wish, and how to give the client only its wish. Pure.

Where the engine has the capture plugin, a tag makes it keep the tokens, and its answer shows nothing of them
(inference.engine). Elsewhere they come over the wire: the proxy asks for logprobs, ids, and a stream's usage,
each only where the client did not ask itself, and takes out of the answer what it added: values that were
added become null again, events that were added go. Where nothing was added, bytes pass as they came but for
the model's name. What to ask for and where it lies in an answer differs by surface: inference.surfaces.
"""

import json
import re
from typing import Any, NamedTuple

import orjson

from inference.cutting import Cut, Renaming, rename, without_ids, without_logprobs
from inference.engine.tag import Tag, tagged, untagged
from inference.layouts import Layouts
from inference.sse import DONE, MOST_BYTES, StreamError, end_of_event, event, name_of, payload
from inference.surfaces import Hidden, Surface
from inference.surfaces.choices import adds_usage, with_usage
from inference.surfaces.surface import MOST_LOGPROBS

_NOTHING = Hidden()


class Plan(NamedTuple):
    """How one request is sent on, and what is taken out of its answer."""

    surface: Surface
    asked: dict[str, Any]
    """What the client asks, of the engine's model."""
    body: bytes
    """For the engine."""
    adds: bool
    """Whether anything was added."""
    capture: str
    """As ``Exchange.capture``."""
    top_k: int
    """How many alternatives the answer will show by id."""
    choices: int
    """How many the answer will have."""
    model: str
    """The public name, for the answer."""
    renames: bool
    """Whether the engine knows the model by another name."""
    hidden: Hidden = _NOTHING
    tag: Tag | None = None
    """What the engine's plugin captures by; nothing of it is in the answer."""

    def again(self, attempt: int) -> bytes:
        """The body for another replica, whose tokens are another attempt's."""
        if self.tag is None:
            return self.body
        first, other = (b'"%b",%d,' % (self.tag.exchange_id.encode(), one) for one in (0, attempt))
        return self.body.replace(first, other, 1)

    @property
    def plain(self) -> bytes:
        """The body without anything added."""
        return dump(self.asked)

    def refused(self) -> "Plan":
        """The plan for an engine that would not give what was added."""
        return self._replace(
            body=self.plain, adds=False, capture="refused", top_k=0, hidden=_NOTHING, tag=None
        )


_LONG = re.compile(rb"[0-9]{19}")
_MOST_INTEGER = float(2**63)


def load(body: bytes, *, deep: bool = False) -> dict[str, Any]:
    """A request's object. Raises ValueError on anything else.

    Very large integers, which orjson would make floats of, stay what they are: with ``deep`` everywhere,
    otherwise where a request's own fields are numbers.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Takes what orjson is too strict for, such as half a surrogate pair; but NaN would become null.
        found = json.loads(body, parse_constant=_no_number)
    if not isinstance(found, dict):
        raise ValueError("the request body is not a JSON object")
    if (deep and _LONG.search(body)) or _holds_large(found):
        found = json.loads(body)
        assert isinstance(found, dict)
    return found


def _holds_large(found: dict[str, Any]) -> bool:
    """Whether a field may be an integer that became a float."""
    for one in found.values():  # noqa: SIM110 - all requests go through here, and any() takes twice as long
        if type(one) is float and abs(one) >= _MOST_INTEGER:
            return True
    return False


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def dump(value: dict[str, Any]) -> bytes:
    """JSON bytes of what ``load`` gave."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode()


def plan(
    surface: Surface,
    body: dict[str, Any],
    *,
    served: str,
    public: str,
    capture: str,
    top_k: int,
    most: int = MOST_LOGPROBS,
    tag: Tag | None = None,
) -> Plan:
    """What to send for a request.

    ``served`` and ``public`` are the model's names at the engine and for the client; ``capture`` is wire, or
    a reason to add nothing (off, unsampled, refused); ``top_k`` is how many alternatives a token are wanted,
    ``most`` how many logprobs the engine gives at most. With a ``tag`` the engine captures itself where it
    can for such a request; else it is wire all the same.
    """
    body = untagged(body)
    own = {**body, "model": served}
    choices, renames = surface.choices(body), served != public
    if capture == "wire" and tag is not None and surface.tags and _can_tag(body):
        usage = choices == 1 and adds_usage(body)
        asked = tagged({**own, **(with_usage(body) if usage else {})}, tag)
        hidden = Hidden(usage=usage)
        return Plan(surface, own, dump(asked), True, "engine", 0, choices, public, renames, hidden, tag)
    added = surface.add(body, top_k, most) if capture == "wire" else None
    if added is None:
        if capture == "wire":
            capture = "unsupported" if surface.gives_tokens else "untold"
        return Plan(surface, own, dump(own), False, capture, 0, choices, public, renames)
    return Plan(
        surface,
        asked=own,
        body=dump({**own, **added.fields}),
        adds=bool(added.fields),
        capture="wire",
        top_k=added.top_k,
        choices=choices,
        model=public,
        renames=renames,
        hidden=added.hidden,
    )


def _can_tag(body: dict[str, Any]) -> bool:
    """Whether the plugin captures such a request: not beam search, chosen tokens or the whole vocabulary."""
    whole = -1 in (body.get("logprobs"), body.get("top_logprobs"), body.get("prompt_logprobs"))
    return not (whole or body.get("use_beam_search") or body.get("logprob_token_ids"))


def asks_about_prompt(body: dict[str, Any]) -> bool:
    """Whether a request wants its prompt's logprobs: under their name, or by the echo of the prompt."""
    echoed = bool(body.get("echo")) and body.get("logprobs") is not None
    return body.get("prompt_logprobs") is not None or echoed


_MOST = re.compile(rb"max allowed: (\d{1,4})\b")
_ADDED = (b"logprob", b"token_id", b"stream_options", b"include", b"vllm_xargs")


def most_logprobs(refusal: bytes) -> int | None:
    """How many logprobs an engine gives at most, where its refusal says it in vLLM's words."""
    found = _MOST.search(refusal)
    return int(found[1]) if found and b"logprobs" in refusal else None


def blames(plan: Plan, refusal: bytes) -> bool:
    """Whether a refusal speaks of what was added, so that the next request would be refused as well."""
    return plan.adds and any(name in refusal for name in _ADDED)


def clean_body(plan: Plan, body: bytes) -> bytes:
    """A JSON answer as the client gets it. Raises ValueError when it can't be read."""
    first = plan.surface.model_first
    if not plan.adds and (first or not plan.renames):
        return _rename(plan, body) if plan.renames else body
    if first and (cut := _cut(plan, body)) is not None:
        try:
            orjson.loads(cut)  # what is no JSON must not pass; what is left is small
        except orjson.JSONDecodeError:
            pass  # it was laid out otherwise after all, or never was JSON
        else:
            return cut
    message = load(body, deep=not first)
    _clean(plan, message)
    return dump(message)


def _rename(plan: Plan, answer: bytes) -> bytes:
    """The answer's bytes under the public name."""
    return rename(answer, orjson.dumps(plan.model))


def _cut(plan: Plan, answer: bytes) -> bytes | None:
    """What ``_clean`` does, by cutting bytes out: a quarter of the time that reading and writing JSON takes.
    None when the answer needs a closer look.
    """
    cut: bytes | None = answer
    if plan.hidden.logprobs:
        cut = without_logprobs(answer)
    if plan.hidden.ids and cut is not None:
        cut = without_ids(cut)
    return _rename(plan, cut) if cut is not None and plan.renames else cut


def _clean(plan: Plan, message: dict[str, Any]) -> None:
    """Take out what was added, in place, and say the public name."""
    plan.surface.clean(plan.hidden, message)
    plan.surface.rename(message, plan.model)


class Stream:
    """One event stream on its way to the client.

    ``feed`` gives what may be sent at once. From the event that finishes the last open choice on,
    everything is held back until ``held`` is asked for: when the exchange is on disk.
    """

    def __init__(self, plan: Plan, layouts: Layouts | None = None) -> None:
        """``layouts``: what other streams have learned, and those after it will know."""
        self._plan = plan
        self._layouts = Layouts() if layouts is None else layouts
        self._open = plan.choices
        self._rest = b""
        self._parts: list[bytes] = []
        """What came after the rest without a line's end."""
        self._size = 0
        self._layout: Cut | Renaming | None = None
        hidden = plan.hidden
        self._hides_tokens = hidden.logprobs and hidden.ids
        self._cleans = plan.adds and plan.tag is None
        self._learns = plan.surface.lays_alike and (self._hides_tokens if self._cleans else plan.renames)
        self._held: list[bytes] = []
        self._last: dict[str, Any] | None = None
        self._usage_forced = False
        self.ended = False
        """Whether the stream came to an end that a client can see: finished, [DONE], or an error."""
        self.error = ""
        """The error that came as an event, if one did."""
        self.broken = ""
        """Why what came can't be read on, if it can't; nothing more is given then."""

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes, however they are cut; return what the client may have now."""
        return self.feed_all([chunk])

    def feed_all(self, parts: list[bytes]) -> bytes:
        """The same of bytes that came together in pieces, most often an event each."""
        out: list[bytes] = []
        at = 0
        while at < len(parts) and not self.broken:
            if self._layout is not None and not (self._rest or self._parts or self.ended):
                # The usual: whole events of tokens alone.
                at = self._layout.take_all(parts, at, out)
                if at == len(parts):
                    break
            self._feed(parts[at], out)
            at += 1
        return out[0] if len(out) == 1 else b"".join(out)

    def _feed(self, chunk: bytes, out: list[bytes]) -> None:
        if b"\n" not in chunk and b"\r" not in chunk:
            self._wait_for(chunk)
            return
        if self._parts:
            chunk = b"".join((self._rest, *self._parts, chunk))
            self._parts.clear()
        elif self._rest:
            chunk = self._rest + chunk
        at = 0
        try:
            at = self._take(chunk, out)
        except StreamError as error:
            self.broken = str(error)
        self._rest = chunk[at:] if at else chunk
        self._size = 0
        self._wait_for(b"")

    def finish(self) -> bytes:
        """The stream has come to its end: what is left counts as its last event."""
        rest, self._rest = b"".join((self._rest, *self._parts)), b""
        self._parts.clear()
        if self.broken or not rest.strip():
            return b""
        try:
            return self._take_event(rest)
        except StreamError as error:
            self.broken = str(error)
            return b""

    def held(self) -> bytes:
        """What was held back."""
        self._release_last()
        return b"".join(self._held)

    def _wait_for(self, chunk: bytes) -> None:
        """Keep what ends no event yet."""
        if chunk:
            self._parts.append(chunk)
        self._size += len(chunk)
        if self._size + len(self._rest) > MOST_BYTES:
            self.broken = f"an event of more than {MOST_BYTES} bytes"

    def _take(self, data: bytes, out: list[bytes]) -> int:
        """Append what may be sent of the whole events in ``data``; gives where the rest begins."""
        at = 0
        plain = b"\r" not in data
        while True:
            if self._layout is not None and plain and not self.ended:
                at = self._layout.take(data, at, out)
            end = end_of_event(data, at)
            if end < 0:
                return at
            if ready := self._take_event(data[at:end]):
                out.append(ready)
            at = end

    def _take_event(self, raw: bytes) -> bytes:
        """Read one event; return what the client may have now. Raises StreamError on what can't be read."""
        data = payload(raw)
        if data is None:
            return self._pass(raw)
        if data == DONE:
            self.ended = True
            return self._pass(raw)
        name = name_of(raw)
        if name == b"error" or data.startswith(b'{"error"'):
            self.ended = True
            self.error = data.decode(errors="replace")
            return self._pass(raw)
        self._open -= self._plan.surface.finishes(name, data)
        self.ended = self.ended or self._open <= 0
        # With a tag an event has nothing that was added but, at the end, usage.
        if self._cleans or (self._plan.adds and self.ended):
            return self._take_cleaned(raw, data)
        if self._plan.renames:
            return self._pass(self._renamed(raw, data))
        return self._pass(raw)

    def _renamed(self, raw: bytes, data: bytes) -> bytes:
        if self._plan.surface.model_first:
            self._learn_renaming(raw, data)
            return _rename(self._plan, raw)
        if b'"model"' not in data:
            return raw
        try:
            message = load(data, deep=True)
            self._plan.surface.rename(message, self._plan.model)
        except (ValueError, AttributeError):
            return raw  # nothing is asked of it but to pass
        return event(dump(message), name_of(raw))

    def _pass(self, raw: bytes) -> bytes:
        if not self.ended:
            return raw
        self._release_last()
        self._held.append(raw)
        return b""

    def _take_cleaned(self, raw: bytes, data: bytes) -> bytes:
        try:
            message = load(data)
            _clean(self._plan, message)
            if self._learns and self._layout is None:
                self._learn_cut(raw, data, message)
            if self._is_added(message):
                return b""
        except (ValueError, AttributeError, TypeError) as error:
            raise StreamError(f"the engine sent an event that can't be read: {error}") from error
        if self.ended and self._plan.hidden.usage and self._last is None and not self._held:
            self._last = message
            return b""
        return self._pass(event(dump(message), name_of(raw)))

    def _learn_cut(self, raw: bytes, data: bytes, cleaned: dict[str, Any]) -> None:
        plan = self._plan
        of = (plan.surface.name, plan.asked["model"], plan.model)
        self._layout = self._layouts.find(of, raw)
        if self._layout is None and b'"logprobs":{' in data:
            message = orjson.loads(data)
            self._layout = cut = Cut.learn(raw, message, plan.model, cleaned)
            if cut is not None:
                self._layouts.learn(of, raw, message, cut)

    def _learn_renaming(self, raw: bytes, data: bytes) -> None:
        if self._layout is not None or not self._learns:
            return
        try:
            self._layout = Renaming.learn(raw, orjson.loads(data), self._plan.model)
        except (ValueError, TypeError):
            self._learns = False  # nothing is asked of it but to pass

    def _is_added(self, message: dict[str, Any]) -> bool:
        choices = message.get("choices")
        if choices:
            self._usage_forced = self._usage_forced or message.get("usage") is not None
            # An engine sends an empty delta only to carry what was asked for besides the text.
            return self._hides_tokens and all(
                c.get("delta") == {} and c.get("finish_reason") is None for c in choices
            )
        if not self._plan.hidden.usage or self._usage_forced or message.get("usage") is None:
            return False
        if self._last is not None and message.get("system_fingerprint") is not None:
            # Without a usage event to carry it, the fingerprint stands on the finishing one.
            self._last.setdefault("system_fingerprint", message["system_fingerprint"])
        return True

    def _release_last(self) -> None:
        if self._last is not None:
            self._held.append(event(orjson.dumps(self._last)))
            self._last = None
