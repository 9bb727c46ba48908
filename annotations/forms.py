"""The lead's forms: a queue as people write it down, lists one a line."""

from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib.auth.models import User
from django.utils import timezone
from django.utils.text import slugify

from annotations import questions, sampling
from annotations.models import MOST_REASONS, Annotation, Queue
from annotations.question_forms import LinesField, further_forms
from annotations.questions import MAIN, Kind, Question, Unfit
from annotations.sampling import seed_of
from inference import conditions, filters
from inference.queries import Candidate
from inference.queries.policies import Policy

_HINTS = {
    "kind": "What is asked under every answer. It stays once somebody has judged.",
    "question": "In the reviewers' words.",
    "answers": "One a line: what can be chosen, the labels, or the words of a rating's steps. Where answers "
    "are corrected, a correction is then a choice from this list; empty, it is free text. What stands after "
    "a | in a line is shown beside that answer, such as its code: Skin | L00–L99.",
    "against": "For comparing: where the second answer to the same question is found, if the exchange has no "
    "second one itself. A filter line, such as model:candidate.",
    "reasons": "One a line, at most nine: they get the keys 1 to 9. Empty: none is asked.",
    "guidelines": "Markdown, beside every item. Each change gets a new number.",
    "heat_map": "Whether reviewers see how sure the model was. Seen before judging, it is noted.",
    "judgements_per_item": "With two or more, agreement settles an item; else a lead decides.",
    "daily_cap": "New exchanges that match come by themselves, about so many a day. Empty: only when asked.",
    "suggested_by": "A model that judges along through the proxy, such as version:NAME; reviewers see what "
    "it said after their own judgement. Empty: none.",
    "suggested_before": "Only where judging need not be blind: people tend to follow what they see.",
    "gold_every": "Settled items that you make check questions come by chance, one in so many. 0: none.",
    "masked": "Who reviews or looks on reads placeholders such as [email 3fa9c1] where personal data stands; "
    "people from outside always do. You see everything.",
    "lease_minutes": "How long an item is kept for whoever has it on the screen.",
}


