"""What an engine says of its capture plugin, in words for the admin. Waits a second at most."""

import http.client
import urllib.error
import urllib.request
from typing import Any

import orjson

from inference.engine.tag import PATH

_PATIENCE_SECONDS = 1.0
_MOST_BYTES = 100_000
OVER_THE_WIRE = "Over the wire"


def words(base_url: str) -> str:
    """How the tokens of an engine are captured now, and why not inside it."""
    found = said(base_url)
    if isinstance(found, str):
        return f"{OVER_THE_WIRE}: {found}."
    if found.get("capture") is not True:
        return f"{OVER_THE_WIRE}: {found.get('why') or 'the plugin takes no records now'}."
    dropped = sum(found.get("dropped", {}).values())
    lost = f"; {dropped:,} records were lost before its disk" if dropped else ""
    return f"Inside the engine: plugin {found.get('version')}, vLLM {found.get('vllm')}{lost}."


def said(base_url: str) -> dict[str, Any] | str:
    """What the plugin of an engine says of itself, or in words why nothing is said."""
    url = base_url.rstrip("/") + PATH
    if not url.startswith(("http://", "https://")):
        return "its address is none of HTTP"
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310 - checked above
            found = orjson.loads(answer.read(_MOST_BYTES))
    except urllib.error.HTTPError:
        return "the engine has no capture plugin"
    except (OSError, ValueError, http.client.HTTPException):
        return "the engine does not say whether it has the plugin"
    return found if isinstance(found, dict) else "the plugin takes no records now"
