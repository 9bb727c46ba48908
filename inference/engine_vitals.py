"""An engine's vitals from vLLM's metrics. The one place that knows vLLM's names for them.

vLLM counts from its start: what happens a second, and the percentiles of a while, are differences of two
pages. Seen on 0.32; names that older ones used stand beside. An engine process that serves several ranks or
models has a sample for each: they are added up, and of caches the fullest counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inference.exposition import Page

RUNNING = ("vllm:num_requests_running",)
WAITING = ("vllm:num_requests_waiting",)
FINISHED = ("vllm:request_success_total",)
PROMPT_TOKENS = ("vllm:prompt_tokens_total",)
TOKENS = ("vllm:generation_tokens_total",)
PREEMPTIONS = ("vllm:num_preemptions_total",)
KV_CACHE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
PREFIX_QUERIES = ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total")
PREFIX_HITS = ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total")
FIRST_TOKEN = ("vllm:time_to_first_token_seconds_bucket",)
BETWEEN_TOKENS = ("vllm:inter_token_latency_seconds_bucket", "vllm:time_per_output_token_seconds_bucket")
NAMES = (
    *(RUNNING, WAITING, FINISHED, PROMPT_TOKENS, TOKENS, PREEMPTIONS, KV_CACHE),
    *(PREFIX_QUERIES, PREFIX_HITS, FIRST_TOKEN, BETWEEN_TOKENS),
)
"""All that is read of a page, the newest name of each first."""
_LONGEST_SECONDS = 300.0
"""Two pages further apart say little of now."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A page at a moment (seconds of a steady clock)."""

    at: float
    page: Page

    @property
    def why(self) -> str:
        """Why this is no engine's page; empty when it is one."""
        if self.page.why:
            return self.page.why
        return "" if self.page.values(*RUNNING) else "its page has no metrics of vLLM's"


def vitals(before: Reading | None, now: Reading) -> dict[str, float]:
    """Our metrics by name (inference.vitals). What can't be known yet, or did not happen, is left out."""
    if now.why:
        return {"up": 0.0}
    page = now.page
    found = {
        "up": 1.0,
        "requests_running": page.total(*RUNNING),
        "requests_waiting": page.total(*WAITING),
        "kv_cache": page.most(*KV_CACHE),
    }
    if before is not None and not before.why and 0 < now.at - before.at <= _LONGEST_SECONDS:
        found |= _since(before.page, page, now.at - before.at)
    return {name: value for name, value in found.items() if value is not None}


def _since(before: Page, page: Page, seconds: float) -> dict[str, float | None]:
    """What two pages of the same process differ by."""
    grown = {names: _growth(before, page, names) for names in (*NAMES[2:6], PREFIX_QUERIES, PREFIX_HITS)}
    if any(value is not None and value < 0 for value in grown.values()):
        return {}  # the engine began anew in between
    first, between = _buckets(before, page, FIRST_TOKEN), _buckets(before, page, BETWEEN_TOKENS)
    asked, hit = grown[PREFIX_QUERIES], grown[PREFIX_HITS]
    return {
        "requests_per_s": _per(grown[FINISHED], seconds),
        "prompt_tokens_per_s": _per(grown[PROMPT_TOKENS], seconds),
        "tokens_per_s": _per(grown[TOKENS], seconds),
        "preemptions_per_min": _per(grown[PREEMPTIONS], seconds / 60),
        "prefix_hits": hit / asked if asked and hit is not None else None,
        "first_token_p50": quantile(first, 0.5),
        "first_token_p95": quantile(first, 0.95),
        "between_tokens_p50": quantile(between, 0.5),
        "between_tokens_p95": quantile(between, 0.95),
    }


def _growth(before: Page, page: Page, names: tuple[str, ...]) -> float | None:
    was, now = before.total(*names), page.total(*names)
    return None if was is None or now is None else now - was


def _per(value: float | None, span: float) -> float | None:
    return None if value is None else value / span


def _buckets(before: Page, page: Page, names: tuple[str, ...]) -> dict[float, float]:
    """What came into each cumulative bucket, by its upper bound in seconds."""
    was, now = _cumulative(before, names), _cumulative(page, names)
    return {bound: max(count - was.get(bound, 0.0), 0.0) for bound, count in now.items()}


def _cumulative(page: Page, names: tuple[str, ...]) -> dict[float, float]:
    found: dict[float, float] = {}
    for one in page.values(*names):
        try:
            bound = float(one.labels.get("le", ""))
        except ValueError:
            continue
        found[bound] = found.get(bound, 0.0) + one.value
    return found


def quantile(buckets: Mapping[float, float], q: float) -> float | None:
    """A quantile of a histogram with cumulative buckets, by linear interpolation, as Prometheus'
    histogram_quantile has it; None without observations. In the open last bucket: its lower bound.
    """
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    rank = q * buckets[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= rank and count > below:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, max(count, below)
    return lower
