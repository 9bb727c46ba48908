"""Choosing a password: the first one of somebody who came by an invitation, or another one."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import password_validation, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from flywheel import signin


class PasswordForm(forms.Form):
    """The password that holds now, if there is one, and the new one, typed once."""

    now = forms.CharField(
        label="Your password now",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )
    new = forms.CharField(
        label="A new password",
        strip=False,
        help_text="At least 10 characters. A few words are good.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, user: User, data: Any = None) -> None:
        super().__init__(data)
        self._user = user
        if not user.has_usable_password():
            del self.fields["now"]
            self.fields["new"].label = "A password"
            self.fields["new"].widget.attrs["autofocus"] = True

    def clean_now(self) -> str:
        now: str = self.cleaned_data["now"]
        if not self._user.check_password(now):
            raise forms.ValidationError("This is not your password.")
        return now

    def clean_new(self) -> str:
        new: str = self.cleaned_data["new"]
        password_validation.validate_password(new, self._user)
        return new


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def password(request: HttpRequest) -> HttpResponse:
    """Every other session of the person ends with the old password; this one goes on."""
    assert isinstance(request.user, User)
    user = request.user
    form = PasswordForm(user, request.POST or None)
    to = signin.wanted(request, user)
    if request.method == "POST" and form.is_valid():
        user.set_password(form.cleaned_data["new"])
        user.save(update_fields=["password"])
        update_session_auth_hash(request, user)
        messages.success(
            request, f"Kept. You come back at {request.get_host()} as {user.username}, with this password."
        )
        return redirect(to)
    leaving = "leaving" in request.GET
    if leaving:
        form.fields["new"].widget.attrs.pop("autofocus", None)
    context = {"form": form, "next": to, "leaving": leaving}
    return render(request, "flywheel/password.html", context, status=422 if form.errors else 200)
