"""The embedded ClickHouse: one process that owns a chdb folder and speaks ClickHouse's HTTP interface.

    python -m flywheel.local.clickhouse --path var/clickhouse --port 8123

Knows chdb and ASGI; what a request means is in `flywheel.local.clickhouse_http`. Every request gets a chdb
connection of its own (0.2 ms): connections run side by side, and settings, parameters and database end with
it, as they do on a server without sessions. Answers are held in memory until they are whole, so an error
is always an HTTP error and never a broken body; results are bounded by `--max-body`, as requests are.

Meant for one machine: it binds to the loopback address, refuses what a browser sends from a page, and asks
for a password when CLICKHOUSE_PASSWORD is set.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import ipaddress
import os
import signal
import socket
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import uvicorn

from flywheel.local import clickhouse_http as wire

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

DEFAULT_MAX_BODY = 512 << 20
_QUERIES_AT_ONCE = 16
# What the embedded engine changes against a server, set back so that both behave alike.
_SERVER_DEFAULTS = {"implicit_select": "0", "allow_introspection_functions": "0"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave: its bytes, and the engine's own count of what it read and wrote."""

    body: bytes
    format: str
    summary: Mapping[str, str]


class Engine:
    """A chdb folder, open in this process. Its methods block and may be called from many threads."""

    def __init__(self, path: Path) -> None:
        """Open the folder. Raises RuntimeError when another process holds it."""
        # The import starts the engine, so it waits until TZ is set; what it offers has no types.
        _chdb: Any = import_module("chdb")._chdb
        _chdb.set_signal_handlers_enabled(0)
        self._connect = _chdb.connect
        self._path = str(path)
        self._read_only = _chdb.query_class.READ_ONLY
        # As long as one connection is open, the engine stays; closing the last one shuts it down.
        self._anchor = self._connect(self._path)
        self.version: str = self._anchor.query("SELECT version()", "TabSeparated").bytes().decode().strip()

    def close(self) -> None:
        self._anchor.close()

    def run(self, call: wire.Call, statement: wire.Statement, query_id: str, max_bytes: int) -> Answer:
        """Run one statement to its end. Raises wire.RequestError with the engine's own code and words."""
        connection = self._connect(self._path)
        try:
            connection.query(_set_clause(call, query_id, max_bytes))
            if statement.data is None:
                return self._query(connection, statement)
            return self._insert(connection, statement, statement.data)
        except RuntimeError as error:
            raise wire.refusal(str(error), self.version) from error
        finally:
            connection.close()

    def kill(self, query_id: str | None = None) -> None:
        """Ask the engine to stop a query, or all. One that is not running (yet, any more) is no error."""
        which = "1" if query_id is None else f"Settings['log_comment'] = {_literal(query_id)}"
        connection = self._connect(self._path)
        try:
            connection.query(f"KILL QUERY WHERE {which} ASYNC")
        finally:
            connection.close()

    def only_reads(self, statement: wire.Statement) -> bool:
        """Whether running it, or stopping it half-way, changes nothing."""
        if statement.data is not None:
            return False
        connection = self._connect(self._path)
        try:
            return bool(connection.classify_query(statement.sql)["query_class"] == self._read_only)
        finally:
            connection.close()

    def _query(self, connection: Any, statement: wire.Statement) -> Answer:
        # An embedded FORMAT wins over the argument, as over a server's default_format.
        found = connection.classify_query(statement.sql)
        if found["statement_count"] > 1:
            raise wire.RequestError(
                62, "Code: 62. DB::Exception: Syntax error: Multi-statements are not allowed"
            )
        result = connection.query(statement.sql, statement.format)
        body = result.bytes() or b""
        summary = _summary(
            result,
            read_rows=result.storage_rows_read(),
            written_rows=result.rows_written(),
            result_bytes=len(body),
        )
        return Answer(body, statement.format if found["query_class"] == self._read_only else "", summary)

    @staticmethod
    def _insert(connection: Any, statement: wire.Statement, data: bytes) -> Answer:
        """Insert through a file that exists in memory only.

        chdb's own streaming insert reports rows as written when the table refused them, a silent loss; an
        INSERT from a file raises what went wrong.
        """
        descriptor = os.memfd_create("insert", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            result = connection.query(statement.reading(f"/proc/self/fd/{descriptor}"))
        written = result.rows_written()
        return Answer(b"", "", _summary(result, read_rows=written, written_rows=written, result_bytes=0))


def _summary(result: Any, *, read_rows: int, written_rows: int, result_bytes: int) -> dict[str, str]:
    """X-ClickHouse-Summary's fields, all strings, from what the engine reports of one statement."""
    return {
        "read_rows": str(read_rows),
        "read_bytes": str(result.storage_bytes_read()),
        "written_rows": str(written_rows),
        "written_bytes": str(result.bytes_written()),
        "result_rows": str(result.rows_read()),
        "result_bytes": str(result_bytes),
        "elapsed_ns": str(int(result.elapsed() * 1e9)),
    }


def _set_clause(call: wire.Call, query_id: str, max_bytes: int) -> str:
    """One SET for everything that came beside the SQL.

    The query id travels as log_comment, which the engine shows in system.processes: chdb makes ids of its
    own, and without this a query could not be found again to stop it.
    """
    values = {
        **_SERVER_DEFAULTS,
        "max_result_bytes": str(max_bytes),
        **{name: value for name, value in call.settings.items() if name != "readonly"},
        **{f"param_{name}": value for name, value in call.parameters.items()},
        "log_comment": query_id,
    }
    if call.database:
        values["database"] = call.database
    # Last, because nothing can be set after it.
    if "readonly" in call.settings:
        values["readonly"] = call.settings["readonly"]
    return "SET " + ", ".join(f"{name} = {_literal(value)}" for name, value in values.items())


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Server:
    """The ASGI application."""

    def __init__(self, engine: Engine, *, password: str = "", max_body: int = DEFAULT_MAX_BODY) -> None:
        self._engine = engine
        self._password = password
        self._max_body = max_body
        self._queries = ThreadPoolExecutor(_QUERIES_AT_ONCE, thread_name_prefix="query")
        # Stopping a query must not wait for a place among the queries.
        self._control = ThreadPoolExecutor(2, thread_name_prefix="control")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        query_id = str(uuid.uuid4())
        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            _refuse_pages(headers)
            if (
                scope["path"] in ("/ping", "/")
                and scope["method"] in ("GET", "HEAD")
                and not scope["query_string"]
            ):
                await _respond(send, 200, {"content-type": "text/html; charset=UTF-8"}, b"Ok.\n")
                return
            if scope["path"] not in ("/", "/query"):
                raise wire.RequestError(0, f"There is no handle {scope['path']}", 404)
            call, statement = await self._read(scope, headers, receive)
            query_id = call.query_id or query_id
            answer = await self._run(call, statement, query_id, receive)
        except wire.RequestError as refused:
            await self._refuse(send, refused, query_id)
            return
        if answer is not None:
            await self._answer(send, answer, headers.get("accept-encoding", ""), query_id)

    async def _read(
        self, scope: Scope, headers: Mapping[str, str], receive: Receive
    ) -> tuple[wire.Call, wire.Statement]:
        encoding = headers.get("content-encoding", "").lower()
        body = wire.decompress(await self._body(receive), encoding, self._max_body)
        kind = headers.get("content-type", "")
        form = None
        if kind.startswith("multipart/form-data"):
            form, body = wire.parse_form(kind, body), b""
        call = wire.parse_call(scope["query_string"], form)
        if self._password and not hmac.compare_digest(
            wire.given_password(headers, call).encode(), self._password.encode()
        ):
            raise wire.RequestError(
                516, "Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)"
            )
        if scope["method"] == "GET":
            call = call.reading_only()
        return call, wire.parse_statement(call.query, body, call.default_format)

    async def _body(self, receive: Receive) -> bytes:
        """The whole body, or nothing is run: a client that goes away half-way leaves no half of an insert."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise wire.RequestError(210, "The client went away before its request was whole", 400)
            body += message.get("body", b"")
            if len(body) > self._max_body:
                raise wire.RequestError(135, f"The body is over {self._max_body} bytes")
            if not message.get("more_body", False):
                return bytes(body)

    async def _run(
        self, call: wire.Call, statement: wire.Statement, query_id: str, receive: Receive
    ) -> Answer | None:
        """Run it in a thread. None when the client went away and the query, which only read, was stopped."""
        loop = asyncio.get_running_loop()
        work = self._queries.submit(self._engine.run, call, statement, query_id, self._max_body)
        ended = asyncio.wrap_future(work)
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((ended, gone), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return ended.result()
            reads = await loop.run_in_executor(self._control, self._engine.only_reads, statement)
            # One that has not begun leaves the queue; one that runs may not be in the process list yet.
            while reads and not work.cancel() and not ended.done():
                await loop.run_in_executor(self._control, self._engine.kill, query_id)
                await asyncio.wait((ended,), timeout=0.1)
            # Nobody is left to hear what became of it.
            await asyncio.gather(ended, return_exceptions=True)
            return None
        finally:
            gone.cancel()

    async def _answer(self, send: Send, answer: Answer, accepted: str, query_id: str) -> None:
        body, encoding = wire.compress(answer.body, accepted)
        headers = {
            "content-type": wire.content_type(answer.format),
            "x-clickhouse-query-id": query_id,
            "x-clickhouse-timezone": "UTC",
            "x-clickhouse-summary": orjson.dumps(answer.summary).decode(),
        }
        if answer.format:
            headers["x-clickhouse-format"] = answer.format
        if encoding:
            headers["content-encoding"] = encoding
        await _respond(send, 200, headers, body)

    async def _refuse(self, send: Send, refused: wire.RequestError, query_id: str) -> None:
        headers = {
            "content-type": "text/plain; charset=UTF-8",
            "x-clickhouse-query-id": query_id,
            "x-clickhouse-exception-code": str(refused.code),
        }
        if refused.status == 401:
            headers["www-authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        await _respond(send, refused.status, headers, refused.text.encode() + b"\n")

    def close(self) -> None:
        """Stop what still runs (nothing of it was acknowledged) and shut the engine down."""
        self._queries.shutdown(wait=False, cancel_futures=True)
        self._engine.kill()
        self._queries.shutdown()
        self._control.shutdown()
        self._engine.close()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _respond(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    named = {**headers, "content-length": str(len(body)), "x-clickhouse-server-display-name": "embedded"}
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _refuse_pages(headers: Mapping[str, str]) -> None:
    """Any page that a browser on this machine shows could send a form here; clients send no Origin."""
    if "origin" in headers or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise wire.RequestError(497, "Code: 497. DB::Exception: No requests from web pages. (ACCESS_DENIED)")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        sys.exit(f"clickhouse: cannot listen on {host}:{port}: {error.strerror}")
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def main(arguments: list[str] | None = None) -> None:
    """Open the folder, say the address on standard output, serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m flywheel.local.clickhouse", description="Embedded ClickHouse."
    )
    parser.add_argument("--path", type=Path, required=True, help="folder that this process will own")
    parser.add_argument("--port", type=int, required=True, help="0 picks a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--max-body", type=int, default=DEFAULT_MAX_BODY, help="bytes of one request or answer"
    )
    given = parser.parse_args(arguments)
    password = os.environ.get("CLICKHOUSE_PASSWORD", "")
    if not password and not _is_loopback(given.host):
        sys.exit(f"clickhouse: set CLICKHOUSE_PASSWORD to listen on {given.host}, which others can reach")
    os.environ["TZ"] = "UTC"
    listener = _listen(given.host, given.port)
    given.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        engine = Engine(given.path.resolve())
    except RuntimeError as error:
        sys.exit(f"clickhouse: cannot open {given.path} (does another process own it?): {error}")
    server = Server(engine, password=password, max_body=given.max_body)
    print(
        f"clickhouse {engine.version} listens on http://{given.host}:{listener.getsockname()[1]}", flush=True
    )
    config = uvicorn.Config(
        server,
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    # uvicorn raises the signal again once it has shut down; without this it would end the process there.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


if __name__ == "__main__":
    main()
