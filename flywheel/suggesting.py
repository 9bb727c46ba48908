"""Asks models, through our own proxy, what they would say of items that wait for people."""

import logging

import openai
from django.conf import settings

from annotations import suggestions
from annotations.models import Item, Queue, Suggestion
from flywheel import clients
from inference import purposes

A_RUN = 10
"""Items of a queue that are asked about at once: the next run goes on."""
_MAX_TOKENS = 200
_SECONDS = 30.0
log = logging.getLogger(__name__)


def run() -> int:
    """Ask for what the next items of every queue that wants suggestions lack; how many came.

    A proxy that does not answer leaves the rest for the next run. What a model replied that is no judgement
    is kept as such, so that it is not asked again; so is an item that was refused (too long, say) where
    others were not.
    """
    made = 0
    for queue in Queue.objects.filter(state=Queue.State.OPEN).exclude(suggested_by=""):
        waiting = suggestions.lacking(queue, A_RUN) if queue.suggestible else []
        if not waiting:
            continue
        with clients.client(settings.PROXY_URL, settings.EVALUATION_KEY, timeout=_SECONDS) as client:
            made += _ask(client, queue, waiting)
    return made


def _ask(client: openai.OpenAI, queue: Queue, waiting: list[Item]) -> int:
    """Ask about each item until the proxy fails; of how many something is now known."""
    made, refused = 0, list[Item]()
    for item in waiting:
        try:
            _suggest(client, queue, item)
            made += 1
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            log.warning("no suggestion for item %s: %s", item.pk, error)
            refused.append(item)
        except openai.APIError as error:
            log.warning("no suggestions for %s: %s", queue.slug, error)
            break
    if not made:
        return 0  # what refuses all of them is not the items' fault
    for item in refused:
        Suggestion.objects.get_or_create(item=item, model=queue.suggested_by)
    return made + len(refused)


def _suggest(client: openai.OpenAI, queue: Queue, item: Item) -> None:
    response = client.chat.completions.create(
        model=queue.suggested_by,
        messages=suggestions.asked_of(item, queue),  # type: ignore[arg-type]
        temperature=0.0,
        max_tokens=_MAX_TOKENS,
        extra_headers=purposes.header(purposes.SUGGESTION, queue.slug),
    )
    text = response.choices[0].message.content or "" if response.choices else ""
    decision, answer, reason = suggestions.parse(text, item, queue)
    Suggestion.objects.get_or_create(
        item=item,
        model=queue.suggested_by,
        defaults={"decision": decision, "answer": answer, "reason": reason},
    )
