"""One HTTP request in ClickHouse's interface: what it asks, what its body holds, how an error answers.

Pure. Knows parameters, formats, compression and status codes; opens no socket and no engine (see
`flywheel.local.clickhouse`). Follows the interface that a ClickHouse server offers, so that its ordinary
clients need no change; what it leaves out (sessions, external data, the native block compression of
`compress=1`) is refused in words, never ignored.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl

import lz4.frame
import zstandard

# Parameters that the interface itself takes; every other name in the query string is an engine setting.
_INTERFACE_PARAMETERS = {
    *("buffer_size", "client_protocol_version", "compress", "database", "decompress", "default_format"),
    *("password", "query", "query_id", "quota_key", "role", "session_check", "session_id"),
    *("session_timeout", "stacktrace", "user", "wait_end_of_query"),
}
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_CODE = re.compile(r"Code: (\d+)\. ")
_VERSION = re.compile(r"\(version [^)]*\)\Z")
_TOKEN = re.compile(
    rb"'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"|--[^\n]*|/\*.*?\*/|[A-Za-z_]\w*|\s+|.",
    re.DOTALL,
)
_FORMAT_NAME = re.compile(rb"\s+(\w+)[ \t\r]*;?[ \t\r]*\n?")
_TRAILING_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)
# The engine reads at most this much of a query (its max_query_size), so FORMAT stands before it.
_QUERY_BYTES = 262_144
_SMALLEST_COMPRESSED = 1024

_STATUS_OF_CODE = {
    **dict.fromkeys(
        (6, 25, 26, 27, 36, 38, 41, 43, 44, 53, 62, 69, 72, 117, 130, 167, 168, 321, 456, 457), 400
    ),
    **dict.fromkeys((194,), 401),
    **dict.fromkeys((164, 192, 193, 497, 516), 403),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 81, 115), 404),
    159: 408,
    135: 413,
    48: 501,
    **dict.fromkeys((76, 209), 503),
}


class RequestError(Exception):
    """An error as the answer: `code` is ClickHouse's, `status` HTTP's, `text` what a server says."""

    def __init__(self, code: int, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.status = status or _STATUS_OF_CODE.get(code, 500)


@dataclass(frozen=True, slots=True)
class Statement:
    """A request's SQL. `data` is what follows an INSERT's FORMAT, in `format`; None for everything else.

    For such an INSERT `sql` ends before its SETTINGS, which are in `tail`.
    """

    sql: str
    format: str
    data: bytes | None = None
    tail: str = ""

    def reading(self, path: str) -> str:
        """The INSERT with its data in a file."""
        return f"{self.sql} FROM INFILE '{path}' {self.tail} FORMAT {self.format}"


@dataclass(frozen=True, slots=True)
class Call:
    """The query string (and form) of a request, sorted into what it is for."""

    query: bytes = b""
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    query_id: str = ""
    default_format: str = "TabSeparated"
    password: str = ""

    def reading_only(self) -> Call:
        """The same call as a GET is allowed it: settings may differ, nothing may be written."""
        stricter = "1" if self.settings.get("readonly") == "1" else "2"
        return replace(self, settings={**self.settings, "readonly": stricter})


def parse_call(query_string: bytes, form: Mapping[str, str] | None = None) -> Call:
    """Sort a query string and form fields by what they are for. Raises RequestError (code 36, 48)."""
    pairs = dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, encoding="utf-8"))
    pairs.update(form or {})
    for unsupported in ("compress", "decompress"):
        if pairs.get(unsupported, "0") not in ("", "0", "false"):
            raise RequestError(48, f"{unsupported}=1 is not implemented here: use Content-Encoding")
    settings, parameters = {}, {}
    for name, value in pairs.items():
        if name.startswith("param_") and _SETTING_NAME.match(name):
            parameters[name.removeprefix("param_")] = value
        elif name not in _INTERFACE_PARAMETERS:
            if not _SETTING_NAME.match(name):
                raise RequestError(36, f"{name!r} is no name of a setting")
            settings[name] = value
    return Call(
        query=pairs.get("query", "").encode(),
        settings=settings,
        parameters=parameters,
        database=pairs.get("database", ""),
        query_id=pairs.get("query_id", ""),
        default_format=pairs.get("default_format", "TabSeparated"),
        password=pairs.get("password", ""),
    )


def parse_form(content_type: str, body: bytes) -> dict[str, str]:
    """The text fields of a multipart body. Raises RequestError for a file part (external data, code 48)."""
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
    )
    fields = {}
    for part in message.iter_parts():
        if part.get_filename() is not None:
            raise RequestError(48, "external data is not implemented here")
        name = part.get_param("name", header="content-disposition")
        fields[str(name)] = bytes(part.get_payload(decode=True) or b"").decode()
    return fields


def parse_statement(query: bytes, body: bytes, default_format: str) -> Statement:
    """Join the `query` parameter and the body, and split an INSERT's data off its SQL.

    The data may be binary and may hold anything, so only bytes up to FORMAT are read as SQL. Raises
    RequestError (code 62) when there is nothing to run, or SQL is no UTF-8.
    """
    whole = query + b"\n" + body if query and body else query or body
    cut = _insert_data(whole)
    if cut is not None:
        name, settings_start, sql_end, data_start = cut
        tail = _text(whole[settings_start:sql_end])
        return Statement(_text(whole[:settings_start]), name, whole[data_start:], tail)
    sql = _text(whole)
    if not sql.strip():
        raise RequestError(62, "Syntax error: Empty query")
    embedded = _TRAILING_FORMAT.search(whole)
    return Statement(sql, embedded.group(1).decode() if embedded else default_format)


def _insert_data(whole: bytes) -> tuple[str, int, int, int] | None:
    """For `INSERT … [SETTINGS …] FORMAT name data`: the name, where the settings start (or would), where the
    SQL ends, where the data starts.
    """
    words = _top_level_words(whole[:_QUERY_BYTES])
    first = next(words, None)
    if first is None or first[0] != b"INSERT":
        return None
    settings_start = 0
    for word, start, end in words:
        if word in (b"SELECT", b"WITH", b"VALUES"):
            return None
        if word == b"SETTINGS":
            settings_start = settings_start or start
        named = _FORMAT_NAME.match(whole, end) if word == b"FORMAT" else None
        if named:
            return named.group(1).decode(), settings_start or start, start, named.end()
    return None


def _top_level_words(sql: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The unquoted words outside brackets, in upper case, with their places."""
    depth = 0
    for token in _TOKEN.finditer(sql):
        text = token.group()
        if text == b"(":
            depth += 1
        elif text == b")":
            depth -= 1
        elif depth == 0 and (text[:1].isalpha() or text[:1] == b"_"):
            yield text.upper(), token.start(), token.end()


