"""The engine's core: a step's captured rows leave it in one piece.

vLLM gives each request's output its own three small arrays, and packing and unpacking those costs the front
end more than everything else that capture does. So where the client asked for no logprobs itself, rows stay
together: one output more, first in the list, with the step's two matrices and whose rows they are. To a front
end that does not know it, it is the output of a request that has gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

STEP = "flywheel-step"
"""The id of the output that carries a step's rows."""
REQUESTS = "requests"
"""In its ``kv_transfer_params``: the ids of the requests that the rows belong to, in their order."""
OWN = "flywheel_own"
"""In a captured request's extra arguments: what its client asked for itself (-1: nothing), and its prompt's
place."""


def is_quiet(extra: Mapping[str, Any] | None) -> bool:
    """Whether a request is captured and its client gets no logprobs of generated tokens."""
    return bool(extra) and (extra or {}).get(OWN, (0,))[0] < 0


class Rows:
    """Stands for a step's logprobs while outputs are made: keeps quiet requests' rows, cuts the others'."""

    def __init__(self, lists: Any, quiet: Mapping[int, tuple[str, int]]) -> None:
        self._lists, self._quiet = lists, quiet
        self.taken: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
        """By front end: request, first row, how many."""

    def slice_request(self, index: int, count: int) -> Any:
        """As vLLM's own: a request's rows, or None when they stay."""
        known = self._quiet.get(index)
        if known is None:
            return self._lists.slice_request(index, count)
        request_id, client = known
        starts = self._lists.cu_num_generated_tokens
        if count:
            self.taken[client].append((request_id, index if starts is None else starts[index], count))
        return None

    def gather(self, client: int) -> tuple[Any, Any, Any, list[str]]:
        """A front end's rows: ids, logprobs, counts, requests."""
        taken = self.taken[client]
        ids, logprobs = self._lists.logprob_token_ids, self._lists.logprobs
        rows = [row for _, first, count in taken for row in range(first, first + count)]
        if rows != list(range(len(ids))):
            ids, logprobs = ids[rows], logprobs[rows]
        return ids, logprobs, np.array([count for *_, count in taken], np.int32), [name for name, *_ in taken]


def keeping_together(plain: Callable[..., Any], output: Callable[..., Any], lists: Callable[..., Any]) -> Any:
    """``Scheduler.update_from_output`` that sends quiet requests' rows in one piece.

    ``output`` and ``lists`` make vLLM's EngineCoreOutput and LogprobsLists.
    """

    def update_from_output(self: Any, scheduler_output: Any, model_runner_output: Any) -> Any:
        found = model_runner_output.logprobs
        quiet = _quiet(self.requests, model_runner_output.req_ids) if found is not None else {}
        if not quiet:
            return plain(self, scheduler_output, model_runner_output)
        model_runner_output.logprobs = rows = Rows(found, quiet)
        made = plain(self, scheduler_output, model_runner_output)
        for client in rows.taken:
            ids, logprobs, counts, requests = rows.gather(client)
            first = output(
                request_id=STEP,
                new_token_ids=[],
                new_logprobs=lists(ids, logprobs, counts, None),
                kv_transfer_params={REQUESTS: requests},
            )
            made[client].outputs.insert(0, first)
        return made

    return update_from_output


def _quiet(requests: Mapping[str, Any], ids: Sequence[str]) -> dict[int, tuple[str, int]]:
    """Places in the batch of the quiet requests: their id and which front end asked."""
    found = {}
    for index, request_id in enumerate(ids):
        request = requests.get(request_id)
        if request is None or request.sampling_params is None:
            continue
        if is_quiet(request.sampling_params.extra_args):
            found[index] = (request_id, request.client_index)
    return found
