"""What a proxy says when it can't or won't serve: OpenAI's error objects. Pure."""

from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer without an engine's."""

    status: int
    message: str
    type: str
    code: str
    param: str | None = None
    end_reason: str = "bad_request"
    """How the exchange ends, as in ``Exchange.end_reason``."""

    @property
    def body(self) -> bytes:
        """The error object as JSON."""
        said = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return orjson.dumps({"error": said})


def unauthenticated() -> Refusal:
    """No key, or none that is known and valid."""
    return Refusal(401, "Missing, unknown or expired API key.", "authentication_error", "invalid_api_key")


def not_found(path: str) -> Refusal:
    """A path that is no part of this API."""
    return Refusal(404, f"Unknown path: {path}", "invalid_request_error", "unknown_url")


def wrong_method(method: str, path: str) -> Refusal:
    """A known path asked in the wrong way."""
    return Refusal(405, f"{path} does not take {method}.", "invalid_request_error", "method_not_supported")


def too_large(limit: int) -> Refusal:
    """A body over the limit, in bytes."""
    message = f"The request body is larger than {limit} bytes."
    return Refusal(413, message, "invalid_request_error", "request_too_large", end_reason="refused")


def too_slow() -> Refusal:
    """A body that does not come."""
    message = "The request body did not come in time."
    return Refusal(408, message, "invalid_request_error", "request_timeout", end_reason="client_slow")


def no_request(status: int, why: str) -> Refusal:
    """Bytes that are no request, or a head over the limits."""
    return Refusal(status, why, "invalid_request_error", "invalid_request")


def malformed(why: str) -> Refusal:
    """A body that is no JSON object."""
    return Refusal(
        400, f"The request body could not be parsed: {why}", "invalid_request_error", "invalid_json"
    )


def not_served(why: str) -> Refusal:
    """A request that the engine might serve, and this proxy does not."""
    return Refusal(400, f"This request can't be served: {why}.", "invalid_request_error", "not_served")


def no_model() -> Refusal:
    """A request that names no model."""
    message = "You must provide a model parameter."
    return Refusal(400, message, "invalid_request_error", "missing_model", "model")


def unknown_model(why: str) -> Refusal:
    """A model that does not exist for this key."""
    return Refusal(404, why, "invalid_request_error", "model_not_found", "model")


def unreachable(why: str) -> Refusal:
    """No replica could be reached."""
    message = f"No engine could be reached: {why}"
    return Refusal(503, message, "server_error", "engine_unreachable", end_reason="engine_died")


def timed_out() -> Refusal:
    """The engine stayed silent too long."""
    message = "The engine did not answer in time."
    return Refusal(504, message, "server_error", "engine_timeout", end_reason="engine_timeout")


def broke_off(why: str) -> Refusal:
    """The engine stopped in the middle."""
    message = f"The engine broke off its answer: {why}"
    return Refusal(502, message, "server_error", "engine_died", end_reason="engine_died")


def unreadable(why: str) -> Refusal:
    """The engine answered what is no answer."""
    message = f"The engine's answer can't be read: {why}"
    return Refusal(502, message, "server_error", "engine_error", end_reason="engine_error")


def internal() -> Refusal:
    """A fault of the proxy's own."""
    message = "The proxy failed; its log says how."
    return Refusal(500, message, "server_error", "internal_error", end_reason="engine_error")


def not_recorded(why: str) -> Refusal:
    """The spool takes nothing and the route refuses to serve unrecorded."""
    message = f"This call can't be recorded, and its route serves only what is: {why}"
    return Refusal(503, message, "server_error", "not_recorded", end_reason="refused")


def bad_feedback(why: str, param: str | None) -> Refusal:
    """What is no feedback."""
    return Refusal(400, why, "invalid_request_error", "invalid_feedback", param)


def bad_spans(status: int, why: str) -> Refusal:
    """What is no request of spans."""
    return Refusal(status, why, "invalid_request_error", "invalid_spans")


def not_kept(why: str) -> Refusal:
    """The spool takes nothing: who sent it should keep it, and send it again."""
    return Refusal(503, f"This can't be kept now; send it again: {why}", "server_error", "not_recorded")
