"""Takes out of an engine's answer what was added to it, by cutting bytes laid out as vLLM does. Pure.

A JSON answer's layout is looked for anew each time. A stream repeats its layout in every event, so it is
learned once, from an event that was read and written as JSON, and believed only if cutting that event gives
the same. Whatever lies otherwise is not touched: its caller reads and writes JSON instead.

Where the hot path is compiled, the searches are too (inference/_cutting.pyx); without, they are these here.

What is searched for holds a bare quote before or after a comma, a colon or a brace. In JSON a quote within a
string is escaped, so these are found in the structure and never in a text.
"""

import re
from dataclasses import dataclass
from typing import Any, Self

import orjson

from inference.extension import extension

_IDS = b'token_ids":'
_DIGITS = b"0123456789,"
_MODEL = re.compile(rb'("model"\s*:\s*)"(?:[^"\\]|\\.)*"')
_TAIL = re.compile(rb'(,"finish_reason":null(?:,"[a-z_]+":null)*,"token_ids":)\[[0-9,]*\]\}\]\}\n\n')
_LOGPROBS = b',"logprobs":{'
_NEXT = b']},"'
"""How a value of logprobs ends before the choice's next name. Within the value no name follows ``]}``."""
_INDEX, _RARE = b'"index":', b"x"
"""Every choice has one, and nothing within logprobs. Its ``x`` is in no chat's logprobs with ids for tokens,
and one byte is found sooner than a name.
"""
_UNFINISHED = b'"finish_reason":null'
_FINISHED = b'"finish_reason":"'
_BRACE = ord("}")
_EMPTY = b',"delta":{}'


_COMPILED = extension("inference._cutting")
"""The searches in C, where the hot path is compiled."""
IS_COMPILED = _COMPILED is not None
"""Whether it is."""


def rename(answer: bytes, model: bytes) -> bytes:
    """The answer's bytes under another model name, given as JSON."""
    return _MODEL.sub(lambda found: found[1] + model, answer, count=1)


def without_logprobs(answer: bytes) -> bytes | None:
    """A JSON answer with each choice's logprobs null; None when its layout is another.

    Knows one: no spaces, and ``finish_reason`` right after ``logprobs``, whose strings hold no brackets.
    """
    if _COMPILED is not None:
        cut: bytes | None = _COMPILED.without_logprobs(answer)
        return cut
    pieces: list[bytes] = []
    at = 0
    while (begin := answer.find(b'"logprobs":{', at)) >= 0:
        begin += len(b'"logprobs":')
        end = _end(answer, begin, len(answer)) + 2
        if end < 2 or not answer.startswith(b',"finish_reason":', end):
            return None
        pieces += (answer[at:begin], b"null")
        at = end
    answer = b"".join((*pieces, answer[at:]))
    return answer if answer.count(b'"logprobs":') == answer.count(b'"logprobs":null') else None


def _end(data: bytes, begin: int, end: int) -> int:
    """Where ``]}`` ends the logprobs that begin at ``begin``; -1 when that can't be told.

    It is the first place before a name, and most often the only one: then it is found sooner from behind. No
    other choice may lie before it.
    """
    if _COMPILED is not None:
        return int(_COMPILED.end(data, begin, end))
    last = data.rfind(_NEXT, begin, end)
    if last < 0:
        return -1
    first = last if data.rfind(_NEXT, begin, last) < 0 else data.find(_NEXT, begin, last)
    crosses = data.find(_RARE, begin, first) >= 0 and data.find(_INDEX, begin, first) >= 0
    return -1 if crosses else first


def without_ids(answer: bytes) -> bytes | None:
    """A JSON answer with its token ids null; None when its layout is another."""
    if _COMPILED is not None:
        cut: bytes | None = _COMPILED.without_ids(answer)
        return cut
    pieces: list[bytes] = []
    at = begin = 0
    while (begin := answer.find(_IDS, begin)) >= 0:
        named, begin = answer[max(0, begin - 8) : begin], begin + len(_IDS)
        if not named.endswith((b'"', b'"prompt_')) or answer.startswith(b"null", begin):
            continue
        end = answer.find(b"]", begin) + 1
        if not end or not answer.startswith(b"[", begin) or answer[begin + 1 : end - 1].strip(_DIGITS):
            return None
        pieces += (answer[at:begin], b"null")
        at = begin = end
    return b"".join((*pieces, answer[at:]))


