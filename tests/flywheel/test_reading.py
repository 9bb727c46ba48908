"""Who may read what: every page, for a stranger, a reviewer, an engineer of another route, one of
numbers only.

`PAGES` lists every address. One that is added without a line here fails a test of test_rights.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db import DatabaseError
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import DjangoAssertNumQueries, Settings

from annotations import sampling
from annotations.access import role_in
from annotations.models import Annotation, Item, Queue
from annotations.people import Role
from flywheel import urls
from flywheel.models import DatasetVersion, Evaluation, EvaluationCase, Job, Rollout, TrainingRun
from inference import columns, events, filters, otlp, queries, readers
from inference.access import is_engineer
from inference.answer import Choice
from inference.audit import Look, WrittenError
from inference.models import Route, SavedView
from inference.reading_rights import ReadingRight, rights_of
from inference.uuid7 import uuid7
from tests import people
from tests.flywheel import wheel_data
from tests.inference import answered, spooled

pytestmark = pytest.mark.django_db
SECRET = "zebrafish"
"""In every text of the exchange that only some may read."""
TYPED = SECRET[:5]
"""What who looks for it types."""
CALL = [{"function": {"name": f"{SECRET}_tool", "arguments": f'{{"q":"{SECRET}"}}'}}]
ONE = replace(
    answered.exchange(
        1,
        f"{SECRET} answered",
        route="icd",
        session="desk-1",
        user="u7",
        tags={"team": "wards"},
        messages=[
            {"role": "system", "content": f"{SECRET} instructions"},
            {"role": "user", "content": f"{SECRET} asked"},
        ],
    ),
    error=f"{SECRET} error",
    choices=[Choice(0, f"{SECRET} answered", "stop", f"{SECRET} reasoned", CALL)],
)
LATER = answered.exchange(
    2,
    f"{SECRET} again",
    route="icd",
    session="desk-1",
    messages=[{"role": "user", "content": f"{SECRET} asked on"}],
)
OTHER = answered.exchange(
    3,
    "plain answer",
    route="faq",
    trace_id=ONE.trace_id,
    messages=[{"role": "user", "content": "plain question"}],
)
SAID = events.parse(
    spooled.event(ONE.exchange_id, thumbs="down", comment=f"{SECRET} comment", correction=SECRET)
)
OF_THE_TRACE = replace(SAID, event_id=str(uuid7()), exchange_id=ONE.exchange_id, trace_id=ONE.trace_id)
STEP = otlp.SpanBatch("", [answered.step(ONE.trace_id, "9" * 16, "look up")])


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        answered.store(ONE, LATER, OTHER, SAID, OF_THE_TRACE, STEP)
        yield clickhouse


@pytest.fixture(autouse=True)
def addresses(filled: str, monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled)
    settings.ARTEFACTS = str(tmp_path)
    answered.keep_tokenizer(tmp_path)


@pytest.fixture
def wheel(tmp_path: Path) -> wheel_data.Wheel:
    """A turn of the wheel on the route, and nobody's right to read anything."""
    made = wheel_data.turn(wheel_data.STAGES[-1], tmp_path)
    Route.objects.get_or_create(name="faq")
    asked = [{"role": "user", "content": f"{SECRET} asked"}]
    Item.objects.update(messages=asked, answer=SECRET, verdict_answer=SECRET)
    # What judges said of the exchange stands beside it.
    judged = Annotation.objects.order_by("pk")[0]
    Item.objects.filter(pk=judged.item_id).update(exchange_id=ONE.exchange_id, verdict="corrected")
    Annotation.objects.update(note=f"{SECRET} noted")
    EvaluationCase.objects.update(question=SECRET, expected=SECRET, candidate_answer=SECRET)
    SavedView.objects.create(owner=made.operator, name="all", filter="route:icd", shared=True)
    ReadingRight.objects.all().delete()
    return made


def signed_in(user: User | None) -> Client:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


