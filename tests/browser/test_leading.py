"""A lead's pages with sides to choose from, check questions and people, in Chromium: nothing is cut off."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import FilePayload, Page, expect

from annotations import access, gold_file, judging, leases, people
from annotations.judging import Judgement
from annotations.models import Gold, Queue
from tests.annotations.conftest import MakeQueue, alice, bob, carol, make_queue, person
from tests.annotations.test_gold_file import RASH, WHEEZE, jsonl
from tests.browser.conftest import Visit
from tests.browser.test_axe import found

__all__ = ["alice", "bob", "carol", "make_queue"]  # fixtures
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
LONG = "Shortness of breath and ankle oedema, known heart failure, weight +3 kg over a week, furosemide twice"


@pytest.fixture
def queue(make_queue: MakeQueue, alice: User, bob: User, carol: User) -> Queue:
    """Three judged differently by two; check questions; people with long names, one from outside."""
    made = make_queue(12, judgements_per_item=2, gold_every=5, name="ICD-10 chapters, discharge letters")
    for item in made.items.all():
        item.messages[-1]["content"] = LONG
        item.save()
    said = {alice: Judgement("correct", "Circulatory", note=LONG), bob: Judgement("approve")}
    for somebody, what in said.items():
        for place in leases.reserve(made, somebody, 10):
            judging.judge(place.item, somebody, place.key, what, seconds=4.0)
    gold_file.add(made, gold_file.load(made, jsonl(WHEEZE | {"asked": LONG}, RASH)), carol)
    made.reviewers.add(outsider := person("oscar.from-a-very-far-outside"))
    access.set_outside(outsider, outside=True)
    people.give(made, person("lena.the-lead"), "lead", carol)
    people.invite(made, carol, "reviewer", 7, "Dr. Nakamura, Kyoto", outside=True)
    return made


def test_nothing_scrolls_sideways_and_axe_finds_nothing(
    visit: Visit, queue: Queue, carol: User, sideways: Callable[[Page], int]
) -> None:
    page = visit(queue.get_absolute_url(), carol, width=320, height=640)
    here, seen = page.url, []
    for name in ("", "conflicts/", "agreement/", "people/", "checks/", "settings/"):
        page.goto(here + name)
        assert sideways(page) == 0, name
        seen += found(page)
    assert seen == []


def test_a_side_is_taken_by_keyboard_alone(visit: Visit, queue: Queue, carol: User) -> None:
    page = visit(f"{queue.get_absolute_url()}conflicts/", carol)
    page.get_by_label("Why").focus()
    page.keyboard.type("Guideline 3")
    page.keyboard.press("Tab")  # who said it
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_contain_text("This is right")
    page.keyboard.press("Enter")
    expect(page.locator("body")).to_contain_text("is decided.")
    assert queue.items.filter(verdict_rule="adjudicated by carol", state="settled").count() == 1


def test_a_file_that_is_refused_is_told_beside_the_field(visit: Visit, queue: Queue, carol: User) -> None:
    page = visit(f"{queue.get_absolute_url()}checks/", carol)
    before = Gold.objects.count()
    for content, words in (
        (jsonl(RASH | {"asked": "new"}, WHEEZE | {"answer": "Moon"}), "Line 2: answer: “Moon”"),
        (jsonl(RASH | {"asked": "new"}), ""),
    ):
        upload: FilePayload = {"name": "gold.jsonl", "mimeType": "application/jsonl", "buffer": content}
        page.set_input_files("#checks-file", files=[upload])
        page.get_by_role("button", name="Add them").click()
        if words:
            expect(page.locator("#checks-wrong")).to_contain_text(words)
            expect(page.locator("#checks-file")).to_have_attribute("aria-invalid", "true")
            assert Gold.objects.count() == before
    expect(page.locator("body")).to_contain_text("1 check question added.")
    assert Gold.objects.count() == before + 1
