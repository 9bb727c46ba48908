"""Asking an exchange's question once more, of another model version, to hold the answers side by side.

It goes through the proxy with the evaluations' key, so it is limited, kept and billed like every exchange.
For those who may see the question, a few times a minute each.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

import openai
from django import forms
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from flywheel import clients
from flywheel.models import Rerun
from flywheel.pages import keys
from inference import again, exchange_page, purposes, queries, readers
from inference.access import engineer_required
from inference.clickhouse import Unavailable
from inference.models import ModelVersion
from inference.stored import StoredExchange

A_MINUTE = 6
"""Times a person may ask in a minute."""
TIMEOUT_SECONDS = 60.0


class VersionForm(forms.Form):
    """Which version is asked."""

    version = forms.ModelChoiceField(
        ModelVersion.objects.filter(upstreams__enabled=True).distinct().order_by("name"),
        to_field_name="name",
        empty_label=None,
        label="Version",
    )


@engineer_required
def ask_again(request: HttpRequest, exchange_id: UUID) -> HttpResponse:
    """Choose a version and ask; the answer is shown beside the first one."""
    attempt = request.GET.get("attempt", "")
    try:
        x = queries.exchange(exchange_id, int(attempt) if attempt.isdecimal() and len(attempt) < 4 else None)
        if x is None:
            return render(request, "inference/not_stored.html", {"exchange_id": exchange_id}, status=404)
        form = VersionForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            return _ask(request, x, form)
    except Unavailable:
        return render(request, "inference/unavailable.html", status=503)
    return _form(request, x, form, "", 422 if form.is_bound else 200)


def _form(
    request: HttpRequest, x: StoredExchange, form: VersionForm, refused: str, status: int
) -> HttpResponse:
    others = form.fields["version"].queryset.exists()  # type: ignore[attr-defined]
    context = {"x": x, "form": form, "refused": refused or why_not(x), "key": keys.fresh(), "others": others}
    return render(request, "flywheel/again.html", context, status=status)


def why_not(x: StoredExchange) -> str:
    """Why this exchange can't be asked again, as a sentence; "" when it can."""
    if x.surface not in exchange_page.AGAIN:
        return "Only chats and completions can be asked again."
    if x.hidden:
        return "You may see numbers only of this route, so its questions aren’t yours to ask."
    if readers.rights().texts is not None:
        return "The new answer would be a version’s and of no route, and you may read some routes only."
    if x.cleared:
        return "What was asked is not kept any longer."
    if exchange_page.never_asked(x):
        return "What was sent never was a request that a model could answer."
    if not settings.EVALUATION_KEY:
        return "There is no API key for it (FLYWHEEL_EVALUATION_KEY)."
    return ""


def _ask(request: HttpRequest, x: StoredExchange, form: VersionForm) -> HttpResponse:
    assert isinstance(request.user, User)
    version: ModelVersion = form.cleaned_data["version"]
    if refused := why_not(x):
        return _form(request, x, form, refused, 422)
    key = keys.posted(request)
    recent = Rerun.objects.filter(asked_by=request.user, at__gt=timezone.now() - timedelta(minutes=1))
    if recent.exclude(key=key).count() >= A_MINUTE:
        return _form(request, x, form, f"You asked {A_MINUTE} times in the last minute. Wait a little.", 429)
    meant = {"exchange_id": x.exchange_id, "attempt": x.attempt, "version": version}
    rerun, new = Rerun.objects.get_or_create(key=key, defaults={**meant, "asked_by": request.user})
    if new:
        try:
            rerun.answered_by = send(x, version)
        except again.NotAgainError as error:
            return _form(request, x, form, str(error), 422)
        rerun.save(update_fields=["answered_by"])
    if rerun.answered_by is None:
        return _form(request, x, form, "It was asked already, and no answer has come yet.", 409)
    pair = {"a": f"{x.exchange_id}.{x.attempt}", "b": str(rerun.answered_by)}
    return redirect(f"{reverse('exchange-diff')}?{urlencode(pair)}")


def send(x: StoredExchange, version: ModelVersion) -> UUID:
    """Ask the version what the exchange asked; the new exchange's id. Raises NotAgainError.

    The user it was for is named again, so that what is done for that user is done with this one too.
    """
    found = queries.raw(x.exchange_id, x.attempt)
    body = again.body(found[0] if found else b"", version.name)
    client = clients.client(settings.PROXY_URL, settings.EVALUATION_KEY, timeout=TIMEOUT_SECONDS)
    headers = purposes.header(purposes.AGAIN, x.exchange_id)
    if x.user.isascii() and x.user.isprintable() and x.user:
        headers["x-flywheel-user"] = x.user
    try:
        answer = _post(client, x.surface, body, headers)
    except openai.APIConnectionError as error:
        raise again.NotAgainError(f"The proxy at {settings.PROXY_URL} did not answer in time.") from error
    except openai.APIStatusError as error:
        raise again.NotAgainError(f"The proxy refused: {error.message}") from error
    except openai.APIError as error:
        raise again.NotAgainError(f"No answer came: {error.message}") from error
    finally:
        client.close()
    try:
        return UUID(answer)
    except ValueError:
        raise again.NotAgainError("An answer came, but no exchange's id with it: is it the proxy?") from None


def _post(client: openai.OpenAI, surface: str, body: dict[str, Any], headers: dict[str, str]) -> str:
    """Send it; gives the new exchange's id as the proxy names it, "" when it names none."""
    model = body.pop("model")
    if surface == "chat":
        messages = body.pop("messages", [])
        chat = client.chat.completions.with_raw_response.create(
            model=model, messages=messages, extra_body=body, extra_headers=headers
        )
        return str(chat.headers.get("x-flywheel-exchange-id", ""))
    prompt = body.pop("prompt", "")
    text = client.completions.with_raw_response.create(
        model=model, prompt=prompt, extra_body=body, extra_headers=headers
    )
    return str(text.headers.get("x-flywheel-exchange-id", ""))