class SettingsForm(forms.ModelForm):  # type: ignore[type-arg]
    """How a queue is judged."""

    answers = LinesField(required=False, label="Answers", help_text=_HINTS["answers"])
    reasons = LinesField(required=False, label="Reasons to reject", help_text=_HINTS["reasons"])
    reviewers = forms.ModelMultipleChoiceField(
        User.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Only they see it.",
    )

    class Meta:
        model = Queue
        fields = (
            *("name", "kind", "question", "answers", "reasons", "against", "guidelines", "reviewers"),
            *(
                "judgements_per_item",
                "rule",
                "gold_every",
                "heat_map",
                "masked",
                "lease_minutes",
                "daily_cap",
            ),
            *("suggested_by", "suggested_before"),
        )
        labels: ClassVar = {
            "kind": "Asked for",
            "rule": "An item is settled when",
            "gold_every": "One check question in",
            "against": "Compared with",
            "heat_map": "How sure the model was",
            "masked": "Mask personal data",
            "lease_minutes": "Minutes an item is kept",
            "daily_cap": "New ones a day",
            "suggested_by": "Suggestions by",
            "suggested_before": "Show suggestions before judging",
        }
        help_texts: ClassVar = _HINTS
        widgets: ClassVar = {
            "guidelines": forms.Textarea(attrs={"rows": 8}),
            "against": forms.Textarea(attrs={"rows": 2}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["rule"].required = False
        hints = self.initial.get("hints", self.instance.hints)
        self.initial["answers"] = [_with_hint(one, hints) for one in self.initial.get("answers") or []]
        if self.instance.pk:
            self.fields["guidelines"].help_text += f" Now version {self.instance.guidelines_version}."
            if Annotation.objects.filter(item__queue=self.instance).exists():
                self.fields["kind"].disabled = True
        self.further = further_forms(self.data if self.is_bound else None, self._also())
        people = User.objects.filter(is_active=True).order_by("first_name", "username")
        field = self.fields["reviewers"]
        field.queryset = people  # type: ignore[attr-defined]
        field.label_from_instance = lambda person: person.get_full_name() or person.username  # type: ignore[attr-defined]

    def _also(self) -> list[dict[str, Any]]:
        """The further questions that the form begins with."""
        also: list[dict[str, Any]] = self.initial.get("also", self.instance.also)
        return also

    def is_valid(self) -> bool:
        # Both, so that everything wrong is said at once.
        return all([super().is_valid(), self.further.is_valid()])

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if {"kind", "question", "answers"} <= given.keys():
            self.instance.hints = {}
            if given["kind"] == Kind.APPROVE:
                given["answers"], self.instance.hints = _without_hints(given["answers"])
            try:
                questions.check(Question(MAIN, given["kind"], given["question"], tuple(given["answers"])))
            except Unfit as unfit:
                self.add_error("answers", str(unfit))
        kinds = {given.get("kind"), *self.further.kinds()}
        if Kind.TOKENS in kinds and given.get("heat_map") != Queue.HeatMap.REQUEST:
            self.add_error(
                "heat_map", "Pieces can only be marked where reviewers may ask how sure the model was."
            )
        if given.get("kind") == Kind.TOKENS and given.get("masked"):
            self.add_error(
                "masked", "Pieces can’t be marked where they are masked: they spell what is hidden."
            )
        if given.get("daily_cap") and Policy.parse(given.get("order") or self.instance.order).closed:
            self.add_error(
                "daily_cap", "How readily these are drawn depends on all there are: none can come by itself."
            )
        if given.get("kind") == Kind.PAIR and Kind.SPANS in kinds:
            self.add_error("kind", "Words can be marked on one answer, not on two side by side.")
        return given

    def clean_against(self) -> str:
        line: str = self.cleaned_data["against"]
        return _narrowed(line) if line and "against" in self.changed_data else line

    def clean_gold_every(self) -> int:
        return self.cleaned_data["gold_every"] or 0

    def clean_rule(self) -> str:
        rule: str = self.cleaned_data["rule"]
        return rule or Queue.Rule.UNANIMITY

    def clean_reasons(self) -> list[str]:
        reasons: list[str] = self.cleaned_data["reasons"]
        if len(reasons) > MOST_REASONS:
            raise forms.ValidationError(f"At most {MOST_REASONS} reasons: there are nine number keys.")
        if any(len(reason) > 200 for reason in reasons):
            raise forms.ValidationError("A reason has at most 200 characters.")
        return reasons

    def save_by(self, user: User) -> Queue:
        """Save; changed guidelines become a new version by this person."""
        queue: Queue = self.instance
        text = self.cleaned_data["guidelines"]
        queue.guidelines = Queue.objects.values_list("guidelines", flat=True).get(pk=queue.pk)
        queue.also = self.further.stored()
        self.save()
        queue.rewrite_guidelines(text, user)
        return queue


class DrawForm(forms.Form):
    """How many more exchanges to draw."""

    size = forms.IntegerField(min_value=1, max_value=sampling.MOST, initial=100, label="How many")


class NewQueueForm(SettingsForm):
    """A queue and what is drawn into it."""

    filter = forms.CharField(required=False, max_length=4000, label="Which exchanges")
    size = forms.IntegerField(
        min_value=1, max_value=sampling.MOST, initial=sampling.SUGGESTED, label="How many"
    )
    order = forms.ChoiceField(choices=Queue.Order.choices, initial=Queue.Order.RANDOM, label="Drawn")
    key = forms.CharField(max_length=43, widget=forms.HiddenInput)

    asked_at: datetime

    class Meta(SettingsForm.Meta):
        pass

    def clean_filter(self) -> str:
        return _narrowed(self.cleaned_data["filter"])

    def draw(self) -> list[Candidate] | None:
        """What the queue will hold, or None with the reason by the field."""
        given = self.cleaned_data
        self.asked_at = timezone.now()
        try:
            drawn = sampling.draw(
                given["filter"],
                given["size"],
                given["order"],
                seed_of(given["key"]),
                calls=given["kind"] == Kind.TOOL_CALL,
                asked_at=self.asked_at,
            )
        except sampling.NotDrawn as told:
            self.add_error("filter", str(told))
            return None
        if not drawn:
            none = (
                "No exchange that matches calls a tool."
                if given["kind"] == Kind.TOOL_CALL
                else "No exchange matches."
            )
            self.add_error("filter", none)
            return None
        return drawn

    def create(self, user: User) -> Queue:
        """The queue, with an address from its name."""
        given = self.cleaned_data
        queue: Queue = self.save(commit=False)
        queue.slug = free_slug(given["name"])
        queue.key, queue.filter, queue.order = given["key"], given["filter"], given["order"]
        queue.also, queue.created_by = self.further.stored(), user
        queue.created_at = self.asked_at
        queue.save()
        self.save_m2m()
        return queue


def _with_hint(answer: str, hints: dict[str, str]) -> str:
    return f"{answer} | {hints[answer]}" if hints.get(answer) else answer


def _without_hints(lines: list[str]) -> tuple[list[str], dict[str, str]]:
    """Answers, and hints by answer, of lines such as "Skin | L00–L99"."""
    pairs = (line.partition("|")[::2] for line in lines)
    named = {answer.strip(): hint.strip() for answer, hint in pairs if answer.strip()}
    return list(named), {answer: hint for answer, hint in named.items() if hint}


def _narrowed(line: str) -> str:
    """A filter line by which a queue is filled from now on: of nothing that its author may not read.

    A line that can't be read stays, for who draws by it says so.
    """
    try:
        chosen = filters.parse(line)
        narrowed = conditions.within_rights(chosen, texts=True)
    except filters.FilterError as error:
        raise forms.ValidationError(f"“{error.part}”: {error.message}.") from error
    return line if narrowed == chosen else str(narrowed)


def free_slug(name: str) -> str:
    """An address nobody has: the name, with a number if it must be. ``new`` and ``import`` are pages."""
    base = slugify(name)[:40] or "queue"
    slug, number = base, 1
    while slug in ("new", "import") or Queue.objects.filter(slug=slug).exists():
        number += 1
        slug = f"{base}-{number}"
    return slug
