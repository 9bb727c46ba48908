"""What a million tokens costs: the GPUs' price an hour over what the engine did, beside what an API would
charge.

    own = price an hour / 3600 / (prompt tokens a second + tokens written a second) · 10⁶
    API = (prompt share · its price in + written share · its price out)

Both in dollars a million tokens of the same mix, counted by the engine's own tokenizer: an API's counts a
few percent otherwise. Measured throughput is the mean over a window, idle time included: an idle GPU costs
the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flywheel.models import ApiPrice
from inference import vitals
from inference.models import Upstream


@dataclass(frozen=True, slots=True)
class Charged:
    """What one API would charge for the mix."""

    api: ApiPrice
    per_million: float


@dataclass(frozen=True, slots=True)
class Cost:
    """One engine over a window. Tokens are a second; None where nothing was measured."""

    upstream: Upstream
    prompt: float | None
    written: float | None
    apis: tuple[Charged, ...]

    @property
    def tokens(self) -> float:
        return (self.prompt or 0.0) + (self.written or 0.0)

    @property
    def per_million(self) -> float | None:
        """Dollars a million tokens; None without a price or without a token."""
        price = self.upstream.price_an_hour
        if price is None or not self.tokens:
            return None
        return float(price) / 3600 / self.tokens * 1e6


def costs(since: datetime) -> list[Cost]:
    """Every enabled engine since then. Raises inference.clickhouse.Unavailable."""
    prompt, written = (vitals.mean(metric, since) for metric in ("prompt_tokens_per_s", "tokens_per_s"))
    apis = list(ApiPrice.objects.all())
    return [
        cost(one, prompt.get(one.name), written.get(one.name), apis)
        for one in Upstream.objects.filter(enabled=True).order_by("name")
    ]


def cost(upstream: Upstream, prompt: float | None, written: float | None, apis: Sequence[ApiPrice]) -> Cost:
    """One engine's, from its mean tokens a second."""
    tokens = (prompt or 0.0) + (written or 0.0)
    charged = tuple(Charged(api, api.per_million((prompt or 0.0) / tokens)) for api in apis) if tokens else ()
    return Cost(upstream, prompt, written, charged)