@dataclass(frozen=True, slots=True)
class Renaming:
    """A stream's events in which only the model's name changes."""

    head: bytes
    """How each event begins, up to the model's name."""
    renamed: bytes
    """The same with the public name."""

    @classmethod
    def learn(cls, event: bytes, message: dict[str, Any], model: str) -> Self | None:
        """From an event and what it holds; None when it is laid out otherwise."""
        if "model" not in message or "choices" not in message:
            return None
        head, renamed = _head(message, "model", message["model"]), _head(message, "model", model)
        return cls(head, renamed) if event.startswith(head + b",") else None

    def take_all(self, parts: list[bytes], at: int, out: list[bytes]) -> int:
        """As ``take``, of pieces that hold whole events, from ``at`` on; gives the first that does not."""
        if _COMPILED is not None:
            return int(_COMPILED.renamed_all(self.head, self.renamed, parts, at, out))
        return _take_all(self, parts, at, out)

    def take(self, data: bytes, at: int, out: list[bytes]) -> int:
        """Append to ``out`` the events from ``at`` on that finish no choice; gives where it stopped."""
        if _COMPILED is not None:
            return int(_COMPILED.renamed(self.head, self.renamed, data, at, out))
        head, renamed, skip = self.head, self.renamed, len(self.head)
        find = data.find
        while data.startswith(head, at):
            begin = at + skip
            end = find(b"\n", begin) + 2
            if end < 2 or data[end - 1 : end] != b"\n" or find(_UNFINISHED, begin, end) < 0:
                break
            if find(_FINISHED, begin, end) >= 0:
                break
            out.append(renamed)
            out.append(data[begin:end])
            at = end
        return at


@dataclass(frozen=True, slots=True)
class Cut:
    """A stream's events that carry one choice's next tokens, and what of them goes."""

    head: bytes
    """How each event begins, up to its choice's index."""
    renamed: bytes
    """The same with the public name."""
    tail: bytes
    """How the logprobs end and what follows them, up to the ids."""
    kept: bytes
    """What stands in the place of logprobs and tail."""

    @classmethod
    def learn(cls, event: bytes, message: dict[str, Any], model: str, cleaned: dict[str, Any]) -> Self | None:
        """From an event, what it holds, and that cleaned; None when it is laid out otherwise."""
        found = _TAIL.search(event)
        if found is None or "model" not in message:
            return None
        opening = b',"choices":[{"index":'
        made = cls(
            _head(message, "choices", message["model"]) + opening,
            _head(message, "choices", model) + opening,
            b"]}" + found[1] + b"[",
            b',"logprobs":null' + found[1] + b"null}]}\n\n",
        )
        out: list[bytes] = []
        if made.take(event, 0, out, keeps_empty=True) != len(event) or not out:
            return None
        return made if orjson.loads(b"".join(out)[len(b"data: ") :]) == cleaned else None

    def take_all(self, parts: list[bytes], at: int, out: list[bytes]) -> int:
        """As ``take``, of pieces that hold whole events, from ``at`` on; gives the first that does not."""
        if _COMPILED is not None:
            fields = self.head, self.renamed, self.tail, self.kept
            return int(_COMPILED.take_all(*fields, parts, at, out))
        return _take_all(self, parts, at, out)

    def take(self, data: bytes, at: int, out: list[bytes], *, keeps_empty: bool = False) -> int:
        """Append to ``out`` what stays of the events from ``at`` on; gives where it stopped.

        An event whose delta is empty only carried its tokens, and goes.
        """
        if _COMPILED is not None:
            fields = self.head, self.renamed, self.tail, self.kept
            return int(_COMPILED.take(*fields, data, at, out, keeps_empty))
        head, renamed, skip, tail, kept = self.head, self.renamed, len(self.head), self.tail, self.kept
        find, rfind, begins, tail_length = data.find, data.rfind, data.startswith, len(self.tail)
        while begins(head, at):
            begin = at + skip
            end = find(b"\n", begin)
            logprobs = find(_LOGPROBS, begin, end)
            # Before the logprobs no brace is open but the choice's own: at most the delta's, closed again.
            if end < 0 or logprobs < 0 or data.count(b"{", begin, logprobs) != (data[logprobs - 1] == _BRACE):
                break
            after = rfind(tail, logprobs, end)
            # As ``_end``, which is asked only where it must be.
            if (
                after < 0 or rfind(_NEXT, logprobs, after) >= 0 or find(_RARE, logprobs, after) >= 0
            ) and not begins(tail, after := _end(data, logprobs, end)):
                break
            closing = find(b"]", after + tail_length, end)
            if closing + 4 != end or not begins(b"]}]}\n\n", closing):
                break
            if keeps_empty or not data.endswith(_EMPTY, begin, logprobs):
                out += (renamed, data[begin:logprobs], kept)
            at = end + 2
        return at


def _take_all(layout: Cut | Renaming, parts: list[bytes], at: int, out: list[bytes]) -> int:
    while at < len(parts):
        before = len(out)
        if b"\r" in parts[at] or layout.take(parts[at], 0, out) != len(parts[at]):
            del out[before:]
            break
        at += 1
    return at


def _head(message: dict[str, Any], name: str, model: str) -> bytes:
    """How an event with this message begins: with what comes before ``name``, or up to it for the model."""
    first: dict[str, Any] = {}
    for key, value in message.items():
        if key == name and name != "model":
            break
        first[key] = model if key == "model" else value
        if key == name:
            break
    return b"data: " + orjson.dumps(first)[:-1]
