"""What goes wrong between the proxy and who it talks to: clients and engines."""


class ClientLeftError(ConnectionError):
    """The client went before it had sent its request."""


class TooLargeError(ValueError):
    """The body is larger than the handler takes."""


class TooSlowError(TimeoutError):
    """The body did not come in time."""


class ConnectError(ConnectionError):
    """No connection to an engine could be made."""


class BrokenOffError(ConnectionError):
    """An engine's connection ended, or what came was no HTTP, before the answer's end."""


class SilentError(TimeoutError):
    """Nothing came from an engine for too long."""


class UnreachableError(RuntimeError):
    """No replica answered; ``tried`` says what each one did."""

    def __init__(self, tried: list[dict[str, str]], *, timed_out: bool) -> None:
        super().__init__(
            "; ".join(f"{one['upstream']}: {one['why']}" for one in tried) or "no engine serves it"
        )
        self.tried = tried
        self.timed_out = timed_out