def _text(sql: bytes) -> str:
    try:
        return sql.decode()
    except UnicodeDecodeError as error:
        raise RequestError(62, f"Syntax error: the query is no UTF-8 at byte {error.start}") from error


def given_password(headers: Mapping[str, str], call: Call) -> str:
    """The password a client sent, by whichever of the interface's three ways. Empty when it sent none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(token, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return headers.get("x-clickhouse-key", "") or call.password


def refusal(message: str, version: str) -> RequestError:
    """The engine's error as a server words it: `Code: 60. DB::Exception: … (UNKNOWN_TABLE) (version …)`."""
    start = message.find("Code: ")
    text = message[max(start, 0) :].strip()
    code = _CODE.match(text)
    if not _VERSION.search(text):
        text = f"{text} (version {version})"
    return RequestError(int(code.group(1)) if code else 1001, text)


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """A request body without its Content-Encoding: every frame of it, since clients send one a block.

    Raises RequestError: code 354 (cut short or broken), 135 (over `limit` bytes), 48 (encoding unknown).
    """
    try:
        parts = _DECOMPRESSORS[encoding](body)
    except KeyError:
        raise RequestError(48, f"Content-Encoding {encoding!r} is not implemented here") from None
    plain = bytearray()
    try:
        for part in parts:
            plain += part
            if len(plain) > limit:
                raise RequestError(135, f"The body holds more than {limit} bytes")
    except (RuntimeError, EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
        raise RequestError(354, f"Cannot decompress the body as {encoding}: {error}", 400) from error
    return bytes(plain)


_STEP = 1 << 20
# zstandard takes no bound on what one call gives back, so it is fed little at a time.
_ZSTD_INPUT = 1 << 16


def _no_frames(body: bytes) -> Iterator[bytes]:
    yield body


def _lz4_frames(body: bytes) -> Iterator[bytes]:
    rest = body
    while rest:
        frame = lz4.frame.LZ4FrameDecompressor()
        yield frame.decompress(rest, max_length=_STEP)
        while not frame.eof:
            if frame.needs_input:
                raise EOFError("the last frame is cut short")
            yield frame.decompress(b"", max_length=_STEP)
        rest = frame.unused_data or b""


def _zstd_frames(body: bytes) -> Iterator[bytes]:
    rest = body
    while rest:
        frame = zstandard.ZstdDecompressor().decompressobj()
        for start in range(0, len(rest), _ZSTD_INPUT):
            yield frame.decompress(rest[start : start + _ZSTD_INPUT])
            if frame.eof:
                rest = frame.unused_data + rest[start + _ZSTD_INPUT :]
                break
        else:
            raise EOFError("the last frame is cut short")


def _zlib_frames(body: bytes, wbits: int) -> Iterator[bytes]:
    rest = body
    while rest:
        frame = zlib.decompressobj(wbits)
        yield frame.decompress(rest, _STEP)
        while not frame.eof:
            if not frame.unconsumed_tail:
                raise EOFError("the last frame is cut short")
            yield frame.decompress(frame.unconsumed_tail, _STEP)
        rest = frame.unused_data


_DECOMPRESSORS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "": _no_frames,
    "identity": _no_frames,
    "lz4": _lz4_frames,
    "zstd": _zstd_frames,
    "gzip": lambda body: _zlib_frames(body, 31),
    "deflate": lambda body: _zlib_frames(body, 15),
}


def compress(body: bytes, accepted: str) -> tuple[bytes, str]:
    """A response body in the first encoding both sides know, and that encoding's name ("" for none)."""
    wanted = [part.partition(";")[0].strip().lower() for part in accepted.split(",")]
    if len(body) < _SMALLEST_COMPRESSED:
        return body, ""
    for encoding in wanted:
        if encoding == "lz4":
            return lz4.frame.compress(body), encoding
        if encoding == "zstd":
            return zstandard.ZstdCompressor(level=1).compress(body), encoding
        if encoding == "gzip":
            return gzip.compress(body, 1), encoding
    return body, ""


def content_type(format_name: str) -> str:
    """The media type a server gives a format."""
    if format_name in ("JSON", "JSONCompact", "JSONStrings"):
        return "application/json; charset=UTF-8"
    if format_name.startswith(("TabSeparated", "TSV")):
        return "text/tab-separated-values; charset=UTF-8"
    if format_name in ("Native", "RowBinary", "Arrow", "ArrowStream", "Parquet"):
        return "application/octet-stream"
    return "text/plain; charset=UTF-8"
