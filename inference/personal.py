"""Finding personal data in text: what kind it is and where it stands. Pure.

A rule has a form and, where the number has one, a check: Luhn for cards, modulo 97 for IBANs, a numbering
plan for phones (libphonenumber), each national id's own. A form that ordinary numbers share counts only
beside a word that names it, or in its usual groups. What a text costs is bounded: forms have a longest
length, and past ``MOST`` candidates each one counts unchecked. Names and addresses are not known here: a
recogniser can be plugged in (``Recogniser``; Presidio by ``presidio``).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import phonenumbers
from stdnum import iban, luhn
from stdnum.br import cpf
from stdnum.ca import sin
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel

MOST = 2_000
"""Candidates that are checked in one text; further ones are taken for what they look like."""
REGIONS = ("US", "GB", "DE")
"""Whose phone numbers are known without their country's code."""
_NEAR = 40
"""Characters before a number in which a word may name it."""


@dataclass(frozen=True, slots=True)
class Found:
    """One find: ``text[start:end]``."""

    kind: str
    start: int
    end: int


Recogniser = Callable[[str], Iterable[Found]]
"""What finds more than the rules here: names, addresses. May be slow; may not raise."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A form, its check, and the word that must stand before it where the form alone says too little."""

    kind: str
    form: re.Pattern[str]
    holds: Callable[[str], bool]
    named: re.Pattern[str] | None = None


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w+]){pattern}(?!\w)", re.ASCII)


def _word(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return digits[0] in "23456" and len(set(digits)) > 1 and bool(luhn.is_valid(digits))


def _is_iban(text: str) -> bool:
    """By length and modulo 97: a country's own check knows its banks, which change."""
    return bool(iban.is_valid(text, check_country=False))


def _is_ssn(text: str) -> bool:
    """By the rules alone: a number that was made invalid for being printed in a purse may be somebody's."""
    digits = re.sub(r"\D", "", text)
    return (
        digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"
    )


def _always(_: str) -> bool:
    return True


_TAX = _word(r"steuer|idnr|id-nr|tax|tin\b")
RULES = (
    Rule(
        "iban",
        _form(r"[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?"),
        _is_iban,
    ),
    Rule("card", _form(r"\d{4}([ .-]?)\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?"), _is_card),
    Rule("card", _form(r"\d{4}([ -]?)\d{6}\1\d{4,5}"), _is_card),
    Rule("card", _form(r"(?:4\d{12}|\d{14,19})"), _is_card),
    Rule("us_ssn", _form(r"\d{3}([ -])\d{2}\1\d{4}"), _is_ssn),
    Rule("us_ssn", _form(r"\d{9}"), _is_ssn, _word(r"\bssn\b|social security")),
    Rule("uk_nhs", _form(r"\d{3}([ -])\d{3}\1\d{4}"), nhs.is_valid),
    Rule("uk_nhs", _form(r"\d{10}"), nhs.is_valid, _word(r"\bnhs\b")),
    Rule(
        "uk_nino",
        _form(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]( ?)\d{2}\1\d{2}\1\d{2}\1[A-D]"),
        _always,
    ),
    Rule("de_tax_id", _form(r"\d{2} \d{3} \d{3} \d{3}"), idnr.is_valid),
    Rule("de_tax_id", _form(r"\d{11}"), idnr.is_valid, _TAX),
    Rule("fr_nir", _form(r"[12]( ?)\d{2}\1\d{2}\1\d[0-9AB]\1\d{3}\1\d{3}\1\d{2}"), nir.is_valid),
    Rule("es_id", _form(r"\d{8}-?[A-Za-z]"), dni.is_valid),
    Rule("es_id", _form(r"[XYZxyz]-?\d{7}-?[A-Za-z]"), nie.is_valid),
    Rule("it_tax_id", _form(r"[A-Za-z]{6}\d{2}[A-Za-z]\d{2}[A-Za-z]\d{3}[A-Za-z]"), codicefiscale.is_valid),
    Rule("nl_bsn", _form(r"\d{9}"), bsn.is_valid, _word(r"\bbsn\b|burgerservice")),
    Rule("pl_pesel", _form(r"\d{11}"), pesel.is_valid, _word(r"\bpesel\b")),
    Rule("br_cpf", _form(r"\d{3}\.\d{3}\.\d{3}-\d{2}"), cpf.is_valid),
    Rule("in_aadhaar", _form(r"\d{4}([ -])\d{4}\1\d{4}"), aadhaar.is_valid),
    Rule("ca_sin", _form(r"\d{3}([ -])\d{3}\1\d{3}"), sin.is_valid),
)
_ANYWHERE = "ZZ"
_NANP = ("US", "CA")
_DIGIT = re.compile(r"\d")
_LOCAL = re.compile(r"[\w.%+'-]{1,64}\Z")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])")
_PHONE = re.compile(r"(?<![\w+.,/-])(?:\+|00)?[ ]?\(?\d(?:[ \-./()]{0,2}\d){6,15}(?![\w])", re.ASCII)
_CALLS = _word(r"phone|tel\b|tel[.:]|call|mobile|cell|fax|handy|ruf|reach|whatsapp|sms|text me|ring")
_NO_PHONE = re.compile(
    r"\(?(?:(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)\d\d"
    r"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])(?!\d{2})|(?:\d{1,3}\.){3}\d{1,3}(?!\d))",
    re.ASCII,
)


