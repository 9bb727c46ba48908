"""Datasets: the list, what a build would give, and what a version holds, left out and led to."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.validators import MinValueValidator
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse, reverse_lazy
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from annotations.models import Annotation, Queue
from flywheel import charts, datasets, jobs, leftovers
from flywheel.models import Dataset, DatasetRow, DatasetVersion
from flywheel.pages import copied, keys, lineage, live
from flywheel.pages import jobs as job_pages
from inference import conditions, explorer, filters, readers
from inference.access import engineer_required
from inference.clickhouse import Unavailable
from inference.filters import Filter, FilterError

SHOWN_ROWS = 10
UNREADABLE = (
    "The trace store does not answer, so the filter can’t be asked. Without a filter it isn’t needed."
)


class RecipeForm(forms.Form):
    """What to build from: a queue, which of its exchanges, a name, how many rows."""

    queue = forms.ModelChoiceField(Queue.objects.order_by("name"), to_field_name="slug", empty_label=None)
    name = forms.SlugField(label="Name", help_text="An existing name makes its next version.")
    filter = forms.CharField(
        label="Only exchanges that match",
        required=False,
        max_length=4000,
        help_text="The explorer’s filter line. Empty: all that the queue has.",
        widget=forms.TextInput(
            {
                "data-complete": reverse_lazy("complete"),
                "placeholder": "route:icd least_p:<0.5",
                "autocomplete": "off",
                "spellcheck": "false",
                "autocapitalize": "none",
            }
        ),
    )
    train_rows = forms.IntegerField(
        label="Rows to learn from",
        required=False,
        help_text="Empty: all there are.",
        validators=[MinValueValidator(1)],
    )
    exam_rows = forms.IntegerField(
        label="Rows for the exam",
        required=False,
        help_text="Empty: a fifth. Never learned from.",
        validators=[MinValueValidator(1)],
    )
    seed = forms.IntegerField(
        label="Seed",
        required=False,
        help_text="The same seed draws the same exam.",
        validators=[MinValueValidator(0)],
    )

    def clean_filter(self) -> Filter:
        """The filter itself; a part not understood is named."""
        try:
            chosen = filters.parse(self.cleaned_data["filter"])
            return conditions.within_rights(chosen, texts=False) if chosen.terms else chosen
        except FilterError as error:
            raise forms.ValidationError(told(error)) from error

    def recipe(self) -> datasets.Recipe:
        """Of a valid form."""
        seed = self.cleaned_data["seed"]
        return datasets.Recipe(
            train_rows=self.cleaned_data["train_rows"],
            exam_rows=self.cleaned_data["exam_rows"],
            seed=1 if seed is None else seed,
            filter=self.cleaned_data["filter"],
        )


def told(error: FilterError) -> str:
    """What was wrong with a filter, as it stands beside the field."""
    return f"“{error.part}”: {error.message}."


@dataclass(frozen=True, slots=True)
class Share:
    """A line with its part of a whole, as a bar."""

    label: str
    counts: list[int]
    bar: SafeString
    url: str = ""


@require_GET
@engineer_required
def index(request: HttpRequest) -> HttpResponse:
    """Every dataset with its newest version, and what waits to go into the next."""
    versions = DatasetVersion.objects.select_related("job").order_by("-number")
    found = Dataset.objects.select_related("queue").prefetch_related(
        Prefetch("versions", versions, "newest_first")
    )
    rows = [
        {"dataset": each, "newest": next(iter(each.newest_first), None), "count": len(each.newest_first)}
        for each in found.order_by("name")
    ]
    queues = Queue.objects.exists()
    return render(request, "flywheel/datasets.html", {"rows": rows, "queues": queues})


@require_GET
@engineer_required
def dataset(request: HttpRequest, name: str) -> HttpResponse:
    """One dataset: its versions, newest first."""
    found = get_object_or_404(Dataset.objects.select_related("queue"), name=name)
    versions = found.versions.select_related("job", "job__created_by").prefetch_related(
        "training_runs", "evaluations"
    )
    rows = charts.line(
        [
            charts.Series(
                "rows to learn from", [charts.Point(v.number, v.train_rows) for v in reversed(versions)]
            ),
            charts.Series(
                "exam", [charts.Point(v.number, v.exam_rows) for v in reversed(versions)], "second"
            ),
        ],
        title="Rows by version",
        x_name="version",
        height=160,
    )
    return render(
        request,
        "flywheel/dataset.html",
        {"dataset": found, "versions": versions, "newest": next(iter(versions), None), "chart": rows},
    )


@engineer_required
def dataset_new(request: HttpRequest) -> HttpResponseBase:
    """Show what a build would give; build it when asked."""
    user = request.user
    assert isinstance(user, User)
    form = RecipeForm(request.POST if request.method == "POST" else _asked(request))
    refused, status = "", 200
    if request.method == "POST":
        key = keys.posted(request)
        if form.is_valid():
            try:
                version = datasets.start(
                    form.cleaned_data["name"], form.cleaned_data["queue"], form.recipe(), key, user
                )
            except jobs.RefusedError as error:
                refused, status = str(error), 422
            except jobs.KeyReusedError as error:
                refused, status = str(error), 409
            except FilterError as error:
                form.add_error("filter", told(error))
                status = 422
            except Unavailable:
                refused, status = UNREADABLE, 503
            else:
                keys.say_kept(request)
                return redirect(version)
        else:
            status = 422
    context = {"form": form, "refused": refused, "key": keys.fresh(), "queues": Queue.objects.exists()}
    if form.is_valid() and status != HTTPStatus.SERVICE_UNAVAILABLE:
        try:
            context |= _planned(form)
            if copied.hidden_from(user, form.cleaned_data["queue"]):
                context["balance"] = []
        except FilterError as error:
            form.add_error("filter", told(error))
        except Unavailable:
            context["refused"] = UNREADABLE
    return render(request, "flywheel/dataset_new.html", context, status=status)


def _asked(request: HttpRequest) -> dict[str, Any]:
    """The query string, with what was not said filled in from the newest dataset or queue."""
    asked = request.GET.dict()
    queue = (
        Queue.objects.filter(slug=asked["queue"]).first()
        if "queue" in asked
        else Queue.objects.order_by("-id").first()
    )
    if queue is None:
        return asked
    known = queue.datasets.order_by("-id").first()
    return {"queue": queue.slug, "name": known.name if known else queue.slug, "seed": "1"} | asked


def _planned(form: RecipeForm) -> dict[str, Any]:
    queue, name = form.cleaned_data["queue"], form.cleaned_data["name"]
    plan = datasets.plan(queue, form.recipe())
    last = DatasetVersion.objects.filter(dataset__name=name).order_by("-number").first()
    return {
        "plan": plan,
        "queue": queue,
        "name": name,
        "next_number": last.number + 1 if last else 1,
        "last": last,
        "funnel": funnel(plan.left_out, plan.train, plan.exam, queue),
        "balance": balance(plan.balance),
        "sources": judged_by(plan.sources),
    }


@require_GET
@engineer_required
def dataset_version(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """One version: rows, what was left out, balance, ten rows, what changed, who used it."""
    version = get_object_or_404(
        DatasetVersion.objects.select_related("dataset__queue", "job", "job__created_by"),
        dataset__name=name,
        number=number,
    )
    context: dict[str, Any] = {"version": version, "job": version.job, "queue": version.dataset.queue}
    if not live.is_fragment(request) and version.job.state == version.job.State.DONE:
        context |= _contents(request, version)
    if not live.is_fragment(request):
        context["lineage"] = lineage.of_version(version)
    return live.respond(
        request,
        "flywheel/dataset_version.html",
        context,
        state=job_pages.state(version.job),
        finished=not version.job.active,
    )


def _contents(request: HttpRequest, version: DatasetVersion) -> dict[str, Any]:
    hidden = copied.hidden_from(request.user, version.dataset.queue)
    rows = [] if hidden else _some_rows(version, request.GET.get("from", ""))
    for row in rows:
        readers.saw(row.item.exchange_id)
    recipe = datasets.Recipe.from_dict(version.recipe)
    return {
        "hidden": hidden,
        "chips": [explorer.Link(str(term), explorer.url(Filter((term,)))) for term in recipe.filter.terms],
        "filter_url": explorer.url(recipe.filter),
        "again_url": again(version),
        "funnel": funnel(version.left_out, version.train_rows, version.exam_rows, version.dataset.queue),
        "balance": [] if hidden else balance(version.balance),
        "sources": judged_by(version.sources),
        "rows": rows,
        "others": rows[-1].hash[:8] if rows else "",
        "changes": _changes(version),
        "trained": version.training_runs.exists(),
    }


def again(version: DatasetVersion) -> str:
    """The form that builds from the version's recipe once more."""
    dataset = version.dataset
    asked = {name: value for name, value in version.recipe.items() if value is not None}
    return (
        f"{reverse('dataset-new')}?{urlencode({'queue': dataset.queue.slug, 'name': dataset.name} | asked)}"
    )


