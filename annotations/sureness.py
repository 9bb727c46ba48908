"""How sure the model was of an item's answer, as far as the queue lets the reviewer see it.

That it was seen before judging is noted on the place, and so on the judgement. Where personal data is masked
none is shown: pieces spell it, and so do those that the model might have written instead. Leaves painting to
inference.heatmap.
"""

from django.conf import settings

from annotations.masks import Mask
from annotations.models import Assignment, Item, Queue
from inference import heatmap, queries, readers, vocabulary
from inference.clickhouse import Unavailable
from inference.heatmap import HeatMap

_UNREADABLE = "This can't be read right now. Judging works on."
_HIDDEN = "How sure the model was is not shown where personal data is masked."
_UNKNOWN = "How sure the model was is not known for this answer."


def may_see(queue: Queue, place: Assignment) -> bool:
    """Whether the holder of a place may look now."""
    if queue.heat_map == Queue.HeatMap.AFTER:
        return place.done_at is not None
    return queue.heat_map == Queue.HeatMap.REQUEST


def show(place: Assignment, mask: Mask | None) -> HeatMap:
    """The item's heat map; notes on an unjudged place that it was seen."""
    if mask is not None and mask.hides:
        return HeatMap(f"sure-{place.item_id}", missing=_HIDDEN)
    found = _paint(place.item)
    if not found.missing:
        Assignment.objects.filter(pk=place.pk, done_at=None).update(heat_map_seen=True)
    return found


def _paint(item: Item) -> HeatMap:
    ident = f"sure-{item.pk}"
    try:
        # The queue lets its reviewers see it, whatever else they may read.
        with readers.as_the_system():
            exchange = queries.exchange(item.exchange_id, item.attempt)
    except Unavailable:
        return HeatMap(ident, missing=_UNREADABLE)
    first = [tokens for tokens in exchange.tokens if tokens.choice == 0] if exchange else []
    if exchange is None or not first:
        return HeatMap(ident, missing=_UNKNOWN)
    known = vocabulary.load(settings.ARTEFACTS, exchange.tokenizer)
    if known is None:
        # Pieces without their text would be numbers, and mean nothing to a reviewer.
        return HeatMap(ident, missing=_UNKNOWN)
    return heatmap.paint(first[0], known, ident=ident)
