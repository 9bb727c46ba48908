"""axe-core on every page, in light and dark: it finds nothing. Installed from npm (tests/browser/node)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page
from pytest_django.fixtures import Settings

from annotations import judging, leases
from annotations import people as people_of
from annotations.judging import Judgement
from annotations.models import Queue
from inference.exchange import Exchange
from tests import people
from tests.browser.conftest import Visit
from tests.flywheel import wheel_data
from tests.flywheel.wheel_data import Wheel
from tests.inference import answered

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
SCRIPT = Path(__file__).parent / "node" / "node_modules" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
ONE = answered.exchange(1, "wheezing after exercise")
ASKS = [
    {"name": kind, "kind": kind, "words": f"Which {kind}?", "options": options, "required": False}
    for kind, options in (
        ("choices", ["one", "two"]),
        ("rating", ["1", "2", "3"]),
        ("text", []),
        ("spans", ["why"]),
    )
]


def found(page: Page) -> list[str]:
    """What axe finds: rule, how bad, and where, a line each. In the dark only colours are different."""
    # Without the fade between themes, in which colours are neither.
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    seen = look(page, {"type": "tag", "values": TAGS})
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    return seen + look(page, {"type": "rule", "values": ["color-contrast"]})


def look(page: Page, only: dict[str, Any]) -> list[str]:
    # What lies under the stuck bar now can be scrolled out: scroll-padding sees to the focus.
    page.evaluate("document.querySelector('.review-bar')?.style.setProperty('position', 'static')")
    assert SCRIPT.is_file(), "run `python3 -m flywheel.local.install node`"
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(SCRIPT.read_text(encoding="utf-8"))
    told: dict[str, Any] = page.evaluate("(only) => axe.run(document, { runOnly: only })", only)
    assert told["passes"], "axe looked at nothing"
    return [
        f"{page.url}: {rule['id']} ({rule['impact']}): {node['html'][:120]} {node['failureSummary'][:200]}"
        for rule in told["violations"]
        for node in rule["nodes"]
    ]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Settings) -> Path:
    settings.HOME, settings.SPOOL = tmp_path, tmp_path / "spool"
    settings.ARTEFACTS, settings.ADAPTERS = str(tmp_path), tmp_path / "adapters"
    answered.keep_tokenizer(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> Iterator[Exchange]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        answered.store(ONE)
        yield ONE


@pytest.fixture
def stored(filled: Exchange, clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> Exchange:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    return filled


def judged(queue: Queue, reviewer: User) -> None:
    """A few judgements of each sort, and a place still held."""
    queue.reviewers.add(reviewer)
    queue.items.filter(pk__in=list(queue.items.values_list("pk", flat=True)[:8])).update(
        state="waiting", verdict=""
    )
    for decision in ("approve", "reject", "cant_judge", "flag"):
        for place in leases.reserve(queue, reviewer, 1):
            judging.judge(place.item, reviewer, place.key, Judgement(decision))


def addresses(wheel: Wheel) -> list[tuple[str, User | None]]:
    """Every page of the site that a person reads, and who reads it."""
    queue = wheel.queue.slug
    reviewing = ["/review/?all", f"/review/{queue}/?done", f"/review/{queue}/mine/"]
    leading = ["/queues/", "/queues/new/", f"/queues/{queue}/", f"/queues/{queue}/settings/"]
    item = wheel.queue.items.filter(state="flagged").first()
    assert item is not None
    leading += [
        f"/queues/{queue}/{page}/"
        for page in ("people", "checks", "conflicts", "agreement", f"items/{item.pk}")
    ]
    settled = wheel.queue.items.filter(state="settled").first()
    assert settled is not None
    leading += ["/approval/", f"/queues/{queue}/items/{settled.pk}/", f"/review/{queue}/"]
    exchanges = [
        "/exchanges/",
        "/sessions/",
        f"/exchanges/{ONE.exchange_id}/",
        f"/exchanges/{ONE.exchange_id}/raw/",
    ]
    turning = [
        *("/", "/engine/", "/datasets/", "/datasets/new/", wheel.version.get_absolute_url()),
        *(
            "/training/",
            "/training/new/",
            wheel.run.get_absolute_url(),
            f"/datasets/{wheel.version.dataset.name}/",
        ),
        *("/evaluations/", "/evaluations/new/", wheel.evaluation.get_absolute_url()),
        *(f"{wheel.evaluation.get_absolute_url()}cases/", "/rollouts/", "/rollouts/new/"),
        *(wheel.rollout.get_absolute_url(), f"/routes/{wheel.route.name}/"),
    ]
    turning += ["/exchanges/send/", "/erasures/", "/masking/", "/retention/"]
    nora = people.reviewer("nora")
    people.may_read(person=nora)
    numbers = [
        "/exchanges/",
        f"/exchanges/?peek={ONE.exchange_id}",
        f"/exchanges/{ONE.exchange_id}/",
        "/datasets/",
    ]
    numbers += [f"/exchanges/diff/?a={ONE.exchange_id}&b={ONE.exchange_id}", "/exchanges/?q=wheezing"]
    common = ["/words/", "/settings/", "/password/", "/search/?q=xyzzy", "/no-such-page/"]
    return [
        ("/sign-in/", None),
        (f"/join/{people_of.invite(wheel.queue, wheel.operator, 'reviewer', 1)}/", None),
        ("/join/no-such-link/", None),
        ("/sign-in/no-such-link/", None),
        *((path, wheel.reviewer) for path in reviewing),
        *((path, nora) for path in numbers),
        *((path, wheel.operator) for path in (*leading, *exchanges, *turning, *common)),
    ]


def test_axe_finds_nothing_on_any_page(visit: Visit, home: Path, stored: Exchange) -> None:
    wheel = wheel_data.turn("rolled_out", home, items=96)
    judged(wheel.queue, wheel.reviewer)
    seen = []
    page: Page | None = None
    reader: User | None = None
    for path, user in addresses(wheel):
        if page is None or user != reader:
            page, reader = visit(path, user), user
        else:
            page.goto(page.evaluate("location.origin") + path)
        seen += found(page)
    assert seen == []


@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing_while_reviewing(visit: Visit, home: Path, width: int) -> None:
    wheel = wheel_data.turn("judged", home, items=96)
    queue, rita = wheel.queue, wheel.reviewer
    queue.reviewers.add(rita)
    queue.reasons, queue.guidelines, queue.also = ["Wrong"], "Choose **one**.", ASKS
    queue.save()
    queue.items.update(state="waiting", verdict="")
    page = visit(f"/review/{queue.slug}/", rita, width)
    seen = found(page)
    for key in ("r", "c", "n"):
        page.wait_for_timeout(260)
        page.keyboard.press(key)
        seen += found(page)
        page.keyboard.press("Escape")
    page.wait_for_timeout(260)
    page.keyboard.press("?")
    seen += found(page)
    assert seen == []


def test_axe_is_awake(visit: Visit) -> None:
    page = visit("/words/", people.reviewer())
    page.evaluate("document.querySelector('main').insertAdjacentHTML('beforeend', '<button></button>')")
    assert any("button-name" in line for line in found(page))