def _some_rows(version: DatasetVersion, after: str) -> list[DatasetRow]:
    """Ten rows in the order of their hashes, which is as good as random and the same for everyone."""
    rows = version.rows.select_related("item").order_by("hash")
    # "g" sorts behind every digit: after a beginning, and so after every hash that begins like it.
    found = list(rows.filter(hash__gt=f"{after[:64]}g")[:SHOWN_ROWS]) if after else []
    return found or list(rows[:SHOWN_ROWS])


def _changes(version: DatasetVersion) -> dict[str, Any] | None:
    before = version.dataset.versions.filter(number__lt=version.number).order_by("-number").first()
    if before is None:
        return None
    same = version.rows.filter(item__dataset_rows__version=before)
    kept = same.count()
    total = version.train_rows + version.exam_rows
    return {"before": before, "added": total - kept, "removed": before.rows.count() - kept, "kept": kept}


def funnel(left_out: dict[str, int], train: int, exam: int, queue: Queue) -> list[Share]:
    """From all items of the queue to the rows: what was left out and why, then what is used."""
    whole = sum(left_out.values()) + train + exam
    lines = [("items in the queue", whole, "quiet", _items(queue, ""))]
    lines += [(f"left out: {why}", count, "warn", _items(queue, why)) for why, count in left_out.items()]
    lines += [("kept for the exam", exam, "second", ""), ("to learn from", train, "current", "")]
    return [
        Share(label, [count], charts.bar([charts.Part(count, label, style)], whole), url)
        for label, count, style, url in lines
    ]


