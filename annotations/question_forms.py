"""Forms for what a queue asks beside its leading question: one small form a question."""

from typing import Any

from django import forms

from annotations import questions
from annotations.questions import FURTHER, KINDS, MOST_FURTHER, Question, Unfit


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


class FurtherForm(forms.Form):
    """One further question. Without words it is none."""

    name = forms.CharField(required=False, widget=forms.HiddenInput)
    words = forms.CharField(required=False, max_length=200, label="Also ask")
    kind = forms.ChoiceField(choices=[(kind, KINDS[kind]) for kind in FURTHER], label="Asked for")
    options = LinesField(required=False, label="Answers", widget=forms.Textarea(attrs={"rows": 3}))
    required = forms.BooleanField(required=False, initial=True, label="Must be answered")

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if given.get("words") and "kind" in given:
            try:
                questions.check(self.question([]))
            except Unfit as unfit:
                self.add_error("options", str(unfit))
        return given

    def question(self, taken: list[str]) -> Question:
        """The question as written; a new one gets a name that is not ``taken``."""
        given = self.cleaned_data
        name = given["name"] or questions.named(given["words"], taken)
        return Question(name, given["kind"], given["words"], tuple(given["options"]), given["required"])


class FurtherForms(forms.BaseFormSet):  # type: ignore[type-arg]
    """A queue's further questions, with room for one more. A post without them leaves them as they are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.is_bound and f"{self.prefix}-TOTAL_FORMS" not in self.data:
            self.is_bound = False

    def is_valid(self) -> bool:
        return super().is_valid() if self.is_bound else True

    def stored(self) -> list[dict[str, Any]]:
        """For ``Queue.also``. Call when valid."""
        if not self.is_bound:
            return [dict(question) for question in self.initial or []]
        found: list[Question] = []
        for form in self.forms:
            if form.cleaned_data.get("words"):
                found.append(form.question([question.name for question in found]))
        return [question.as_dict() for question in found]

    def kinds(self) -> set[str]:
        """The kinds that are asked for, as far as they can be read."""
        if not self.is_bound:
            return {question["kind"] for question in self.initial or []}
        return {form["kind"].value() for form in self.forms if form["words"].value()}


def further_forms(data: Any, also: list[dict[str, Any]]) -> FurtherForms:
    """The forms for ``also``, bound to a post's ``data`` if there is one."""
    made = forms.formset_factory(
        FurtherForm, formset=FurtherForms, extra=1, max_num=MOST_FURTHER, absolute_max=MOST_FURTHER + 1
    )
    found = made(data, prefix="also", initial=also)
    assert isinstance(found, FurtherForms)
    return found
