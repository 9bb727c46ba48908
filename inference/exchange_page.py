"""What the page of one exchange shows, put together from the trace store's row and the vocabulary.

Leaves fetching to inference.queries, wording to inference.account and markup to templates/inference/.
"""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe

from inference import account, lookups, parameters, queries, readers, reading, span_tree, vocabulary
from inference.answer import Choice, Tokens
from inference.heatmap import HeatMap, paint
from inference.models import ModelVersion, Route
from inference.opinions import opinions
from inference.panels import Subject, panels
from inference.queries import StoredExchange

AGAIN = ("chat", "completions")
"""Surfaces whose requests can be tried on another version."""
MOST_MESSAGES = 1000
"""Of a conversation with more, the middle is left out of the page."""
OF_THE_REQUEST = ("logprobs", "top_logprobs")
"""What is not among the stored parameters, since the proxy asks for it itself."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice, ready to be shown: as written, and how sure the model was."""

    text: str
    html: SafeString
    reasoning: str
    calls: list[reading.Call]
    finish: str
    heat: HeatMap
    view: str


def heat_of(x: StoredExchange, choice: int = 0, *, details: bool = False, start: int = 0) -> HeatMap:
    """The heat map of one choice, or in words why there is none. ``details``: ids and logprobs too."""
    ident = f"heat-{choice}"
    found = first_tokens(x, choice)
    if found is None:
        late = x.tokens_missing(timezone.now())
        why = account.why_no_tokens(
            x.capture, x.completion_tokens, expected=x.tokens_expected and not x.tokens, missing=late
        )
        return HeatMap(ident, missing=why)
    known = vocabulary.load(settings.ARTEFACTS, x.tokenizer)
    heat = paint(found, known, ident=ident, mode=x.logprobs_mode, details=details, start=start)
    return heat if heat.pieces else replace(heat, missing=account.why_no_tokens(x.capture, 0))


def first_tokens(x: StoredExchange, choice: int) -> Tokens | None:
    """A choice's tokens as its own model gave them; a later scoring's only where there are no others."""
    mine = [tokens for tokens in x.tokens if tokens.choice == choice]
    mine.sort(key=lambda tokens: tokens.source not in ("wire", "engine"))
    return mine[0] if mine else None


def answers(x: StoredExchange, view: str, start: int) -> list[Answer]:
    """Every choice that came."""
    return [_answer(x, choice, view, start) for choice in x.choices]


def _answer(x: StoredExchange, choice: Choice, view: str, start: int) -> Answer:
    heat = heat_of(x, choice.index, details=True, start=start)
    shown = view if view in ("heat", "text") else ("text" if heat.missing else "heat")
    return Answer(
        text=choice.text,
        # Cleaned by reading.markdown; this is the one place where a model's text becomes HTML.
        html=mark_safe(reading.markdown(choice.text)),  # noqa: S308
        reasoning=choice.reasoning,
        calls=reading.calls(choice.tool_calls),
        finish=choice.finish_reason,
        heat=heat,
        view=shown,
    )