def limited(name: str, *routes: str, texts: bool) -> User:
    """An engineer who reads these routes, or numbers of every one, and no more by being an engineer."""
    user = people.engineer(name)
    ReadingRight.objects.filter(role="engineers").delete()
    people.may_read(*routes, texts=texts, person=user)
    return user


def elsewhere() -> User:
    """Reads another route."""
    return limited("erna", "faq", texts=True)


def counter() -> User:
    """Sees numbers of every route."""
    return limited("nora", texts=False)


def reader() -> User:
    """Reads the route."""
    return limited("ida", "icd", texts=True)


@dataclass(frozen=True)
class Page:
    """An address, and what a GET answers: to a stranger, a reviewer, an engineer of another route, one
    of numbers only, and one who reads the route.
    """

    name: str
    answers: tuple[int, int, int, int, int]
    arguments: Callable[[], list[Any]] = list
    query: Callable[[], dict[str, Any]] = dict
    reviewers_own: bool = False
    """Whether a reviewer sees there what a queue gave them to judge."""

    @property
    def address(self) -> str:
        return reverse(self.name, args=self.arguments())


OPEN = (200, 200, 200, 200, 200)
FOR_ENGINEERS = (302, 403, 200, 200, 200)
FOR_OPERATORS = (302, 403, 403, 403, 403)
ONE_EXCHANGE = (302, 403, 404, 200, 200)
IN_A_QUEUE = (302, 403, 403, 403, 403)
AS_REVIEWER = (302, 200, 404, 404, 404)
POSTED = (405, 405, 405, 405, 405)
LEADS_ELSEWHERE = (302, 302, 302, 302, 302)
"""To the page that has the form, which says itself who gets in."""
TOKEN = (403, 403, 403, 403, 403)


OLDEST = f"1_{UUID(int=0)}_0"
ASKING = {
    *("inference/queries/asking.py", "inference/vitals.py"),
    *("annotations/mirror.py", "flywheel/erasure.py", "flywheel/retention.py", "flywheel/health.py"),
    *("flywheel/pages/erasures.py", "flywheel/local/desk.py"),
}
"""Modules that ask the trace store themselves: for numbers of engines, for jobs, for an operator's count."""


def one() -> list[Any]:
    return [ONE.exchange_id]


def desk() -> list[Any]:
    return ["coding-desk"]


def item() -> list[Any]:
    return ["coding-desk", Item.objects.values_list("pk", flat=True)[0]]


def first(model: type[Any]) -> Callable[[], list[Any]]:
    return lambda: [model.objects.order_by("pk").values_list("pk", flat=True)[0]]


