"""Training runs: the list, what one would cost, and one as it learns."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from flywheel import charts, jobs, training
from flywheel.models import DatasetVersion, TrainingRun
from flywheel.pages import copied, keys, lineage, live
from flywheel.pages import datasets as dataset_pages
from flywheel.pages import jobs as job_pages
from flywheel.templatetags.flywheel import number
from inference.access import engineer_required
from inference.models import ModelVersion

LOG_BYTES = 32_768
"""The log's end as first shown; what comes later is added below it."""
RECENT_STEPS = 10
DEFAULTS = training.Config()


class TrainingForm(forms.Form):
    """What to train on what, and how."""

    version = forms.ModelChoiceField(DatasetVersion.objects.none(), label="Dataset version", empty_label=None)
    base = forms.ModelChoiceField(
        ModelVersion.objects.filter(kind=ModelVersion.Kind.BASE).order_by("name"),
        label="Model to adapt",
        empty_label=None,
        help_text="It stays as it is; the run gives an adapter over it.",
    )
    epochs = forms.IntegerField(initial=DEFAULTS.epochs, help_text="How often each row is learned from.")
    learning_rate = forms.FloatField(label="Learning rate", initial=DEFAULTS.learning_rate)
    rank = forms.IntegerField(initial=DEFAULTS.rank, help_text="Size of the adapter.")
    alpha = forms.IntegerField(initial=DEFAULTS.alpha, help_text="Strength; twice the rank is usual.")
    batch_size = forms.IntegerField(label="Rows a step", initial=DEFAULTS.batch_size)
    max_tokens = forms.IntegerField(
        label="Longest row", initial=DEFAULTS.max_tokens, help_text="In tokens; longer ones are left out."
    )
    watch_rows = forms.IntegerField(
        label="Rows to watch",
        initial=DEFAULTS.watch_rows,
        help_text="Kept back to see the loss on unseen ones. The exam stays untouched.",
    )
    seed = forms.IntegerField(initial=DEFAULTS.seed, help_text="The same seed gives the same adapter.")

    MAIN = ("version", "base", "epochs")

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data)
        versions = self.fields["version"]
        assert isinstance(versions, forms.ModelChoiceField)
        versions.queryset = dataset_pages.done_versions()

    def clean(self) -> dict[str, Any]:
        """Let the trainer's own bounds speak."""
        cleaned = dict(self.cleaned_data)
        settings = {name: value for name, value in cleaned.items() if name not in ("version", "base")}
        if not self.errors:
            try:
                cleaned["config"] = training.Config(**settings)
            except ValueError as error:
                sentence = str(error)
                self.add_error(
                    sentence.split(maxsplit=1)[0], f"{sentence[0].upper()}{sentence[1:]}.".replace("_", " ")
                )
        return cleaned

    def main_fields(self) -> list[forms.BoundField]:
        """What most people choose."""
        return [self[name] for name in self.MAIN]

    def more_fields(self) -> list[forms.BoundField]:
        """What has a good default."""
        return [field for field in self if field.name not in self.MAIN]


@require_GET
@engineer_required
def index(request: HttpRequest) -> HttpResponse:
    """Every run, newest first."""
    found = TrainingRun.objects.select_related(
        "dataset_version__dataset", "base", "adapter", "job", "job__created_by"
    )
    runs = list(found[:100])
    context: dict[str, Any] = {"runs": runs, "active": [run for run in runs if run.job.active]}
    context["versions"] = dataset_pages.done_versions().exists()
    return render(request, "flywheel/training.html", context)


@engineer_required
def training_new(request: HttpRequest) -> HttpResponseBase:
    """Show what a run would use and cost; begin it when asked."""
    user = request.user
    assert isinstance(user, User)
    form = TrainingForm(request.POST.dict() if request.method == "POST" else _asked(request))
    refused, status = "", 200
    if request.method == "POST":
        key = keys.posted(request)
        status = 422
        if form.is_valid():
            try:
                run = training.start(
                    form.cleaned_data["version"],
                    form.cleaned_data["base"],
                    form.cleaned_data["config"],
                    key,
                    user,
                )
            except jobs.RefusedError as error:
                refused = str(error)
            except jobs.KeyReusedError as error:
                refused, status = str(error), 409
            else:
                keys.say_kept(request)
                return redirect(run)
    context = {"form": form, "refused": refused, "key": keys.fresh()}
    context["versions"] = dataset_pages.done_versions().exists()
    if form.is_valid():
        version, base = form.cleaned_data["version"], form.cleaned_data["base"]
        plan = training.plan(version, base, form.cleaned_data["config"])
        context |= {"plan": plan, "version": version, "base": base}
        context["sources"] = dataset_pages.judged_by(version.sources)
    return render(request, "flywheel/training_new.html", context, status=status)


