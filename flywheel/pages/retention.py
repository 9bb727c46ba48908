"""How long each route's traffic is kept, what the next run removes, and what past ones did. For operators."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from flywheel import retention
from flywheel.models import Expiry
from inference.access import operator_required
from inference.clickhouse import Unavailable
from inference.models import Route
from inference.retention import Part

_SHOWN = 30


@require_GET
@operator_required
def index(request: HttpRequest) -> HttpResponse:
    """Days are set in the admin, on the route; this page says what they mean today."""
    try:
        due = {(one.route, one.part): one for one in retention.preview()}
        gone, down = retention.gone(), False
    except Unavailable:
        due, gone, down = {}, [], True
    routes = dict(Route.objects.values_list("name", "pk"))
    rows = [
        {
            "route": policy.route,
            "pk": routes.get(policy.route),
            "parts": [
                {
                    "name": part.value,
                    "days": policy.days[part],
                    "due": due.get((policy.route, part)),
                }
                for part in Part
            ],
        }
        for policy in (retention.policies() if routes else [])
    ]
    total = sum(one.exchanges for one in due.values())
    by_part = ((part.value, sum(one.exchanges for one in due.values() if one.part is part)) for part in Part)
    totals = [(part, number) for part, number in by_part if number]
    context = {
        "rows": rows,
        "total": total,
        "totals": totals,
        "down": down,
        "gone": gone,
        "looks_days": max(settings.LOOKS_DAYS, 0),
        "expiries": Expiry.objects.all()[:_SHOWN],
    }
    return render(request, "flywheel/retention.html", context)
