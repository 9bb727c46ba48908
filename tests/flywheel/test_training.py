"""A run is planned honestly, supervised to its end, and gives an adapter under a name that holds its hash."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from flywheel import datasets, jobs, training
from flywheel.models import DatasetRow, DatasetVersion, Job, TrainingRun
from flywheel.training import Config
from inference.models import ModelVersion
from tests.flywheel.desk import Desk, work

TINY = Path(__file__).with_name("tiny_trainer.py")


@pytest.fixture(autouse=True)
def tiny_trainer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.TRAIN_PYTHON = sys.executable
    monkeypatch.setattr(training, "TRAINER", TINY)


@pytest.fixture
def version(desk: Desk, tmp_path: Path) -> DatasetVersion:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    desk.base.path = str(folder)
    desk.base.save()
    desk.fill(30)
    return desk.build(exam_rows=6)


def begin(desk: Desk, version: DatasetVersion, key: str = "run", **config: int) -> TrainingRun:
    return training.start(version, desk.base, Config(**config), key, desk.engineer)


def test_a_plan_says_what_a_run_takes(desk: Desk, version: DatasetVersion) -> None:
    planned = training.plan(version, desk.base, Config(watch_rows=4, batch_size=8, epochs=3))
    assert (planned.rows, planned.watched, planned.steps, planned.why_not) == (20, 4, 9, "")
    assert not planned.measured
    words = sum(len("Desk.phrase 00Injury") // 4 for _ in range(20))
    assert 3 * words < planned.tokens < 3 * 20 * 40
    assert planned.seconds == pytest.approx(planned.tokens / 470 + training.START_SECONDS)


def test_a_second_plan_goes_by_the_first_run(desk: Desk, version: DatasetVersion) -> None:
    work(begin(desk, version).job)
    planned = training.plan(version, desk.base, Config())
    run = TrainingRun.objects.get()
    assert planned.measured
    assert run.results["tokens_per_second"] == 50.0
    assert planned.seconds == pytest.approx(planned.tokens / 50 + run.results["overhead_seconds"])


def test_watched_rows_are_whole_groups_and_never_learned(desk: Desk, version: DatasetVersion) -> None:
    learned, watched = training.split(version, Config(watch_rows=5))
    groups = {row.hash: row.item.group for row in version.rows.select_related("item")}
    assert (len(learned), len(watched)) == (20, 4)  # a third group of two would be too much
    assert not {groups[e.hash] for e in learned} & {groups[e.hash] for e in watched}
    exam = {e.hash for e in datasets.examples(version, DatasetRow.Split.EXAM)}
    assert not exam & {e.hash for e in learned + watched}
    assert training.split(version, Config(watch_rows=5)) == (learned, watched)


def test_a_run_gives_an_adapter_named_by_its_hash(
    desk: Desk, version: DatasetVersion, settings: Settings
) -> None:
    run = begin(desk, version)
    job = work(run.job)
    assert (job.state, job.done) == (Job.State.DONE, job.total), job.error
    run.refresh_from_db()
    adapter = run.adapter
    assert adapter is not None
    assert adapter.name == f"chapters-{adapter.weights[:8]}"
    assert (adapter.kind, adapter.base, adapter.tokenizer) == ("adapter", desk.base, "c" * 64)
    assert list(adapter.upstreams.all()) == [desk.upstream]
    folder = settings.ADAPTERS / adapter.name
    assert adapter.path == str(folder)
    told = subprocess.run("sha256sum * | sha256sum", shell=True, cwd=folder, capture_output=True, check=True)
    assert told.stdout.decode().split()[0] == adapter.weights
    assert [path.name for path in settings.ADAPTERS.iterdir()] == [adapter.name]
    assert run.results["loss"] == pytest.approx(1 / 6)


def test_the_trainer_gets_the_rows_and_the_bases_name(desk: Desk, version: DatasetVersion) -> None:
    run = begin(desk, version, watch_rows=4)
    work(run.job)
    folder = Path(run.folder)
    assert len((folder / "train.jsonl").read_text().splitlines()) == 20
    assert len((folder / "watch.jsonl").read_text().splitlines()) == 4
    told = json.loads((folder / "config.json").read_text())
    assert (told["base_name"], told["model"], told["rank"]) == ("tiny", desk.base.path, 16)


def test_the_same_weights_twice_are_one_version(desk: Desk, version: DatasetVersion) -> None:
    for key in ("one", "two"):
        assert work(begin(desk, version, key).job).state == Job.State.DONE
    assert ModelVersion.objects.filter(kind="adapter").count() == 1
    assert len({run.adapter_id for run in TrainingRun.objects.all()}) == 1


def test_a_crash_shows_the_logs_last_lines_and_resume_goes_on(desk: Desk, version: DatasetVersion) -> None:
    run = begin(desk, version)
    folder = Path(run.folder)
    folder.mkdir(parents=True)
    (folder / "fail").touch()
    job = work(run.job)
    assert job.state == Job.State.FAILED
    assert job.error.startswith("The trainer ended with status 1.")
    assert "RuntimeError: out of luck" in job.error
    (folder / "fail").unlink()
    jobs.resume(job)
    assert work(job).state == Job.State.DONE


def test_refused_rows_are_told_in_the_trainers_words(desk: Desk, version: DatasetVersion) -> None:
    run = begin(desk, version)
    Path(run.folder).mkdir(parents=True)
    Path(run.folder, "refuse").touch()
    assert work(run.job).error.startswith("No row to learn from is short enough.")


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_cancel_stops_the_trainer_at_a_checkpoint_and_resume_goes_on_there(
    desk: Desk, version: DatasetVersion
) -> None:
    run = begin(desk, version)
    folder = Path(run.folder)
    folder.mkdir(parents=True)
    (folder / "hold").touch()

    def cancel() -> None:
        while not (folder / "metrics.jsonl").exists():
            time.sleep(0.01)
        jobs.cancel(run.job)
        connection.close()

    person = threading.Thread(target=cancel)
    person.start()
    job = work(run.job)
    person.join()
    assert job.state == Job.State.CANCELLED
    assert (folder / "checkpoint.pt").read_text() == "2"
    (folder / "hold").unlink()
    jobs.resume(job)
    assert work(job).state == Job.State.DONE
    assert training.log_tail(folder)[-1] == "12:00:00 began at 2"
    assert [step.step for step in training.metrics(run)] == [1, 2, 3, 4, 5, 6]
    assert not (folder / "checkpoint.pt").exists()


def test_what_cannot_be_trained_says_why(desk: Desk, version: DatasetVersion, settings: Settings) -> None:
    unbuilt = DatasetVersion(dataset=version.dataset, number=9)
    assert "not built yet" in training.plan(unbuilt, desk.base, Config()).why_not
    assert "is an adapter" in training.plan(version, desk.adapter(), Config()).why_not
    settings.TRAIN_PYTHON = "/nowhere/python"
    assert "FLYWHEEL_TRAIN_PYTHON" in training.plan(version, desk.base, Config()).why_not
    desk.base.path = ""
    assert "not on this machine" in training.plan(version, desk.base, Config()).why_not
    with pytest.raises(jobs.RefusedError, match="not on this machine"):
        begin(desk, version)
    assert not TrainingRun.objects.exists()


def test_pressed_twice_is_one_run(desk: Desk, version: DatasetVersion) -> None:
    assert begin(desk, version) == begin(desk, version)
    with pytest.raises(jobs.KeyReusedError):
        begin(desk, version, epochs=5)


def test_settings_out_of_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="epochs must lie between 1 and 50"):
        Config(epochs=0)


def test_a_sentence_says_how_far_it_is() -> None:
    def step(number: int, loss: float) -> training.Step:
        return training.Step(number, 192, 1, loss, None, 1e-3, 1.0, 300, 150.0, 1, 0.0)

    steps = [step(i, 3 - i / 40) for i in range(1, 85)]
    assert training.sentence(steps) == "Step 84 of 192, about 216 s left, loss 0.90 and falling."
    assert training.sentence(steps[:1]) == "Step 1 of 192, about 382 s left, loss 2.98."


def test_a_damaged_adapter_is_put_right(home: Path, settings: Settings) -> None:
    made = home / "made"
    made.mkdir()
    (made / "adapter_config.json").write_text("{}")
    folder, weights = training.install(made, "chapters")
    (folder / "adapter_config.json").write_text('{"r": 1}')
    assert training.install(made, "chapters") == (folder, weights)
    assert (folder / "adapter_config.json").read_text() == "{}"
