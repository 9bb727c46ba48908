"""The documentation is tested against the code: every setting, command and page must be in it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
CODE = [p for room in ("flywheel", "inference", "annotations") for p in (ROOT / room).rglob("*.py")]


def text_of(paths: list[Path]) -> str:
    return "\n".join(p.read_text() for p in paths)


def test_every_setting_is_documented_and_every_documented_setting_exists() -> None:
    pattern = re.compile(r"\bFLYWHEEL_[A-Z_]+[A-Z]\b")
    used, documented = set(pattern.findall(text_of(CODE))), set(pattern.findall(text_of(DOCS)))
    assert used - documented == set(), "add these to docs/operate.md"
    makefile = set(pattern.findall((ROOT / "Makefile").read_text()))
    assert documented - used - makefile == set(), "these no longer exist"


def test_every_management_command_is_documented() -> None:
    commands = {p.stem for p in ROOT.glob("*/management/commands/*.py") if not p.stem.startswith("_")}
    documented = set(re.findall(r"manage\.py (\w+)", text_of(DOCS)))
    assert commands - documented == set()


def test_every_make_target_is_documented() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documented = set(re.findall(r"(?:^|`|`UPSTREAM=\S+ )make ([a-z][a-z-]+)", text_of(DOCS), re.MULTILINE))
    assert targets - documented == set()
    assert {d for d in documented if d not in targets} == set()


@pytest.mark.parametrize("page", DOCS, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} → {target}"
