"""Check questions as a file: questions, a model's answers to them, and what is known to be right.

Knows how a file's lines are read, what each must hold, and how they come into a queue: all of them, or none.
They are no traffic, so they count in no estimate and come into no dataset (``Item.uploaded``). What a check
question is, is in annotations.golds.
"""

import csv
import io
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from annotations import export, judging, questions, verdicts
from annotations.judging import Judgement, NotTaken
from annotations.models import Annotation, Gold, Item, Queue
from annotations.questions import COMPARED, MAIN, VERDICTS, Kind

LONGEST = 8 << 20
MOST = 2000
MOST_TOLD = 20
FIELDS = ("asked", "messages", "model_answer", "other_answer", "decision", "answer", "note", "tools")
"""The names of the export of annotations, where it has them; its other ones are passed over."""
_PASSED_OVER = set(export.FIELDS)
_LONGEST_TEXT = 20_000
_NO_TEXT = re.compile(r"\x00|\\u0000|[\ud800-\udfff]")
"""What no database takes: zero characters, and halves of one."""
_PAIR = ("first", "second", "equal", "neither")
_SAID = {"approved": "approve", "rejected": "reject", "corrected": "correct"}
_NONE_YET = "This file holds no check question: write one a line."
_NO_KIND = "Only answers that can be compared can be check questions: words and marks can’t."


class NotGold(ValueError):  # noqa: N818 - it is told to a person
    """Why a file was not taken, a sentence for each problem, which name its line."""

    def __init__(self, *problems: str) -> None:
        super().__init__(" ".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True, slots=True)
class Known:
    """A line of the file: an item that is not stored, what is known to be right, and a word on why."""

    item: Item
    said: Annotation
    note: str


