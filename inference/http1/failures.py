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