PAGES = [
    Page("sign-in", (200, 302, 302, 302, 302)),
    Page("sign-in-link", (410, 410, 410, 410, 410), lambda: ["none"]),
    Page("sign-out", POSTED),
    Page("words", OPEN),
    Page("healthz", OPEN),
    Page("settings", (302, 200, 200, 200, 200)),
    Page("password", (302, 200, 200, 200, 200)),
    Page("overview", (302, 302, 200, 200, 200)),
    Page("search", FOR_ENGINEERS, query=lambda: {"q": TYPED}),
    Page("search", FOR_ENGINEERS, query=lambda: {"q": "ffffff"}),
    Page("capture", (302, 403, 204, 204, 204)),
    Page("metrics", TOKEN),
    Page("routing-snapshot", TOKEN),
    Page("spool-report", POSTED),
    Page("exchanges", FOR_ENGINEERS),
    Page("exchanges", FOR_ENGINEERS, query=lambda: {"q": TYPED}),
    Page("exchanges", FOR_ENGINEERS, query=lambda: {"q": "route:icd"}),
    Page("exchanges", FOR_ENGINEERS, query=lambda: {"q": "route:icd", "peek": ONE.exchange_id}),
    Page("exchanges", (302, 403, 204, 204, 200), query=lambda: {"q": TYPED, "newest": OLDEST}),
    Page("complete", FOR_ENGINEERS, query=lambda: {"line": "conversation:"}),
    Page("complete", FOR_ENGINEERS, query=lambda: {"line": "user:"}),
    Page("exchange-diff", ONE_EXCHANGE, query=lambda: {"a": ONE.exchange_id, "b": LATER.exchange_id}),
    Page("save-view", POSTED),
    Page("saved-view", (302, 403, 302, 302, 302), first(SavedView)),
    Page("remove-view", POSTED, first(SavedView)),
    Page("exchange", ONE_EXCHANGE, one),
    Page("exchange", ONE_EXCHANGE, one, lambda: {"view": "text"}),
    Page("exchange-raw", (302, 403, 404, 403, 200), one),
    Page("exchange-raw", (302, 403, 404, 403, 200), one, lambda: {"part": "response"}),
    Page("exchanges", FOR_ENGINEERS, query=lambda: {"columns": [column.name for column in columns.ALL]}),
    Page("sessions", FOR_ENGINEERS),
    Page("sessions", FOR_ENGINEERS, query=lambda: {"q": TYPED}),
    Page("sessions", FOR_ENGINEERS, query=lambda: {"q": "route:icd"}),
    Page("session", ONE_EXCHANGE, lambda: ["desk-1"]),
    Page("exchange-again", ONE_EXCHANGE, one),
    Page("exchange-send", FOR_ENGINEERS, query=lambda: {"q": "route:icd"}),
    Page("exchange-send", FOR_ENGINEERS, query=lambda: {"id": ONE.exchange_id}),
    Page("review-home", (302, 302, 302, 302, 302)),
    Page("review", AS_REVIEWER, desk, reviewers_own=True),
    Page("review-this", LEADS_ELSEWHERE, desk),
    Page("review-next", (302, 302, 404, 404, 404), desk),
    Page("review-drafts", AS_REVIEWER, desk),
    Page("review-judge", LEADS_ELSEWHERE, desk),
    Page("review-undo", LEADS_ELSEWHERE, desk),
    Page("review-finish", LEADS_ELSEWHERE, desk),
    Page("review-ask", LEADS_ELSEWHERE, desk),
    Page("review-mine", AS_REVIEWER, desk, reviewers_own=True),
    Page("review-sureness", (302, 404, 404, 404, 404), desk),
    Page("queues", (302, 403, 200, 200, 200)),
    Page("queue-new", FOR_ENGINEERS, query=lambda: {"filter": "route:icd"}),
    Page("queue-import", LEADS_ELSEWHERE),
    Page("queue", IN_A_QUEUE, desk),
    Page("queue-export", IN_A_QUEUE, desk),
    Page("queue-settings", IN_A_QUEUE, desk),
    Page("queue-state", POSTED, desk),
    Page("queue-release", POSTED, item),
    Page("queue-reassign", POSTED, item),
    Page("queue-item", IN_A_QUEUE, item),
    Page("queue-checks", IN_A_QUEUE, desk),
    Page("queue-conflicts", IN_A_QUEUE, desk),
    Page("queue-decide", LEADS_ELSEWHERE, item),
    Page("queue-check", POSTED, item),
    Page("queue-flag", POSTED, item),
    Page("queue-annotations", IN_A_QUEUE, lambda: ["coding-desk", "jsonl"]),
    Page("queue-annotations", IN_A_QUEUE, lambda: ["coding-desk", "csv"]),
    Page("queue-people", IN_A_QUEUE, desk),
    Page("queue-invite", LEADS_ELSEWHERE, desk),
    Page("queue-uninvite", POSTED, item),
    Page("queue-remove", POSTED, item),
    Page("queue-outside", POSTED, item),
    Page("queue-draw", POSTED, desk),
    Page("queue-agreement", IN_A_QUEUE, desk),
    Page("join", (410, 410, 410, 410, 410), lambda: ["none"]),
    Page("datasets", FOR_ENGINEERS),
    Page("dataset-new", FOR_ENGINEERS),
    Page("dataset-new", FOR_ENGINEERS, query=lambda: {"filter": TYPED}),
    Page("dataset", FOR_ENGINEERS, lambda: [DatasetVersion.objects.get().dataset.name]),
    Page("dataset-version", FOR_ENGINEERS, lambda: [DatasetVersion.objects.get().dataset.name, 1]),
    Page("training", FOR_ENGINEERS),
    Page("training-new", FOR_ENGINEERS),
    Page("training-run", FOR_ENGINEERS, first(TrainingRun)),
    Page("evaluations", FOR_ENGINEERS),
    Page("evaluation-new", FOR_ENGINEERS),
    Page("evaluation", FOR_ENGINEERS, first(Evaluation)),
    Page("evaluation-cases", (302, 403, 403, 403, 403), first(Evaluation)),
    Page("rollouts", FOR_ENGINEERS),
    Page("rollout-new", FOR_ENGINEERS),
    Page("rollout", FOR_ENGINEERS, first(Rollout)),
    Page("route", FOR_ENGINEERS, lambda: ["icd"]),
    Page("route-back", POSTED, lambda: ["icd"]),
    Page("job-act", (302, 403, 302, 302, 302), first(Job)),
    Page("erasures", FOR_OPERATORS),
    Page("erasure", FOR_OPERATORS, lambda: [1]),
    Page("masking", FOR_OPERATORS, query=lambda: {"route": "icd"}),
    Page("retention", FOR_OPERATORS),
    Page("approval", FOR_ENGINEERS),
    Page("engine-room", FOR_ENGINEERS),
    Page("drops-known", POSTED),
    Page("engine", FOR_ENGINEERS, lambda: ["cpu-1"]),
]
OTHERS_PAGES = {"admin/logout/"}
"""What signs out, by another address."""


