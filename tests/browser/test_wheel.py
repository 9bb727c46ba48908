"""The wheel's pages in a real browser: each main act by keyboard, narrow screens, live parts, no script."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import Settings

from flywheel import rollout
from flywheel.celery import app
from flywheel.models import DatasetVersion, Evaluation, Job, Rollout, TrainingRun
from inference.models import Route, Upstream
from tests.browser.conftest import Visit
from tests.flywheel import wheel_data
from tests.flywheel.tiny_engine import TinyEngine, serve

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
app.conf.update(broker_url="memory://")
TICK = 8000
"""Longer than a few polls take, in ms."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.HOME, settings.SPOOL = tmp_path, tmp_path / "spool"
    settings.ARTEFACTS, settings.ADAPTERS = str(tmp_path / "artefacts"), tmp_path / "adapters"
    settings.TRAIN_PYTHON, settings.EVALUATION_KEY = "/bin/true", "fw-test"
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/flywheel")
    return tmp_path


@pytest.fixture
def engine() -> Iterator[TinyEngine]:
    with serve(TinyEngine()) as engine:
        yield engine


def tab_to(page: Page, name: str) -> None:
    """Press Tab until a button or link of that name has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText || ''").strip() == name:
            return
    raise AssertionError(f"{name!r} can't be reached with Tab")


def press(page: Page, name: str) -> None:
    """Go there with Tab and open what it leads to with Enter."""
    tab_to(page, name)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def test_build_by_keyboard(visit: Visit, home: Path) -> None:
    wheel = wheel_data.turn("judged", home, items=96)
    page = visit("/datasets/", wheel.engineer)
    press(page, "Build the first version")
    expect(page.locator("h1")).to_have_text("Build a dataset version")
    press(page, "Build version 1")
    expect(page.locator("h1")).to_have_text("coding-desk, version 1")
    expect(page.locator("#lead")).to_have_text("This version is being built.")
    wheel_data.do(DatasetVersion.objects.get().job)
    expect(page.locator("#lead")).to_contain_text("kept for the exam", timeout=TICK)
    expect(page.locator("#live")).not_to_have_attribute("hx-trigger", "tick from:body")


def test_changing_a_field_draws_the_plan_anew_and_keeps_the_focus(visit: Visit, home: Path) -> None:
    wheel = wheel_data.turn("judged", home, items=96)
    page = visit("/datasets/new/", wheel.engineer)
    page.get_by_label("Rows for the exam").fill("30")
    page.keyboard.press("Tab")
    expect(page.locator("#lead")).to_contain_text("30 for the exam")
    expect(page.get_by_label("Seed")).to_be_focused()
    assert "exam_rows=30" in page.url
    page.reload()
    expect(page.get_by_label("Rows for the exam")).to_have_value("30")


def test_a_filter_not_understood_is_said_beside_it_while_it_is_typed(visit: Visit, home: Path) -> None:
    wheel = wheel_data.turn("judged", home, items=96)
    page = visit("/datasets/new/", wheel.engineer)
    line = page.get_by_label("Only exchanges that match")
    line.fill("colour:red")
    expect(page.locator("#id_filter_error")).to_contain_text("there is no colour: to filter by")
    expect(page.locator("#plan button")).to_have_count(0)
    expect(line).to_be_focused()
    line.fill("")
    expect(page.locator("#id_filter_error")).to_have_count(0)
    expect(page.get_by_role("button", name="Build version 1")).to_be_enabled()


def test_what_was_typed_is_shown_before_it_can_be_built(visit: Visit, home: Path) -> None:
    wheel = wheel_data.turn("judged", home, items=96)
    page = visit("/datasets/new/", wheel.engineer)
    build = page.get_by_role("button", name="Build version 1")
    expect(build).to_be_enabled()
    # The field says one thing and the plan another only while the button can't be pressed.
    page.evaluate(
        """() => {
          const field = document.querySelector(".plan-form [name=exam_rows]");
          field.value = "7";
          field.dispatchEvent(new InputEvent("input", {bubbles: true}));
          document.body.dataset.pressable = !document.querySelector("#plan form button").disabled;
        }"""
    )
    assert page.get_attribute("body", "data-pressable") == "false"
    expect(page.locator("#plan input[name=exam_rows]")).to_have_value("7")
    expect(build).to_be_enabled()
    build.click()
    page.wait_for_url("**/1/")
    assert DatasetVersion.objects.get().recipe["exam_rows"] == 7


def test_train_by_keyboard_and_follow_it(visit: Visit, home: Path) -> None:
    wheel = wheel_data.turn("dataset", home, items=96)
    wheel_data.keep_base(wheel)
    page = visit("/", wheel.engineer)
    press(page, "Train")
    press(page, "Train")
    expect(page.locator("#lead")).to_have_text("Waits for a worker to begin.")
    run = TrainingRun.objects.get()
    wheel_data.write_run(Path(run.folder), 40)
    Job.objects.update(state=Job.State.RUNNING, done=40, heartbeat_at=timezone.now())
    expect(page.locator("#lead")).to_contain_text("Step 40 of 96", timeout=TICK)
    expect(page.locator("#log")).to_contain_text("checkpoint at step 32", timeout=TICK)
    press(page, "Cancel")
    expect(page.locator("main")).to_contain_text("Cancelling at its next sign of life.")
    assert Job.objects.get(pk=run.job_id).cancel_requested


def test_evaluate_by_keyboard(visit: Visit, home: Path) -> None:
    wheel = wheel_data.turn("trained", home, items=96)
    page = visit("/", wheel.engineer)
    press(page, "Evaluate")
    press(page, "Evaluate")
    expect(page.locator("h1")).to_have_text(f"Evaluation {Evaluation.objects.get().pk}")


def test_a_number_of_an_evaluation_opens_its_cases(visit: Visit, home: Path) -> None:
    wheel = wheel_data.turn("evaluated", home, items=96)
    page = visit(wheel.evaluation.get_absolute_url(), wheel.engineer)
    page.locator(".cell", has_text="gained").click()
    expect(page.locator(".lead")).to_contain_text("gained: wrong before, right now")
    expect(page.locator("tbody tr").first).to_be_visible()


def test_roll_out_and_back_by_keyboard(visit: Visit, home: Path, engine: TinyEngine) -> None:
    wheel = wheel_data.turn("evaluated", home, items=96)
    Upstream.objects.update(base_url=engine.url)
    page = visit("/", wheel.operator)
    press(page, "Roll out")
    expect(page.locator(".act")).to_contain_text("icd: 0 % → 100 %")
    press(page, "Roll out to 100 %")
    expect(page.locator("#lead")).to_contain_text("is made ready on every engine")
    wheel_data.do(Rollout.objects.get().job)
    expect(page.locator("#lead")).to_contain_text("answers 100 % of icd", timeout=TICK)
    assert rollout.targets(Route.objects.get())[0].name == wheel.adapter.name
    press(page, "↩ Back")
    expect(page.locator("#lead")).to_contain_text("icd went back to smollm2-135m")
    page.get_by_label("Why did you go back?").fill("Too many ears.")
    press(page, "Keep the reason")
    expect(page.locator("blockquote")).to_have_text("Too many ears.")


def test_everything_works_without_script(visit: Visit, home: Path, engine: TinyEngine) -> None:
    wheel = wheel_data.turn("evaluated", home, items=96)
    Upstream.objects.update(base_url=engine.url)
    page = visit("/rollouts/new/", wheel.operator, java_script_enabled=False)
    page.get_by_label("Answers").select_option("25")
    page.get_by_role("button", name="Show what that changes").click()
    page.get_by_role("button", name="Roll out to 25 %").click()
    wheel_data.do(Rollout.objects.get().job)
    page.reload()
    expect(page.locator(".lead")).to_contain_text("answers 25 % of icd")
    page.get_by_role("button", name="Back: icd goes back to smollm2-135m").click()
    expect(page.locator(".lead")).to_contain_text("icd went back to smollm2-135m")


def everywhere(wheel: wheel_data.Wheel) -> list[tuple[str, User]]:
    found = [wheel.version.get_absolute_url(), wheel.run.get_absolute_url()]
    found.append(wheel.evaluation.get_absolute_url())
    cases = f"{wheel.evaluation.get_absolute_url()}cases/"
    lists = ["/datasets/", "/datasets/new/", "/datasets/icd-chapters/", "/training/", "/training/new/"]
    lists += ["/evaluations/", "/evaluations/new/", "/engine/", cases]
    live = ["/", "/rollouts/", "/rollouts/new/", "/routes/icd/", wheel.rollout.get_absolute_url()]
    return [(path, wheel.engineer) for path in (*lists, *found)] + [(path, wheel.operator) for path in live]


@pytest.mark.parametrize("width", [320, 1440])
def test_nothing_scrolls_sideways_or_hides_without_a_name(
    visit: Visit, sideways: Callable[[Page], int], home: Path, width: int
) -> None:
    wheel = wheel_data.turn("rolled_out", home, items=96)
    wheel_data.keep_base(wheel)
    for path, user in everywhere(wheel):
        page = visit(path, user, width, 568)
        assert sideways(page) == 0, path
        assert page.locator("h1").count() == 1, path
        assert page.locator(".button-primary:visible").count() <= 1, path
        page.context.close()


def test_long_names_do_not_break_a_narrow_page(
    visit: Visit, sideways: Callable[[Page], int], home: Path
) -> None:
    wheel = wheel_data.turn("rolled_out", home, items=96)
    wheel.queue.name = "Q" * 90
    wheel.queue.save()
    wheel.adapter.name = "adapter-" + "x" * 100
    wheel.adapter.save()
    for path in ("/", "/rollouts/", "/routes/icd/", wheel.version.get_absolute_url()):
        page = visit(path, wheel.operator, 320, 568)
        assert sideways(page) == 0, path
        page.context.close()


def test_the_log_does_not_jump_while_it_is_read(visit: Visit, home: Path) -> None:
    wheel = wheel_data.turn("dataset", home, items=96)
    work = wheel_data.job(
        Job.Kind.TRAINING, wheel.engineer, timezone.now(), state=Job.State.RUNNING, total=96
    )
    run = wheel_data.training_run(wheel, work, 40)
    log = Path(run.folder, "log.txt")
    log.write_text("".join(f"line {i}\n" for i in range(200)), encoding="utf-8")
    page = visit(run.get_absolute_url(), wheel.engineer)
    page.locator("#log").evaluate("element => { element.scrollTop = 300 }")
    with log.open("a", encoding="utf-8") as file:
        file.write("the newest line\n")
    expect(page.locator("#log")).to_contain_text("the newest line", timeout=TICK)
    assert page.locator("#log").evaluate("element => element.scrollTop") == 300