class Finder:
    """Finds what is personal in texts, by the rules and by recognisers that were plugged in."""

    def __init__(self, regions: Sequence[str] = REGIONS, recognisers: Sequence[Recogniser] = ()) -> None:
        self._regions, self._recognisers = tuple(regions), tuple(recognisers)

    def find(self, text: str) -> list[Found]:
        """Finds in their order, none across another: where two overlap, the longer one counts."""
        found = [*_emails(text)]
        if _DIGIT.search(text):
            found += self._numbers(text)
        for recognise in self._recognisers:
            found += recognise(text)
        return _apart(found)

    def _numbers(self, text: str) -> Iterator[Found]:
        left = MOST
        for rule in RULES:
            for match in rule.form.finditer(text):
                left -= 1
                if left < 0:
                    yield Found("number", match.start(), match.end())
                elif (end := _end(rule, match)) and _is_named(rule.named, text, match.start()):
                    yield Found(rule.kind, match.start(), end)
        for match in _PHONE.finditer(text):
            left -= 1
            if left < 0:
                yield Found("number", match.start(), match.end())
            elif end := self._phone(text, match):
                yield Found("phone", match.start(), end)

    def _phone(self, text: str, match: re.Match[str]) -> int:
        """Where a phone number that begins with the match ends; 0 when none does."""
        given = match[0]
        if _NO_PHONE.match(given):
            return 0
        is_named = _is_named(_CALLS, text, match.start())
        for piece in _beginnings(given):
            if any(_is_phone(piece, region) for region in self._plausible(piece, is_named)):
                return match.start() + len(piece)
        return 0

    def _plausible(self, given: str, is_named: bool) -> tuple[str, ...]:
        """The numbering plans by which this may be somebody's number. Nobody's word for it being one, it must
        look like it: a trunk prefix, or North America's ten digits in groups.
        """
        digits = re.sub(r"\D", "", given)
        if given.lstrip(" (").startswith(("+", "00")):
            return (_ANYWHERE,)
        if is_named:
            return self._regions
        if digits[0] == "0":
            return tuple(one for one in self._regions if one not in _NANP) if len(digits) >= 9 else ()
        is_grouped = len(given) > len(digits) and len(digits) in (10, 11)
        return tuple(one for one in self._regions if one in _NANP) if is_grouped else ()


def _is_phone(text: str, region: str) -> bool:
    given = text.lstrip(" (")
    given = "+" + given[2:] if region == _ANYWHERE and given.startswith("00") else given
    try:
        plan = None if region == _ANYWHERE else region
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(given, plan)))
    except phonenumbers.NumberParseException:
        return False


def _beginnings(text: str) -> Iterator[str]:
    """The text, then without its last groups: another number may stand right behind."""
    yield text
    for match in list(re.finditer(r"(?<=\w)[ \-./()]+(?=\w)", text))[:-5:-1]:
        yield text[: match.start()]


def _end(rule: Rule, match: re.Match[str]) -> int:
    """Where the number ends; 0 when it does not hold. Groups behind it may have been taken along."""
    for piece in _beginnings(match[0]) if rule.kind in ("iban", "card") else (match[0],):
        if rule.holds(piece):
            return match.start() + len(piece)
    return 0


def _is_named(word: re.Pattern[str] | None, text: str, start: int) -> bool:
    return word is None or word.search(text, max(0, start - _NEAR), start) is not None


def _emails(text: str) -> Iterator[Found]:
    """From each @ outwards, so that no long text is walked twice."""
    at = text.find("@")
    while at >= 0:
        local, domain = _LOCAL.search(text[max(0, at - 64) : at]), _DOMAIN.match(text, at + 1)
        if local and domain:
            yield Found("email", at - len(local[0].lstrip(".'-")), domain.end())
        at = text.find("@", at + 1)


def _apart(found: Iterable[Found]) -> list[Found]:
    kept: list[Found] = []
    for one in sorted(found, key=lambda one: (one.start - one.end, one.start)):
        at = bisect_left(kept, one.start, key=lambda other: other.start)
        before, after = kept[at - 1 : at] if at else [], kept[at : at + 1]
        if all(other.end <= one.start for other in before) and all(one.end <= other.start for other in after):
            kept.insert(at, one)
    return kept


def presidio(
    language: str, entities: Sequence[str] = ("PERSON", "LOCATION"), score: float = 0.5
) -> Recogniser:
    """Microsoft's Presidio as a recogniser. Raises ImportError where presidio-analyzer is not installed."""
    engine: Any = import_module("presidio_analyzer").AnalyzerEngine()

    def recognise(text: str) -> Iterator[Found]:
        for one in engine.analyze(text=text, language=language, entities=list(entities)):
            if one.score >= score:
                yield Found(one.entity_type.lower(), one.start, one.end)

    return recognise
