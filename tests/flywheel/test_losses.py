"""Is anything being lost: what silence, a waiting record and a dropped capture come to on every page."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from flywheel import losses
from inference import spools
from inference.models import Spool
from inference.report import Report
from tests import people

pytestmark = pytest.mark.django_db
NAME = "gpu-1:/spool"


def as_(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def alarms() -> list[str]:
    return [alarm.words.replace("\xa0", " ") for one in losses.states() for alarm in one.alarms]


def line(client: Client) -> str:
    page = client.get("/words/").text.replace("\xa0", " ")
    begin = page.find('<p class="alarm')
    return "" if begin < 0 else page[begin : page.index("</p>", begin)]


def proxy(dropped: int, run: str = "a", problem: str = "") -> None:
    said = {"spool": NAME, "run": run, "dropped": str(dropped), "problem": problem}
    spools.heard_from_proxy("proxy-1", said)


def later(**passed: float) -> None:
    """Everything that was heard so far is so much older."""
    back = timedelta(**passed)
    for row in Spool.objects.all():
        for name in ("known_at", "heard_at", "worked_at", "proxy_seen_at", "unstored_since"):
            moment = getattr(row, name)
            setattr(row, name, moment and moment - back)
        row.save()


def test_all_is_well_and_no_page_says_otherwise() -> None:
    spools.heard_from_drain(Report(NAME, stored_age=1.0, unstored_age=59.0))
    proxy(0)
    assert alarms() == []
    assert line(as_(people.engineer())) == ""


def test_a_record_that_waits_for_a_minute_is_told_on_every_page_to_who_may_see_it() -> None:
    spools.heard_from_drain(Report(NAME, unstored_age=61.0))
    said = line(as_(people.engineer()))
    assert f"{NAME}: oldest unstored 1 min." in said
    assert 'href="/engine/"' in said
    assert line(as_(people.reviewer())) == ""


def test_a_waiting_record_grows_old_though_its_drain_has_died() -> None:
    spools.heard_from_drain(Report(NAME, unstored_age=1.0))
    later(seconds=119)
    assert alarms() == ["drain silent for 1 min", "oldest unstored 2 min"]


def test_a_drain_that_hangs_but_reports_is_silent() -> None:
    spools.heard_from_drain(Report(NAME, worked_age=180.0))
    assert alarms() == ["drain silent for 3 min"]


def test_a_drain_that_ended_with_all_stored_alarms_nobody_until_a_proxy_writes() -> None:
    proxy(0)
    spools.heard_from_drain(Report(NAME, stored_age=5.0, stopped=True))
    later(minutes=10)
    assert alarms() == []
    assert "has stopped, with everything stored" in losses.states()[0].words
    proxy(0)
    assert alarms() == ["drain silent for 10 min"]


def test_a_drain_that_ended_with_something_unstored_alarms() -> None:
    spools.heard_from_drain(Report(NAME, unstored_age=1.0, stopped=True))
    later(minutes=2)
    assert "drain silent for 2 min" in alarms()


def test_a_proxy_whose_spool_nobody_drains() -> None:
    proxy(0)
    assert alarms() == []
    later(seconds=61)
    assert alarms() == ["no drain has been heard from"]


def test_dropped_captures_count_on_over_restarts_and_stay_until_somebody_knows() -> None:
    spools.heard_from_drain(Report(NAME))
    proxy(2, problem="No space left on device")
    assert alarms() == ["2 captures dropped", "the spool takes nothing"]
    proxy(2)
    proxy(3)
    proxy(1, run="b")
    assert alarms() == ["4 captures dropped"]
    emil, olga = as_(people.engineer()), as_(people.operator())
    assert "4 captures dropped" in line(emil)
    assert "I know of" not in emil.get("/engine/").text
    assert emil.post("/engine/known/drops/", {"dropped": "4"}).status_code == 403
    assert "I know of the 4 dropped" in olga.get("/engine/").text
    proxy(2, run="b")
    olga.post("/engine/known/drops/", {"dropped": "4"})
    assert alarms() == ["5 captures dropped"]
    olga.post("/engine/known/drops/", {"dropped": "5"})
    assert alarms() == []
    assert Spool.objects.get().dropped == 5
    proxy(3, run="b")
    assert alarms() == ["1 capture dropped"]


def test_the_worst_of_several_is_in_the_bar_and_the_line_counts_the_others() -> None:
    spools.heard_from_drain(Report("a", unstored_age=70.0))
    spools.heard_from_drain(Report("b", worked_age=90.0))
    spools.heard_from_drain(Report("c"))
    found = losses.states()
    bar, said = losses.capture_state(found), losses.line(found)
    assert bar is not None
    assert said is not None
    assert (bar.tone, bar.words) == ("bad", "drain silent for 1\xa0min")
    assert (said.tone, said.words) == ("bad", "a: oldest unstored 1\xa0min; and 1 more.")


@pytest.mark.parametrize("said", [{}, {"spool": "x"}, {"spool": "x", "run": "a", "dropped": "-1"},
                                  {"spool": "x", "run": "a", "dropped": "²"},
                                  {"spool": "x", "run": "a", "dropped": "9" * 40}])  # fmt: skip
def test_what_a_proxy_says_wrongly_is_not_kept(said: dict[str, str]) -> None:
    spools.heard_from_proxy("p", said)
    assert not Spool.objects.exists()


def test_moments_are_kept_by_webs_own_clock() -> None:
    spools.heard_from_drain(Report(NAME, stored_age=3600.0))
    row = Spool.objects.get()
    assert row.stored_at is not None
    assert abs((timezone.now() - row.stored_at).total_seconds() - 3600) < 60
