"""Asks an engine for its logprobs mode: its capture plugin if it has one, or by two small requests.

For the admin, never for a call. What the answers say is for inference.logprobs_mode to decide; an engine that
is away, refuses or is none makes an unknown mode, not an error.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import Any

import orjson

from inference import logprobs_mode, told
from inference.logprobs_mode import UNKNOWN, Finding

_PATIENCE_SECONDS = 5.0
"""A busy engine takes its time for a few tokens; whoever pressed the button waits."""
_MOST_BYTES = 1_000_000
_MOST_WORDS = 200
_KEY_WANTED = frozenset({401, 403})


class _NoWayOn(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer: the engine's key goes to the engine only."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoWayOn)


def probe(base_url: str, secret: str = "") -> Finding:
    """The mode, or why it is not known. Waits some seconds for an engine that does not answer."""
    if not base_url.startswith(("http://", "https://")):
        return Finding(UNKNOWN, "its address is none of HTTP")
    said = told.said(base_url)
    mode = said.get("logprobs_mode") if isinstance(said, dict) else None
    if mode in logprobs_mode.MODES:
        return Finding(mode, "its capture plugin says so")
    return by_answers(base_url, secret)


def by_answers(base_url: str, secret: str = "") -> Finding:
    """By two requests of four tokens each to the first model that it names."""
    try:
        model = _ask(base_url, secret, "/v1/models")["data"][0]["id"]
        warm, cold = (
            logprobs_mode.positions(
                _ask(base_url, secret, "/v1/completions", logprobs_mode.request(model, temperature))
            )
            for temperature in logprobs_mode.TEMPERATURES
        )
    except urllib.error.HTTPError as error:
        with error:
            return Finding(UNKNOWN, _refused(error))
    except (OSError, http.client.HTTPException) as error:
        return Finding(UNKNOWN, f"it does not answer ({getattr(error, 'reason', error)})")
    except orjson.JSONDecodeError:
        return Finding(UNKNOWN, "its answer is no JSON")
    except ValueError as error:
        return Finding(UNKNOWN, str(error))
    except (TypeError, LookupError):
        return Finding(UNKNOWN, "it names no model")
    return logprobs_mode.decide(warm, cold)


def _ask(base_url: str, secret: str, path: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {secret}"} if secret else {})
    content = None if body is None else orjson.dumps(body)
    asked = urllib.request.Request(base_url.rstrip("/") + path, content, headers)  # noqa: S310 - checked above
    with _OPENER.open(asked, timeout=_PATIENCE_SECONDS) as answer:
        return orjson.loads(answer.read(_MOST_BYTES))


def _refused(error: urllib.error.HTTPError) -> str:
    if error.code in _KEY_WANTED:
        return f"it wants a key ({error.code}), and this server has none or another in that variable"
    try:
        said = orjson.loads(error.read(_MOST_BYTES))
        inner = said.get("error", said)
        words = str(inner["message"])[:_MOST_WORDS]
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        words = error.reason
    return f"it answers {error.code}: {words}"