def test_nobody_finds_a_text_that_is_not_theirs(wheel: wheel_data.Wheel) -> None:
    """Goes to every page as each of them, and looks for the secret in what comes."""
    cast = [None, wheel.reviewer, elsewhere(), counter(), reader()]
    clients = [signed_in(one) for one in cast]
    wrong = []
    for page in PAGES:
        for column, client in enumerate(clients):
            answer = client.get(page.address, page.query())
            text = b"".join(answer).decode() if answer.streaming else answer.text
            found = SECRET in text
            allowed = column == 4 or (column == 1 and page.reviewers_own)
            if answer.status_code != page.answers[column] or (found and not allowed):
                wrong.append((page.name, page.query(), column, answer.status_code, "told" if found else ""))
    assert wrong == []


def told(page: str) -> str:
    """A page without what is another each time."""
    return re.sub(r'csrfmiddlewaretoken" value="\w+"', "", page)


def test_what_may_not_be_read_answers_as_what_is_not_there(wheel: wheel_data.Wheel) -> None:
    erna, unknown = signed_in(elsewhere()), str(uuid7())
    for name in ("exchange", "exchange-raw", "exchange-again"):
        there, missing = (erna.get(reverse(name, args=[one])).text for one in (ONE.exchange_id, unknown))
        assert told(there.replace(ONE.exchange_id, unknown)) == told(missing)
    for pasted in (ONE.exchange_id[-8:], ONE.exchange_id[:18]):
        assert "Location" not in erna.get(reverse("exchanges"), {"q": pasted}).headers
    # The trace is the other route's too.
    found = erna.get(reverse("exchanges"), {"q": ONE.trace_id})
    assert found.headers["Location"] == reverse("exchange", args=[OTHER.exchange_id])
    text = erna.get(reverse("exchange", args=[OTHER.exchange_id])).text
    assert "plain answer" in text
    assert SECRET not in text
    assert "chat icd" not in text
    assert "Thumbs down" not in text
    assert "look up" in text