def _shown(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a conversation that no page can hold, how it begins and how it ends."""
    if len(messages) <= MOST_MESSAGES:
        return messages
    return [*messages[:2], *messages[2 - MOST_MESSAGES :]]


def context(x: StoredExchange, view: str, start: int) -> dict[str, Any]:
    """Everything that the exchange's page shows."""
    subject = Subject(UUID(str(x.exchange_id)), x.attempt, x.weights, x.route, x.hidden)
    ending = account.ending(x.end_reason)
    shown = _shown(x.messages)
    request = sent(x)
    return {
        "x": x,
        "ending": ending,
        "unreached": unreached(x),
        "nothing": nothing(x),
        "turns": reading.turns(shown),
        "left_out": len(x.messages) - len(shown),
        "answers": answers(x, view, start),
        "tokens_differ": x.tokens_differ(timezone.now()),
        "timing": account.timing(x.seconds, x.first_token_seconds, x.completion_tokens),
        "panels": panels(subject),
        "route_url": route_url(x.route),
        "version_name": version_name(x.model, x.weights),
        "version_url": f"{reverse('exchanges')}?{urlencode({'q': f'weights:{x.weights}'})}",
        "params": parameters.told(x.params | asked_of_the_proxy(request)),
        "tags": sorted(x.tags.items()),
        "curl": reading.as_curl(settings.PROXY_URL, x.surface, request) if request else "",
        "cost": cost(x),
        "may_try": may_try(x),
        "spans": span_tree.steps(x),
        **after(x),
    }


def peek(x: StoredExchange) -> dict[str, Any]:
    """What the explorer's side panel shows of an exchange: what was asked and answered, and how it went."""
    return {
        "x": x,
        "ending": account.ending(x.end_reason),
        "unreached": unreached(x),
        "nothing": nothing(x),
        "asked": reading.asked(x.messages),
        "earlier": max(0, len(x.messages) - 1),
        "answers": answers(x, "", 0)[:1],
        "more": max(0, len(x.choices) - 1),
        "panels": panels(Subject(UUID(str(x.exchange_id)), x.attempt, x.weights, x.route, x.hidden)),
        "version_name": version_name(x.model, x.weights),
        **after(x),
    }


def nothing(x: StoredExchange) -> str:
    """What stands in the place of an answer that has no text."""
    ending = account.ending(x.end_reason)
    return "The answer is empty." if ending.answered else f"Nothing was answered: {ending.words}."


def after(x: StoredExchange) -> dict[str, Any]:
    """What came to be known of it later: what users said, and whether the client had left."""
    found = queries.events(x.exchange_id, x.trace_id, x.route)
    return {
        "feedback": opinions(found, told_apart=not x.hidden),
        "left_late": any(event.kind == "client_left" for event in found),
    }


def cost(x: StoredExchange) -> float | None:
    """Dollars at today's prices; None when what answered has none."""
    price = lookups.prices().get(x.model)
    return None if price is None else price.dollars(x.prompt_tokens, x.completion_tokens)


def unreached(x: StoredExchange) -> str:
    """How a call ended that no version took up, to follow on “A call”; "" where one did."""
    if x.model or not x.failed:
        return ""
    words = account.ending(x.end_reason).words
    if x.end_reason == "refused":
        return f"was {words}"
    return f"{'was refused' if x.end_reason == 'bad_request' else 'came to nothing'}: {words}"


def never_asked(x: StoredExchange) -> bool:
    """Whether what was sent never was a request that a model could answer."""
    return x.end_reason == "bad_request" or (x.end_reason == "refused" and not x.model)


def may_try(x: StoredExchange) -> bool:
    """Whether to offer it to another version; what may be in the way besides is said when it is tried."""
    return x.surface in AGAIN and not (x.cleared or never_asked(x)) and readers.rights().texts is None


def sent(x: StoredExchange) -> bytes:
    """The client's body; empty when it is gone, or not for the reader."""
    found = None if x.hidden else queries.raw(x.exchange_id, x.attempt)
    return found[0] if found else b""


def asked_of_the_proxy(request: bytes) -> dict[str, Any]:
    """What the client's body says of logprobs."""
    try:
        body = orjson.loads(request)
    except ValueError:
        return {}
    return {name: body[name] for name in OF_THE_REQUEST if name in body} if isinstance(body, dict) else {}


def route_url(name: str) -> str:
    """The route's page; for a version that was asked for by name, or a route that is gone, its exchanges."""
    if Route.objects.filter(name=name).exists():
        return reverse("route", args=[name])
    return f"{reverse('exchanges')}?{urlencode({'q': f'route:{chr(34)}{name}{chr(34)}'})}"


def version_name(model: str, weights: str) -> str:
    """What people call the weights: a base by its name, an adapter by eight characters of its hash."""
    adapter = ModelVersion.objects.filter(weights=weights, kind=ModelVersion.Kind.ADAPTER).exists()
    return f"adapter {weights[:8]}" if adapter else model
