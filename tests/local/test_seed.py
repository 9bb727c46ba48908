"""What the demonstration starts with, made once and left alone after."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from annotations.models import Queue
from flywheel.local import coding, seed
from flywheel.local.home import Home
from inference.models import ApiKey, ModelVersion, Route, Upstream, hash_key

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture
def home(tmp_path: Path, settings: Settings) -> Home:
    """With a model whose files are tiny."""
    settings.ARTEFACTS = str(tmp_path / "artefacts")
    found = Home.open({"FLYWHEEL_HOME": str(tmp_path)})
    model = found.models / "smollm2-135m"
    model.mkdir()
    (model / "tokenizer.json").write_text("{}")
    (model / "flywheel-model.json").write_text(json.dumps({"weights_sha256": "ab" * 32}))
    return found


def test_two_people_one_engine_one_route_and_one_queue(home: Home) -> None:
    passwords = seed.plant(home)
    assert set(passwords) == {"admin", "coder"}
    admin, coder = User.objects.get(username="admin"), User.objects.get(username="coder")
    assert admin.check_password(passwords["admin"])
    assert admin.is_staff
    assert not coder.is_staff
    version = ModelVersion.objects.get()
    assert (version.name, version.weights) == ("smollm2-135m", "ab" * 32)
    assert [target.model_version for target in Route.objects.get(name="icd-chapter").targets.all()] == [
        version
    ]
    queue = Queue.objects.get()
    assert queue.answers == list(coding.LABELS.values())
    assert coder in queue.reviewers.all()


def test_the_keys_of_the_product_and_of_evaluations_work(home: Home) -> None:
    seed.plant(home)
    product = ApiKey.objects.get(hash=hash_key(home.secrets["product_key"]))
    evaluations = ApiKey.objects.get(hash=hash_key(home.secrets["evaluation_key"]))
    assert not product.may_call_versions
    assert evaluations.may_call_versions


def test_again_it_changes_nothing_but_where_the_engine_is(home: Home) -> None:
    seed.plant(home)
    target = Route.objects.get().targets.get()
    target.weight = 40
    target.save()
    moved = Home(home.root, {**home.ports, "engine": 9009}, home.secrets)
    assert seed.plant(moved) == {}
    assert Route.objects.get().targets.get().weight == 40
    assert Upstream.objects.get().base_url == "http://127.0.0.1:9009"
    assert (User.objects.count(), Queue.objects.count(), ApiKey.objects.count()) == (3, 1, 2)


def test_the_tokenizer_is_kept_for_the_pages(home: Home, tmp_path: Path) -> None:
    seed.plant(home)
    kept = tmp_path / "artefacts" / "tokenizers" / f"{ModelVersion.objects.get().tokenizer}.json"
    assert kept.read_text() == "{}"


def test_nobody_can_sign_in_as_the_reference_reviewer(home: Home) -> None:
    seed.plant(home)
    reference = User.objects.get(username=seed.REFERENCE)
    assert not reference.has_usable_password()
    assert seed.REFERENCE not in seed.links(home)


def test_a_link_signs_its_person_in_once(home: Home, client: Client) -> None:
    seed.plant(home)
    path = seed.links(home)["coder"].removeprefix(home.web_url)
    assert client.get(path).status_code == 302
    assert client.session["_auth_user_id"] == str(User.objects.get(username="coder").pk)
    assert Client().get(path).status_code == 410


class _Models(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"data": [{"id": "their-model"}]}).encode()
        self.send_response(200 if self.path == "/v1/models" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Models) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_engine_elsewhere_says_what_it_serves(home: Home, elsewhere: str) -> None:
    seed.plant(Home(home.root, home.ports, home.secrets, elsewhere))
    version = ModelVersion.objects.get()
    assert version.name == "their-model"
    assert version.tokenizer == ""
    assert Upstream.objects.get().base_url == elsewhere


def test_an_engine_that_is_not_there_is_named(home: Home, elsewhere: str) -> None:
    with pytest.raises(OSError, match=r"127\.0\.0\.1:1/v1/models"):
        seed.plant(Home(home.root, home.ports, home.secrets, "http://127.0.0.1:1"))
    assert not User.objects.exists()
