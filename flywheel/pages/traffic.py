"""What the wheel's pages count in the trace store; None where it can't be read: a page goes on without."""

from inference.models import Route

DAYS = 14


def exchanges() -> int | None:
    """How many exchanges are stored, about."""
    return None


def a_day() -> list[int] | None:
    """Exchanges of each of the last fourteen days, oldest first."""
    return None


def requests_an_hour(route: Route) -> int | None:
    """How many requests the route had in the last hour."""
    return None


def by_weights(route: Route) -> list[tuple[str, int]] | None:
    """(weights, exchanges) of the last fourteen days, most first."""
    return None
