"""A proxy's settings from the environment: one line and an exit code for what is none."""

from pathlib import Path

import pytest

from inference import proxy
from inference.proxy import Settings


@pytest.mark.parametrize("given", ["soon", "", "0", "-1", "nan", "inf"])
@pytest.mark.parametrize(
    "name", ["FLYWHEEL_UPLOAD_SECONDS", "FLYWHEEL_BODY_LIMIT", "FLYWHEEL_ENGINE_SILENCE"]
)
def test_what_is_no_number_ends_the_start_with_one_line(
    name: str,
    given: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path))
    monkeypatch.setenv(name, given)
    monkeypatch.setattr("sys.argv", ["proxy"])
    monkeypatch.setattr("inference.memory.give_back", lambda: None)
    assert proxy.main() == 2
    assert capsys.readouterr().err == f"proxy: {name} is no number above zero: {given!r}\n"


def test_a_bad_key_of_the_spool_ends_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path))
    monkeypatch.setenv("FLYWHEEL_SPOOL_KEY", "hunter2")
    monkeypatch.setattr("sys.argv", ["proxy"])
    monkeypatch.setattr("inference.memory.give_back", lambda: None)
    monkeypatch.setattr("inference.proxy.Proxy", None)  # none is made
    assert proxy.main() == 2
    said = "a key of FLYWHEEL_SPOOL_KEY or FLYWHEEL_SPOOL_KEY_FILE is not 64 hexadecimal digits"
    assert capsys.readouterr().err == f"proxy: {said}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("compiled", "said"), [(True, "compiled"), (False, "interpreted")])
def test_the_first_line_says_whether_the_hot_path_is_compiled(
    *, compiled: bool, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["proxy"])
    monkeypatch.setattr("inference.memory.give_back", lambda: None)
    monkeypatch.setattr("inference.proxy.IS_COMPILED", compiled)
    monkeypatch.setattr("inference.proxy.Proxy", lambda _: None)
    monkeypatch.setattr("inference.proxy._serve", lambda *_, **__: None)
    monkeypatch.setattr("uvloop.run", lambda _: None)
    with caplog.at_level("INFO"):
        assert proxy.main() == 0
    assert caplog.messages == [f"the hot path is {said}"]


def test_numbers_are_read_and_no_health_checks_are_a_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_HEALTH_SECONDS", "0")
    monkeypatch.setenv("FLYWHEEL_STALLED_SECONDS", "2.5")
    found = Settings.from_environment("one")
    assert (found.health_seconds, found.limits.stalled_seconds) == (0, 2.5)
    assert (found.limits.upload_seconds, found.body_limit, found.spool_limit) == (60, 32 << 20, 20 << 30)