def load(queue: Queue, content: bytes) -> list[Known]:
    """What a file holds, JSONL or CSV with a head. Raises NotGold, which tells all that is wrong, up to
    MOST_TOLD lines.
    """
    if queue.kind not in COMPARED:
        raise NotGold(_NO_KIND)
    if len(content) > LONGEST:
        raise NotGold(f"This file is larger than {LONGEST >> 20} MiB: upload it in parts.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise NotGold(f"Line {line}: this is not UTF-8 text. Save the file as UTF-8.") from error
    lines = _objects(text) if text.lstrip()[:1] in ("{", "[") else _table(text)
    known, problems, seen = list[Known](), list[str](), dict[uuid.UUID, int]()
    for number, row in lines:
        made = row if isinstance(row, NotGold) else _known(queue, row)
        if isinstance(made, NotGold):
            problems += [f"Line {number}: {told}" for told in made.problems]
        elif (before := seen.setdefault(made.item.exchange_id, number)) != number:
            problems.append(f"Line {number}: this asks and answers the same as line {before}.")
        else:
            known.append(made)
        if len(problems) >= MOST_TOLD or len(known) > MOST:
            break
    if len(known) > MOST:
        problems.append(f"This file holds more than {MOST:,} check questions: upload it in parts.")
    if problems:
        raise NotGold(*problems[:MOST_TOLD])
    if not known:
        raise NotGold(_NONE_YET)
    return known


def _objects(text: str) -> Iterator[tuple[int, dict[str, Any] | NotGold]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, NotGold(f"this is no JSON, column {error.colno}: {error.msg}.")
        except RecursionError:
            yield number, NotGold("this is nested too deep.")
        else:
            alone = 'one object a line is read, such as {"asked": …}.'
            yield number, found if isinstance(found, dict) else NotGold(alone)


def _table(text: str) -> Iterator[tuple[int, dict[str, Any] | NotGold]]:
    reader, before = csv.reader(io.StringIO(text, newline=""), strict=True), 0
    head: list[str] = []
    try:
        for cells in reader:
            number, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if not head:
                head = [cell.strip() for cell in cells]
                if "model_answer" not in head or "asked" not in head:
                    yield number, NotGold("the first line names the columns: asked, model_answer, answer …")
                    return
            elif len(cells) != len(head):
                yield number, NotGold(f"{len(cells)} cells stand under {len(head)} columns.")
            else:
                yield number, {name: _cell(cell) for name, cell in zip(head, cells, strict=True) if cell}
    except csv.Error as error:
        yield before + 1, NotGold(f"this is no CSV: {error}.")


def _cell(cell: str) -> str:
    """Without the apostrophe that our own export puts before what a spreadsheet would run."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(export.FORMULA) else cell


def _known(queue: Queue, row: dict[str, Any]) -> Known | NotGold:
    try:
        if odd := sorted(set(row) - set(FIELDS) - _PASSED_OVER):
            raise NotGold(f"“{odd[0]}” is no name here. There are: {', '.join(FIELDS)}.")
        texts = {
            name: _text(row, name) for name in ("asked", "model_answer", "other_answer", "decision", "note")
        }
        item = _item(queue, row, texts)
        said = _said(queue, item, row.get("answer"), texts["decision"])
        judging.check(item, said)
        values = _values(queue, item, said)
    except NotGold as told:
        return told
    except NotTaken as told:
        return NotGold(
            f"{'answer' if told.field.startswith(questions.FIELD) else told.field}: {told.message}"
        )
    return Known(item, Annotation(decision=said.decision, answer=said.answer, values=values), texts["note"])


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise NotGold(f"{name}: this is no text.")
    if len(value) > _LONGEST_TEXT:
        raise NotGold(f"{name}: that is longer than {_LONGEST_TEXT:,} characters.")
    if _NO_TEXT.search(value):
        raise NotGold(f"{name}: this holds characters that are none.")
    return value


def _item(queue: Queue, row: dict[str, Any], texts: dict[str, str]) -> Item:
    messages = row.get("messages") or [{"role": "user", "content": texts["asked"]}]
    if not isinstance(messages, list) or not all(isinstance(one, dict) and "role" in one for one in messages):
        raise NotGold("messages: write a list of {role, content}.")
    if not texts["asked"].strip() and not row.get("messages"):
        raise NotGold("asked: write what was asked.")
    if not texts["model_answer"].strip():
        raise NotGold("model_answer: write what the model answered, right or wrong.")
    if queue.kind == Kind.PAIR and not texts["other_answer"].strip():
        raise NotGold("other_answer: two answers are compared here.")
    try:
        content = json.dumps([messages, texts["model_answer"], texts["other_answer"]], ensure_ascii=False)
    except RecursionError as error:
        raise NotGold("messages: this is nested too deep.") from error
    if _NO_TEXT.search(content):
        raise NotGold("messages: this holds characters that are none.")
    tools = row.get("tools") or []
    if not isinstance(tools, list):
        raise NotGold("tools: write a list, as the request has it.")
    return Item(
        queue=queue,
        # The same line again is the same check question.
        exchange_id=uuid.uuid5(uuid.NAMESPACE_OID, f"flywheel.check.{queue.key}.{content}"),
        started_at=timezone.now(),
        messages=messages,
        answer=texts["model_answer"],
        other_answer=texts["other_answer"] if queue.kind == Kind.PAIR else "",
        tools=tools if queue.kind == Kind.TOOL_CALL else None,
        uploaded=True,
    )


def _said(queue: Queue, item: Item, answer: Any, decision: str) -> Judgement:
    """What is known, as a reviewer would say it. Without a decision the answer says which it is."""
    if queue.kind not in VERDICTS:
        return Judgement("answer", given={MAIN: _given(answer, several=queue.kind == Kind.CHOICES)})
    right = _text({"answer": answer}, "answer")
    same = right.strip() == item.answer.strip()
    decision = _SAID.get(decision, decision) or ("approve" if same else "correct" if right.strip() else "")
    if not decision:
        raise NotGold("answer: write the right answer, or a decision: approve, reject.")
    if decision in ("cant_judge", "flag"):
        raise NotGold("decision: nobody knows an answer that can’t be judged.")
    if decision == "approve" and right.strip() and not same:
        raise NotGold("decision: this approves the model’s answer, and the right answer is another.")
    return Judgement(decision, right if decision == "correct" else "")


def _given(answer: Any, *, several: bool) -> list[str]:
    """A choice as it is written; several as a list, or in CSV with semicolons between."""
    if isinstance(answer, list):
        return [str(one) for one in answer]
    written = str(answer or "")
    return [part.strip() for part in (written.split(";") if several else [written])]


def _values(queue: Queue, item: Item, said: Judgement) -> dict[str, Any]:
    if queue.kind in VERDICTS:
        return {}
    given = said.given[MAIN]
    if queue.kind == Kind.PAIR:
        if given[0] not in _PAIR:
            raise NotGold(f"answer: write one of {', '.join(_PAIR)}.")
        return {MAIN: given[0]}
    try:
        return {MAIN: questions.read(queue.lead, given, item.answer)}
    except questions.Unfit as unfit:
        raise NotGold(f"answer: {unfit}") from unfit


@dataclass(frozen=True, slots=True)
class Added:
    """How many check questions came, and of how many the known answer was there already or is another now."""

    new: int
    known: int


def add(queue: Queue, known: list[Known], lead: User) -> Added:
    """Bring a file's check questions into the queue. What was flagged as personal data stays out of it."""
    new = 0
    with transaction.atomic():
        for one in known:
            item, made = Item.objects.get_or_create(
                queue=queue,
                exchange_id=one.item.exchange_id,
                attempt=0,
                defaults={
                    "state": Item.State.SETTLED,
                    **{
                        name: getattr(one.item, name)
                        for name in (
                            *("started_at", "messages", "answer", "cut", "other_answer", "other_cut"),
                            *("tools", "uploaded"),
                        )
                    },
                },
            )
            item.queue = queue
            verdicts.lock(item)
            _write(item, one, lead)
            new += made
    return Added(new, len(known) - new)


def _write(item: Item, one: Known, lead: User) -> None:
    rule = f"known, uploaded by {lead.get_full_name() or lead.username}"[:100]
    said = {"decision": one.said.decision, "answer": one.said.answer, "values": one.said.values}
    more = {"rule": rule, "note": one.note, "made_by": lead, "ended_at": None}
    Gold.objects.update_or_create(item=item, defaults=said | more)
    verdicts.settle(item)  # what is flagged stays so
