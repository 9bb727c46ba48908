"""Pages about training: cost before the button, pressed twice trains once, a page that follows the run."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from flywheel import training
from flywheel.models import Job, TrainingRun
from flywheel.pages import keys
from tests import people
from tests.flywheel import wheel_data
from tests.flywheel.wheel_data import Wheel

pytestmark = pytest.mark.django_db
LIVE = {"HX-Request": "true", "HX-Target": "live"}


@pytest.fixture
def wheel(home: Path, settings: Settings) -> Wheel:
    """A dataset version, and a base model whose files are here."""
    settings.TRAIN_PYTHON = "/bin/true"
    made = wheel_data.turn("dataset", home, items=96)
    wheel_data.keep_base(made)
    return made


def asked(wheel: Wheel, **changes: object) -> dict[str, str]:
    values = {
        "version": wheel.version.pk, "base": wheel.base.pk, "epochs": 3, "learning_rate": 0.001, "rank": 16,
        "alpha": 32, "batch_size": 8, "max_tokens": 512, "watch_rows": 12, "seed": 1, "key": keys.fresh(),
    }  # fmt: skip
    return {name: str(value) for name, value in (values | changes).items()}


def running(wheel: Wheel, until: int, **fields: object) -> TrainingRun:
    now = timezone.now()
    work = wheel_data.job(
        Job.Kind.TRAINING, wheel.engineer, now, state=Job.State.RUNNING, done=until, total=96,
        heartbeat_at=now, lease_until=now + timedelta(minutes=1), **fields,
    )  # fmt: skip
    return wheel_data.training_run(wheel, work, until)


@pytest.mark.parametrize("address", ["/training/", "/training/new/", "/training/1/"])
def test_only_engineers_get_in(wheel: Wheel, address: str) -> None:
    run = running(wheel, 3)
    address = address.replace("1", str(run.pk))
    assert people.client(None).get(address).headers["Location"].startswith(reverse("sign-in"))
    assert people.client(wheel.reviewer).get(address).status_code == 403
    assert people.client(wheel.engineer).get(address).status_code == 200


def test_a_reviewer_cannot_train(wheel: Wheel) -> None:
    assert people.client(wheel.reviewer).post("/training/new/", asked(wheel)).status_code == 403
    assert not TrainingRun.objects.exists()


def test_before_the_button_stands_what_it_costs(wheel: Wheel) -> None:
    page = people.client(wheel.engineer).get("/training/new/").content.decode()
    rows = wheel.version.train_rows - training.Config().watch_rows
    assert re.search(rf"<b>{-(-rows // 8) * 3}</b> steps over {rows} rows, about \d+", page)
    assert "by the reference reviewer" in page
    assert "by a figure from two CPU cores" in page
    assert "24 rows, untouched" in page
    assert re.search(r'<button class="button button-primary">Train<', page)


def test_pressed_twice_trains_once(wheel: Wheel) -> None:
    client, posted = people.client(wheel.engineer), asked(wheel)
    first, second = client.post("/training/new/", posted), client.post("/training/new/", posted)
    run = TrainingRun.objects.get()
    assert first.headers["Location"] == second.headers["Location"] == run.get_absolute_url()
    assert run.job.total == 21
    assert client.post("/training/new/", posted | {"epochs": "4"}).status_code == 409


@pytest.mark.parametrize(
    "change", [{"epochs": "0"}, {"rank": "900"}, {"learning_rate": "x"}, {"version": "77"}]
)
def test_settings_out_of_bounds_are_said_and_nothing_begins(wheel: Wheel, change: dict[str, str]) -> None:
    response = people.client(wheel.engineer).post("/training/new/", asked(wheel) | change)
    assert response.status_code == 422
    assert f'id="id_{next(iter(change))}_error"' in response.content.decode()
    assert not TrainingRun.objects.exists()


def test_when_it_cannot_be_pressed_it_says_why(wheel: Wheel) -> None:
    wheel.base.path = ""
    wheel.base.save()
    client = people.client(wheel.engineer)
    page = client.get("/training/new/").content.decode()
    assert "are not on this machine" in page
    assert re.search(r"<button[^>]* disabled aria-describedby=\"why-not\"", page)
    assert client.post("/training/new/", asked(wheel)).status_code == 422


def test_empty_pages_lead_to_the_next_step() -> None:
    client = people.client(people.engineer())
    for address in ("/training/", "/training/new/"):
        assert reverse("dataset-new") in client.get(address).content.decode()


def test_a_run_under_way_says_step_time_and_loss(wheel: Wheel) -> None:
    run = running(wheel, 58)
    page = people.client(wheel.engineer).get(run.get_absolute_url()).content.decode()
    lead = re.search(r'id="lead">(.*?)</span>', page)
    assert lead
    assert re.fullmatch(
        r"Step <b>58</b> of 96, about 8\d\s+s left, loss <b>0\.\d+</b> and falling\.",
        lead[1].replace("\xa0", " "),
    )
    assert page.count("<figure") == 5
    assert "step 32" in page


def test_the_fragment_comes_only_when_something_changed_and_ends(wheel: Wheel) -> None:
    run = running(wheel, 10)
    client = people.client(wheel.engineer)
    page = client.get(run.get_absolute_url()).content.decode()
    poll = re.search(r'id="live"[^>]* hx-get="([^"]+)" hx-trigger="tick from:body"', page)
    assert poll
    assert client.get(poll[1], headers=LIVE).status_code == 204
    wheel_data.write_run(Path(run.folder), 40)
    fragment = client.get(poll[1], headers=LIVE).content.decode()
    assert "Step <b>40</b> of 96" in fragment
    Job.objects.filter(pk=run.job_id).update(state=Job.State.CANCELLED, finished_at=timezone.now())
    ended = client.get(poll[1], headers=LIVE).content.decode()
    assert "Cancelled at step 40 of 96; its checkpoints are kept." in ended
    assert "tick from:body" not in ended
    assert "Resume" in ended


def test_going_back_in_the_browser_gives_the_whole_page(wheel: Wheel) -> None:
    run = running(wheel, 10)
    response = people.client(wheel.engineer).get(run.get_absolute_url(), headers={"HX-Request": "true"})
    assert "<html" in response.content.decode()


def test_the_log_gives_only_what_was_added(wheel: Wheel) -> None:
    run = running(wheel, 40)
    client = people.client(wheel.engineer)
    page = client.get(run.get_absolute_url()).content.decode()
    more = re.search(r'id="log-tail" hx-get="([^"]+)"', page)
    assert more
    address = more[1].replace("&amp;", "&")
    assert client.get(address).status_code == 204
    log = Path(run.folder, "log.txt")
    log.write_text(log.read_text() + "18:09:00 <b>odd</b> line\n18:09:0", encoding="utf-8")
    added = client.get(address).content.decode()
    assert added.startswith("18:09:00 &lt;b&gt;odd&lt;/b&gt; line\n<span")
    assert "loading" not in added


def test_cancel_asks_once_and_only_while_it_runs(wheel: Wheel) -> None:
    run = running(wheel, 10)
    client, act = people.client(wheel.engineer), reverse("job-act", args=[run.job_id])
    assert people.client(wheel.reviewer).post(act, {"do": "cancel"}).status_code == 403
    assert client.post(act, {"do": "cancel"}).headers["Location"] == run.get_absolute_url()
    assert Job.objects.get(pk=run.job_id).cancel_requested
    assert "Cancelling at its next sign of life." in client.get(run.get_absolute_url()).content.decode()
    Job.objects.filter(pk=run.job_id).update(state=Job.State.DONE)
    refused = client.post(act, {"do": "cancel"})
    assert refused.status_code == 409
    assert "The job is done by now" in refused.content.decode()


def test_a_failed_run_says_what_is_safe(wheel: Wheel) -> None:
    run = running(wheel, 10)
    Job.objects.filter(pk=run.job_id).update(state=Job.State.FAILED, error="The system killed the trainer.")
    page = people.client(wheel.engineer).get(run.get_absolute_url()).content.decode()
    assert "Failed at step 10 of 96; the rows and the last checkpoint are safe." in page
    assert "The system killed the trainer." in page
    assert 'value="resume"' in page


def test_settings_are_a_difference_to_the_run_before(wheel: Wheel) -> None:
    first = running(wheel, 3)
    first.config["epochs"] = 7
    first.save()
    second = running(wheel, 3)
    page = people.client(wheel.engineer).get(second.get_absolute_url()).content.decode()
    assert "was 7 in the run before" in page
    assert page.count("in the run before") == 1


def test_what_a_model_said_stays_text(wheel: Wheel) -> None:
    run = running(wheel, 40)
    path = Path(run.folder, "answers.jsonl")
    path.write_text(path.read_text().replace("The patient has a", "<script>alert(1)</script>"))
    page = people.client(wheel.engineer).get(run.get_absolute_url()).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_a_run_whose_files_are_gone_still_has_a_page(wheel: Wheel) -> None:
    run = running(wheel, 3)
    TrainingRun.objects.update(folder="/nowhere")
    assert (
        "Loss: nothing measured yet."
        in people.client(wheel.engineer).get(run.get_absolute_url()).content.decode()
    )


def test_queries_are_bounded(
    home: Path, wheel: Wheel, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(4):
        run = running(wheel, 3)
    client = people.client(wheel.engineer)
    for address, most in (("/training/", 11), (run.get_absolute_url(), 12), ("/training/new/", 20)):
        with django_assert_max_num_queries(most):
            client.get(address)