def _asked(request: HttpRequest) -> dict[str, Any]:
    """The query string over the newest version, the first base model and good defaults."""
    version = dataset_pages.done_versions().first()
    base = ModelVersion.objects.filter(kind=ModelVersion.Kind.BASE).order_by("name").first()
    chosen = {"version": version.pk if version else "", "base": base.pk if base else ""}
    return DEFAULTS.as_dict() | chosen | request.GET.dict()


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a run, and what it was in the run before if that differs."""

    name: str
    value: object
    before: object = None


@dataclass(frozen=True, slots=True)
class Phrase:
    """One watched question and what was answered at each checkpoint."""

    question: str
    expected: str
    answers: list[tuple[int, str, bool]]
    """step, answer, whether it is the expected one"""


@require_GET
@engineer_required
def training_run(request: HttpRequest, pk: int) -> HttpResponse:
    """One run: step, time left and loss in a sentence, charts, answers at each checkpoint, settings, log."""
    run = get_object_or_404(
        TrainingRun.objects.select_related(
            "dataset_version__dataset__queue", "base", "adapter", "job__created_by"
        ),
        pk=pk,
    )
    if request.GET.get("part") == "log":
        return _log(request, run)
    steps = training.metrics(run)
    said = training.answers(run)
    queue = run.dataset_version.dataset.queue
    hidden = copied.hidden_from(request.user, queue)
    context: dict[str, Any] = {
        "run": run,
        "job": run.job,
        "steps": steps,
        "last": steps[-1] if steps else None,
    }
    context |= {
        "left": _seconds_left(steps),
        "falling": _trend(steps),
        "loss": loss_chart(steps),
        "small": small_charts(steps),
        "hidden": hidden,
        "queue": queue,
        "phrases": [] if hidden else phrases(said),
        "checkpoints": [each.step for each in said],
    }
    if not live.is_fragment(request):
        text, end = _read_log(run, None)
        context |= {
            "settings": _settings(run),
            "lineage": lineage.of_run(run),
            "log": text,
            "log_end": end,
            "evaluated": bool(run.adapter and run.adapter.evaluations.exists()),
        }
    return live.respond(
        request,
        "flywheel/training_run.html",
        context,
        state=(job_pages.state(run.job), len(steps), len(said)),
        finished=not run.job.active,
    )


def _seconds_left(steps: list[training.Step]) -> float | None:
    """From how long the latest steps took; None before the second."""
    recent = steps[-2 * RECENT_STEPS :]
    if len(recent) < 2:
        return None
    each = (recent[-1].time - recent[0].time) / (len(recent) - 1)
    return each * (recent[-1].total - recent[-1].step)


def _trend(steps: list[training.Step]) -> str:
    """Whether the loss still falls: the latest ten steps against the ten before."""
    now, before = steps[-RECENT_STEPS:], steps[-2 * RECENT_STEPS : -RECENT_STEPS]
    if len(before) < RECENT_STEPS:
        return ""
    change = sum(s.loss for s in now) / len(now) / (sum(s.loss for s in before) / len(before) or 1.0) - 1
    return "and falling" if change < -0.02 else "and rising" if change > 0.02 else "and level"


def loss_chart(steps: list[training.Step]) -> SafeString:
    """Loss on what it learns from, and on watched rows that it does not."""
    watched = [charts.Point(s.step, s.eval_loss) for s in steps if s.eval_loss is not None]
    series = [charts.Series("rows it learns from", [charts.Point(s.step, s.loss) for s in steps])]
    series += [charts.Series("rows kept back", watched, "second")]
    end = float(steps[-1].total) if steps else None
    return charts.line(series, title="Loss", x_name="step", height=260, x_end=end, y_format=_short)


def small_charts(steps: list[training.Step]) -> list[SafeString]:
    """What tells why a run goes wrong, on the same steps."""
    end = float(steps[-1].total) if steps else None
    wanted: list[tuple[str, charts.Format, Any]] = [
        ("Learning rate", _short, lambda s: s.learning_rate),
        ("Gradient norm", _short, lambda s: s.gradient_norm),
        ("Tokens a second", number, lambda s: s.tokens_per_second),
        ("Memory, GB", _short, lambda s: s.memory_bytes / 1e9),
    ]
    return [
        charts.line(
            [charts.Series(title, [charts.Point(s.step, value(s)) for s in steps])],
            title=title,
            x_name="step",
            height=96,
            x_end=end,
            y_format=write,
        )
        for title, write, value in wanted
    ]


def _short(value: float) -> str:
    return f"{value:.3g}"


def phrases(said: list[training.Answers]) -> list[Phrase]:
    """Turned from checkpoints to questions."""
    found: dict[str, Phrase] = {}
    for checkpoint in said:
        for each in checkpoint.answers:
            phrase = found.setdefault(each["question"], Phrase(each["question"], each["expected"], []))
            phrase.answers.append((checkpoint.step, each["answer"], each["answer"] == each["expected"]))
    return list(found.values())


def _settings(run: TrainingRun) -> list[Setting]:
    before = TrainingRun.objects.filter(pk__lt=run.pk, base=run.base).first()
    return [
        Setting(
            name.replace("_", " "),
            value,
            before.config.get(name) if before and before.config.get(name) != value else None,
        )
        for name, value in run.config.items()
    ]


def _log(request: HttpRequest, run: TrainingRun) -> HttpResponse:
    """What was added to the log since; 204 when nothing was."""
    after = request.GET.get("after", "")
    text, end = _read_log(run, int(after) if after.isdecimal() else None)
    if not text and run.job.active:
        return HttpResponse(status=204)
    return render(
        request, "flywheel/parts/log_more.html", {"run": run, "job": run.job, "log": text, "log_end": end}
    )


def _read_log(run: TrainingRun, after: int | None) -> tuple[str, int]:
    """(text, where it ends in bytes): whole lines after an offset, or the log's end."""
    path = Path(run.folder, "log.txt")
    if not run.folder or not path.is_file():
        return "", 0
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - LOG_BYTES) if after is None else min(after, size)
        file.seek(start)
        content = file.read(LOG_BYTES)
    whole = content[: content.rfind(b"\n") + 1]
    return whole.decode(errors="replace"), start + len(whole)
