"""Telling people of alerts: by webhook and by e-mail, each once, tried until it works.

A message is claimed by compare-and-set before it is sent, so two watches send it once. Between sending and
noting that it was sent a process can die; then it is sent again with the same id, by which a receiver knows
it. An end is told after its beginning. After a day without success it is given up, and the engine room says
so.
"""

from __future__ import annotations

import asyncio
import logging
import smtplib
import threading
from datetime import datetime, timedelta
from typing import Any

import aiohttp
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import DatabaseError, close_old_connections
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from flywheel.alert_models import AlertChannel, AlertMessage
from inference.vitals import METRICS

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=5)
GIVE_UP = timedelta(days=1)
MOST_AT_ONCE = 20


class NotSentError(Exception):
    """It could not be delivered now; says why."""


def due(now: datetime) -> QuerySet[AlertMessage]:
    """What is to be sent now, in order: no end before its beginning was told or given up."""
    open_ = AlertMessage.objects.filter(sent_at=None, given_up_at=None)
    beginning = open_.filter(
        alert=OuterRef("alert"), channel=OuterRef("channel"), kind=AlertMessage.Kind.FIRING
    )
    return (
        open_.filter(next_at__lte=now, channel__enabled=True)
        .exclude(Exists(beginning), kind=AlertMessage.Kind.RESOLVED)
        .select_related("alert__rule", "channel")
        .order_by("id")[:MOST_AT_ONCE]
    )


def send_due(now: datetime | None = None) -> int:
    """Send what is due. Returns how many were delivered."""
    return sum(_send(message, now or timezone.now()) for message in due(now or timezone.now()))


def _send(message: AlertMessage, now: datetime) -> bool:
    pause = min(FIRST_PAUSE * 2 ** min(message.attempts, 16), LONGEST_PAUSE)
    mine = AlertMessage.objects.filter(pk=message.pk, sent_at=None, next_at=message.next_at)
    if mine.update(next_at=now + pause, attempts=F("attempts") + 1) != 1:
        return False  # another watch has it
    found = AlertMessage.objects.filter(pk=message.pk)
    try:
        if message.channel.kind == AlertChannel.Kind.WEBHOOK:
            asyncio.run(_post(message.channel.address, _id(message), body(message)))
        else:
            _mail(message)
    except NotSentError as error:
        given_up = {"given_up_at": now} if now - message.created_at > GIVE_UP else {}
        found.update(error=str(error)[:300], **given_up)
        return False
    found.update(sent_at=timezone.now(), error="")
    return True


def _id(message: AlertMessage) -> str:
    return f"flywheel-alert-{message.alert_id}-{message.kind}-{message.channel_id}"


def body(message: AlertMessage) -> dict[str, Any]:
    """What a webhook gets."""
    alert, rule = message.alert, message.alert.rule
    return {
        "id": _id(message),
        "state": message.kind,
        "text": subject(message),
        "rule": rule.name,
        "severity": rule.severity,
        "source": alert.source,
        "gpu": alert.part,
        "since": alert.since.isoformat(),
        "ended": alert.ended_at.isoformat() if alert.ended_at else None,
        "values": alert.values,
        "meaning": rule.meaning,
        "users_notice": rule.users_notice,
        "first_step": rule.first_step,
        "url": page(),
    }


def page() -> str:
    """Where to look."""
    return f"{settings.WEB_URL.rstrip('/')}/engine/"


def subject(message: AlertMessage) -> str:
    """One line: "Firing, critical: Engine away: gpu-1"."""
    if message.kind == AlertMessage.Kind.RESOLVED:
        return f"Over: {message.alert}"
    return f"Firing, {message.alert.rule.severity}: {message.alert}"


async def _post(address: str, key: str, content: dict[str, Any]) -> None:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(
                address, json=content, headers={"Idempotency-Key": key}, allow_redirects=False
            ) as answer,
        ):
            if not 200 <= answer.status < 300:
                raise NotSentError(f"answers {answer.status}")
    except TimeoutError as error:
        raise NotSentError(f"no word within {PATIENCE_SECONDS:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotSentError(f"does not answer ({error or type(error).__name__})") from error


def _mail(message: AlertMessage) -> None:
    alert, rule = message.alert, message.alert.rule
    values = "\n".join(f"{METRICS[name].title}: {value:g}" for name, value in alert.values.items())
    text = "\n\n".join(
        (
            subject(message),
            f"What it means: {rule.meaning}",
            f"What users notice: {rule.users_notice}",
            f"What to do first: {rule.first_step}",
            f"Since {alert.since:%Y-%m-%d %H:%M:%S %Z}.\n{values}",
            page(),
        )
    )
    host = settings.EMAIL_FROM.rpartition("@")[2] or "flywheel"
    # The same message sent twice is one to a mail reader.
    mail = EmailMessage(
        # A header has one line: a name of several would be refused.
        " ".join(subject(message).split()),
        text,
        settings.EMAIL_FROM,
        [message.channel.address],
        headers={"Message-ID": f"<{_id(message)}@{host}>"},
    )
    try:
        mail.send()
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise NotSentError(f"the mail server: {error or type(error).__name__}") from error


def run(stopping: threading.Event, seconds: float = 1.0) -> None:
    """Send until told to stop: a thread of the watch's, so that who does not answer holds up no look."""
    while not stopping.wait(seconds):
        close_old_connections()
        try:
            send_due()
        except DatabaseError as error:
            log.warning("the SQL database can't be asked: %s", error)
        except Exception:
            log.exception("messages were not sent")
