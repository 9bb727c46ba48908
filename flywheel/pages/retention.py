"""How long each route's traffic is kept, what the next run removes, and what past ones did. For operators."""

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
        down = False
    except Unavailable:
        due, down = {}, True
    rows = [
        {
            "route": route,
            "parts": [
                {
                    "name": part.value,
                    "days": getattr(route, f"{part}_days"),
                    "due": due.get((route.name, part)),
                }
                for part in Part
            ],
        }
        for route in Route.objects.order_by("name")
    ]
    total = sum(one.exchanges for one in due.values())
    context = {"rows": rows, "total": total, "down": down, "expiries": Expiry.objects.all()[:_SHOWN]}
    return render(request, "flywheel/retention.html", context)
