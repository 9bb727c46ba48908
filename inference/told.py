"""What an engine says of its capture plugin, in words for the admin. Waits a second at most."""

import urllib.error
import urllib.request

import orjson

from inference.engine.tag import PATH

_PATIENCE_SECONDS = 1.0
_MOST_BYTES = 100_000
OVER_THE_WIRE = "Over the wire"


def words(base_url: str) -> str:
    """How the tokens of an engine are captured now, and why not inside it."""
    url = base_url.rstrip("/") + PATH
    if not url.startswith(("http://", "https://")):
        return f"{OVER_THE_WIRE}: its address is none of HTTP."
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310 - checked above
            said = orjson.loads(answer.read(_MOST_BYTES))
    except urllib.error.HTTPError:
        return f"{OVER_THE_WIRE}: the engine has no capture plugin."
    except (OSError, ValueError):
        return f"{OVER_THE_WIRE}: the engine does not say whether it has the plugin."
    if not isinstance(said, dict) or said.get("capture") is not True:
        why = said.get("why") if isinstance(said, dict) else ""
        return f"{OVER_THE_WIRE}: {why or 'the plugin takes no records now'}."
    dropped = sum(said.get("dropped", {}).values())
    lost = f"; {dropped:,} records were lost before its disk" if dropped else ""
    return f"Inside the engine: plugin {said.get('version')}, vLLM {said.get('vllm')}{lost}."