def test_counts_plots_names_and_draws_are_of_what_may_be_read(wheel: wheel_data.Wheel) -> None:
    every = filters.Filter()
    with readers.reading(readers.Reading(lambda: rights_of(elsewhere()))):
        assert queries.count(every) == 1
        assert sum(bucket.count for bucket in queries.histogram(every)) == 1
        assert sum(day.count for day in queries.daily()) == 1
        assert queries.suggest("route") == ["faq"]
        assert queries.suggest("session") == []
        assert [one.exchange_id for one in queries.sample(every, 10)] == [OTHER.exchange_id]
        assert queries.find(ONE.exchange_id) == []
        assert queries.conversation("desk-1") is None
        assert queries.turns("desk-1") == ([], None)
        assert queries.exchange(ONE.exchange_id) is None
        assert queries.raw(ONE.exchange_id) is None
    assert queries.count(every) == 3


def test_numbers_only_shows_numbers_and_says_so(wheel: wheel_data.Wheel) -> None:
    nora = signed_in(counter())
    text = nora.get(reverse("exchange", args=[ONE.exchange_id])).text
    for present in ("You may see numbers only of", "Where the time went", "Thumbs down", "Tokens"):
        assert present in text
    assert re.search(r"How sure</dt><dd>\d+\s% a token, 15\s% the least sure", text)
    for absent in ("Copy as curl", "byte for byte", "data-token", "Send to a queue", "Nothing was answered"):
        assert absent not in text
    rows = nora.get(reverse("exchanges")).text
    assert "(numbers only)" in rows
    assert "<b>3</b>" in rows
    for name in ("exchange-diff", "session"):
        page = next(page for page in PAGES if page.name == name)
        assert "You may see numbers only of" in nora.get(page.address, page.query()).text


@pytest.mark.parametrize(
    "line",
    [TYPED, f'-"{TYPED}"', "-lungs", *("conversation:0123456789abcdef", "-group:J45", 'group:J45 "lungs"')],
)
def test_texts_and_hashes_of_texts_are_not_to_be_tried(wheel: wheel_data.Wheel, line: str) -> None:
    nora = signed_in(counter())
    text = nora.get(reverse("exchanges"), {"q": line}).text
    assert "you may see numbers only" in text
    assert "The filter was not understood" in text
    assert "you may see numbers only" in nora.get(reverse("exchange-send"), {"q": line}).text


def test_words_are_looked_for_only_where_texts_may_be_read(wheel: wheel_data.Wheel) -> None:
    user = counter()
    people.may_read("faq", texts=True, person=user)
    with readers.reading(readers.Reading(lambda: rights_of(user))) as reading:
        assert queries.count(filters.parse(TYPED)) == 0
        assert queries.count(filters.parse("plain")) == 1
        assert queries.count(filters.Filter()) == 3
        hidden = queries.exchange(ONE.exchange_id)
        assert hidden is not None
        assert (hidden.hidden, hidden.messages, hidden.choices, hidden.tokens) == (True, [], [], [])
        assert hidden.completion_tokens == ONE.completion_tokens
        with pytest.raises(readers.HiddenError):
            queries.raw(ONE.exchange_id)
        shown = queries.exchange(OTHER.exchange_id)
        assert shown is not None
        assert shown.answer == "plain answer"
        assert shown.tokens
        assert reading.looked == {OTHER.exchange_id: "faq"}


def test_a_routes_name_is_a_name_whatever_it_is(wheel: wheel_data.Wheel) -> None:
    evil = "x') OR 1 OR ('\\"
    Route.objects.create(name=evil)
    user = people.reviewer("eve")
    people.may_read(evil, texts=True, person=user)
    with readers.reading(readers.Reading(lambda: rights_of(user))):
        assert queries.count(filters.Filter()) == 0
        assert queries.explore(filters.Filter()).rows == []
        assert queries.spans(ONE.trace_id)[0].name == "look up"
    with readers.reading(readers.Reading(lambda: readers.NOTHING)):
        assert queries.count(filters.Filter()) == 0


