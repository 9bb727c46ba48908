"""Keys of forms: made by the server for one showing, unique in SQL, so that pressed twice is done once."""

import re
import secrets

import redis
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest

KEY = re.compile(r"[\w-]{20,100}")


def fresh() -> str:
    """A key for a form that is about to be shown."""
    return secrets.token_urlsafe(24)


def posted(request: HttpRequest) -> str:
    """The form's key. Raises BadRequest when there is none: the form was not ours."""
    key = request.POST.get("key", "")
    if not KEY.fullmatch(key):
        raise BadRequest("The form had no key. Open the page again and press the button there.")
    return key


def broker_answers() -> bool:
    """Whether workers can be told at once; when not, beat tells them later."""
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=0.3, socket_timeout=0.3, retry=None
    )
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()


def say_kept(request: HttpRequest) -> None:
    """After starting a job: if no worker can be told now, say that nothing is lost."""
    if not broker_answers():
        messages.warning(
            request, "Kept. The worker can't be reached now; it starts this by itself when it is back."
        )
