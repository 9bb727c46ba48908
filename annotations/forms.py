"""The lead's forms: a queue as people write it down, lists one a line."""

from typing import Any, ClassVar

from django import forms
from django.contrib.auth.models import User
from django.utils.text import slugify

from annotations import sampling
from annotations.models import MOST_REASONS, Queue
from annotations.sampling import seed_of
from inference.queries import Candidate

_HINTS = {
    "question": "What reviewers are asked under every answer.",
    "answers": "One a line. A correction is then a choice from this list. Empty: it is free text.",
    "reasons": "One a line, at most nine: they get the keys 1 to 9. Empty: none is asked.",
    "guidelines": "Markdown, beside every item. Each change gets a new number.",
    "heat_map": "Whether reviewers see how sure the model was. Seen before judging, it is noted.",
    "judgements_per_item": "With two or more, the agreement of all settles an item.",
    "lease_minutes": "How long an item is kept for whoever has it on the screen.",
}


class LinesField(forms.CharField):
    """A list, one a line; empty lines and doubles are left out."""

    widget = forms.Textarea(attrs={"rows": 5})

    def prepare_value(self, value: object) -> object:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: str | None) -> list[str]:  # type: ignore[override]
        lines = (line.strip() for line in (value or "").splitlines())
        return list(dict.fromkeys(line for line in lines if line))

    def has_changed(self, initial: object, data: object) -> bool:
        return self.to_python(data if isinstance(data, str) else "") != initial


class SettingsForm(forms.ModelForm):  # type: ignore[type-arg]
    """How a queue is judged."""

    answers = LinesField(required=False, label="Right answers", help_text=_HINTS["answers"])
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
            *("name", "question", "answers", "reasons", "guidelines", "reviewers"),
            *("judgements_per_item", "heat_map", "lease_minutes"),
        )
        labels: ClassVar = {"heat_map": "How sure the model was", "lease_minutes": "Minutes an item is kept"}
        help_texts: ClassVar = _HINTS
        widgets: ClassVar = {"guidelines": forms.Textarea(attrs={"rows": 8})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields["guidelines"].help_text += f" Now version {self.instance.guidelines_version}."
        people = User.objects.filter(is_active=True).order_by("first_name", "username")
        field = self.fields["reviewers"]
        field.queryset = people  # type: ignore[attr-defined]
        field.label_from_instance = lambda person: person.get_full_name() or person.username  # type: ignore[attr-defined]

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

    class Meta(SettingsForm.Meta):
        pass

    def draw(self) -> list[Candidate] | None:
        """What the queue will hold, or None with the reason by the field."""
        given = self.cleaned_data
        try:
            drawn = sampling.draw(given["filter"], given["size"], given["order"], seed_of(given["key"]))
        except sampling.NotDrawn as told:
            self.add_error("filter", str(told))
            return None
        if not drawn:
            self.add_error("filter", "No exchange matches.")
            return None
        return drawn

    def create(self, user: User) -> Queue:
        """The queue, with an address from its name."""
        given = self.cleaned_data
        queue: Queue = self.save(commit=False)
        queue.slug = free_slug(given["name"])
        queue.key, queue.filter, queue.order = given["key"], given["filter"], given["order"]
        queue.created_by = user
        queue.save()
        self.save_m2m()
        return queue


def free_slug(name: str) -> str:
    """An address nobody has: the name, with a number if it must be. ``new`` is the form's own."""
    base = slugify(name)[:40] or "queue"
    slug, number = base, 1
    while slug == "new" or Queue.objects.filter(slug=slug).exists():
        number += 1
        slug = f"{base}-{number}"
    return slug