def test_a_conversation_that_is_named_by_its_text_is_no_way_to_try_it(wheel: wheel_data.Wheel) -> None:
    named = OTHER.conversation
    assert queries.conversation(named) is not None
    with readers.reading(readers.Reading(lambda: rights_of(counter()))):
        assert queries.conversation(named) is None
        assert queries.turns(named) == ([], None)
        assert queries.suggest("conversation") == []
        assert queries.conversation("desk-1") is not None


def test_nobody_asks_for_nobody() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(readers.NoReaderError):
        pool.submit(queries.count, filters.Filter()).result()


def test_who_reads_nothing_is_told_whom_to_ask(wheel: wheel_data.Wheel) -> None:
    answer = signed_in(wheel.engineer).get(reverse("exchanges"))
    assert answer.status_code == 403
    assert "You may read no exchanges" in answer.text


def test_rights_add_up_and_end(wheel: wheel_data.Wheel) -> None:
    rita, emil, olga = wheel.reviewer, wheel.engineer, wheel.operator
    assert rights_of(emil) == rights_of(AnonymousUser()) == readers.NOTHING
    people.may_read("faq", role="engineers")
    people.may_read(role="operators", texts=True)
    people.may_read("icd", group="wards", texts=True)
    emil.groups.add(Group.objects.get(name="wards"))
    icd, faq = frozenset({"icd"}), frozenset({"faq"})
    assert rights_of(emil) == readers.Rights(icd | faq, icd)
    assert rights_of(olga) == readers.EVERYTHING
    assert rights_of(rita) == readers.NOTHING
    people.may_read("icd", person=rita)
    assert rights_of(rita) == readers.Rights(icd, frozenset())
    emil.is_active = False
    assert rights_of(emil) == readers.NOTHING


