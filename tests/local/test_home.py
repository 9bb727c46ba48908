"""One machine's folder, ports and secrets."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flywheel.local.home import Home, HomeError


def home(root: Path, **environ: str) -> Home:
    return Home.open({"FLYWHEEL_HOME": str(root), **environ})


def test_secrets_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    first = home(tmp_path / "new").secrets
    path = tmp_path / "new" / "secrets.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert home(tmp_path / "new").secrets == first
    assert first["product_key"].startswith("fw-")
    assert len(set(first.values())) == len(first)


def test_who_begins_at_the_same_time_has_the_same_secrets(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            made = list(pool.map(lambda _: home(tmp_path / f"{number}").secrets, range(8)))  # noqa: B023
            assert all(one == made[0] for one in made)


def test_a_secret_of_a_later_version_joins_the_others(tmp_path: Path) -> None:
    old = dict(home(tmp_path).secrets)
    del old["redis_password"]
    (tmp_path / "secrets.json").write_text(json.dumps(old))
    assert home(tmp_path).secrets.items() > old.items()


def test_every_address_follows_its_port(tmp_path: Path) -> None:
    env = home(tmp_path, FLYWHEEL_WEB_PORT="9000", FLYWHEEL_CLICKHOUSE_PORT="9001").environment(
        {"PATH": "/bin"}
    )
    assert env["FLYWHEEL_WEB_URL"] == "http://127.0.0.1:9000"
    assert env["FLYWHEEL_CLICKHOUSE_URL"].endswith("@127.0.0.1:9001/flywheel")
    assert env["PATH"] == "/bin"


@pytest.mark.parametrize("port", ["eighty", "0", "65536", "-1"])
def test_a_port_that_is_none_is_named(tmp_path: Path, port: str) -> None:
    with pytest.raises(HomeError, match="FLYWHEEL_WEB_PORT"):
        home(tmp_path, FLYWHEEL_WEB_PORT=port)


def test_a_taken_port_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        here = home(tmp_path, **ports(free=other.getsockname()[1]))
        with pytest.raises(HomeError, match=r"proxy is taken.*FLYWHEEL_PROXY_PORT"):
            here.check_ports()


def ports(free: int) -> dict[str, str]:
    """Every port free but the proxy's."""
    found = {}
    for name in ("WEB", "CLICKHOUSE", "REDIS", "ENGINE"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            found[f"FLYWHEEL_{name}_PORT"] = str(probe.getsockname()[1])
    return {**found, "FLYWHEEL_PROXY_PORT": str(free)}


def test_one_supervisor_holds_a_home_and_tells_where_it_runs(tmp_path: Path) -> None:
    first = home(tmp_path, FLYWHEEL_WEB_PORT="9000")
    assert first.running() is None
    with first.held():
        other = home(tmp_path)
        running = other.running()
        assert running is not None
        assert running.web_url == "http://127.0.0.1:9000"
        with pytest.raises(HomeError, match="already runs"), other.held():
            pass
    assert home(tmp_path).running() is None


def test_an_engine_elsewhere_is_named_without_v1(tmp_path: Path) -> None:
    assert home(tmp_path, UPSTREAM="http://gpu:8000/v1/").engine_url == "http://gpu:8000"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="file"):
        home(tmp_path / "file" / "var")