_STATE_OF = {
    "": "",
    leftovers.NOT_SETTLED: "?state=waiting",
    leftovers.CANT_JUDGE: "?state=unjudged",
    leftovers.FLAGGED: "?state=flagged",
}


def _items(queue: Queue, why: str) -> str:
    return reverse("queue", args=[queue.slug]) + _STATE_OF[why] if why in _STATE_OF else ""


def balance(counts: dict[str, dict[str, int]]) -> list[Share]:
    """Rows by answer, most frequent first, on one scale."""
    most = max((each["train"] + each["exam"] for each in counts.values()), default=0)
    ordered = sorted(counts.items(), key=lambda pair: -sum(pair[1].values()))
    return [
        Share(
            answer,
            [each["train"], each["exam"]],
            charts.bar(
                [charts.Part(each["train"], "to learn from"), charts.Part(each["exam"], "exam", "second")],
                most,
            ),
        )
        for answer, each in ordered
    ]


def judged_by(sources: dict[str, int]) -> dict[str, int]:
    """Judgements behind rows: of people and of the reference reviewer, which is never left unsaid."""
    return {
        "people": sources.get(Annotation.Source.PERSON, 0),
        "reference": sources.get(Annotation.Source.REFERENCE, 0),
    }


def done_versions() -> QuerySet[DatasetVersion]:
    """Versions that can be trained on."""
    return DatasetVersion.objects.filter(job__state="done").select_related("dataset__queue")