def test_rights_cost_one_query_and_one_entry_a_page(
    wheel: wheel_data.Wheel, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ida = signed_in(reader())
    with django_assert_num_queries(0):
        rights_of(AnonymousUser())
    user = User.objects.get(username="ida")
    is_engineer(user)
    with django_assert_num_queries(1):
        rights_of(user)
    lines: list[tuple[dict[str, Any], int]] = [({}, 2), ({"q": "user:u7"}, 1), ({"peek": ONE.exchange_id}, 2)]
    for query, count in lines:
        Look.objects.all().delete()
        ida.get(reverse("exchanges"), query)
        assert Look.objects.get().count == count


def test_each_look_at_a_text_is_written_down(wheel: wheel_data.Wheel) -> None:
    ida = reader()
    client = signed_in(ida)
    shown = {
        "exchange": [ONE],
        "exchange-raw": [ONE],
        "exchange-diff": [ONE, LATER],
        "session": [ONE, LATER],
        "exchange-again": [ONE],
        "exchange-send": [ONE],
    }
    for page in PAGES:
        if page.name in shown:
            Look.objects.all().delete()
            client.get(page.address, page.query())
            look = Look.objects.get()
            assert (look.who, look.place, look.routes) == (ida, page.name, "icd")
            assert {one.exchange_id for one in shown[page.name]} <= set(look.exchanges.split())
            assert len(look.exchanges.split()) == look.count
            assert SECRET not in repr(vars(look))


def test_numbers_and_refusals_are_no_looks(wheel: wheel_data.Wheel) -> None:
    for user in (counter(), elsewhere()):
        client = signed_in(user)
        for page in PAGES:
            if page.name.startswith(("exchange", "session", "complete")):
                client.get(page.address, page.query())
    assert set(Look.objects.values_list("routes", flat=True)) == {"faq"}


def test_what_can_not_be_written_down_is_not_shown(
    wheel: wheel_data.Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(reader())
    client.raise_request_exception = False

    def full(*_: object, **__: object) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(Look.objects, "create", full)
    answer = client.get(reverse("exchange", args=[ONE.exchange_id]))
    assert answer.status_code == 500
    assert SECRET not in answer.text


def test_copies_in_queues_and_what_is_built_of_them_are_written_down(wheel: wheel_data.Wheel) -> None:
    people.may_read(texts=True, person=wheel.engineer)
    client = signed_in(wheel.engineer)
    for name in ("queue", "queue-item", "queue-conflicts", "dataset-version", "evaluation-cases"):
        page = next(page for page in PAGES if page.name == name)
        answer = client.get(page.address)
        assert SECRET in answer.text
        assert Look.objects.latest("id").place == name


def test_an_entry_stands(wheel: wheel_data.Wheel) -> None:
    signed_in(reader()).get(reverse("exchange", args=[ONE.exchange_id]))
    look = Look.objects.get()
    with pytest.raises(WrittenError):
        look.save()
    with pytest.raises(WrittenError):
        look.delete()


def test_a_queue_is_filled_with_no_more_than_its_author_reads(wheel: wheel_data.Wheel) -> None:
    erna = elsewhere()
    client = signed_in(erna)
    form = client.get(reverse("queue-new")).text
    key = re.search(r'name="key" value="([^"]+)"', form)
    assert key is not None
    given = {
        "name": "Mine",
        "filter": "",
        "kind": "approve",
        "question": "Right?",
        "key": key[1],
        "size": 10,
        "order": "newest",
        "judgements_per_item": 1,
        "lease_minutes": 15,
        "heat_map": "never",
        "gold_every": 0,
        "rule": "unanimity",
        "daily_cap": 5,
        "also-TOTAL_FORMS": 0,
        "also-INITIAL_FORMS": 0,
    }
    answer = client.post(reverse("queue-new"), given)
    assert answer.status_code == 302, re.findall(r'class="error[^>]*>(?:<li>)?([^<]+)', answer.text)
    queue = Queue.objects.get(name="Mine")
    assert queue.filter == "route:faq"
    assert [str(one) for one in queue.items.values_list("exchange_id", flat=True)] == [OTHER.exchange_id]
    assert role_in(queue, erna) == Role.ADMIN
    assert client.get(queue.get_absolute_url()).status_code == 200
    # Later, when nobody in particular draws for it.
    sampling.flow()
    assert queue.items.count() == 1


def test_who_sees_numbers_only_sends_nothing_on(wheel: wheel_data.Wheel) -> None:
    Queue.objects.create(slug="picked", name="Picked", order="newest")
    for user, there in ((counter(), 0), (elsewhere(), 1), (reader(), 3)):
        signed_in(user).post(reverse("exchange-send"), {"q": "", "queue": "picked"})
        assert Queue.objects.get(slug="picked").items.count() == there


def test_who_may_not_read_the_question_does_not_ask_it(
    wheel: wheel_data.Wheel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EVALUATION_KEY = "fw-x"
    monkeypatch.setattr("flywheel.pages.again.send", lambda *_: pytest.fail("it was asked"))
    for user, status in ((counter(), 422), (elsewhere(), 404), (reader(), 422)):
        client = signed_in(user)
        asked = client.post(reverse("exchange-again", args=[ONE.exchange_id]), {"version": wheel.base.name})
        assert asked.status_code == status


def test_no_page_asks_the_trace_store_past_this_layer() -> None:
    """Who asks past inference.queries is a job, a command or news of engines."""
    root = Path(urls.__file__).parent.parent
    asking = {
        str(path.relative_to(root))
        for room in ("inference", "annotations", "flywheel")
        for path in (root / room).rglob("*.py")
        if re.search(r"clickhouse\.connect\(|clickhouse import .*\bconnect\b", path.read_text())
    }
    assert asking == ASKING
