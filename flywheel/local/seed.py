"""What a fresh demonstration starts with: people, keys, one engine, one model, one route, one queue.

`manage.py seed` calls it. Running it again changes nothing that exists, except the engine's address, which
may differ from start to start.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from annotations.models import Queue
from flywheel import signin
from flywheel.local import coding
from flywheel.local.engine import BASE_MODEL
from flywheel.local.home import Home
from flywheel.local.model import RECIPE
from inference.models import ApiKey, ModelVersion, Route, RouteTarget, Upstream, hash_key

QUEUE = "icd-chapters"
OPERATOR = "admin"
REVIEWER = "coder"
UPSTREAM = "engine"
REFERENCE = "reference-reviewer"
"""Judges by the tabular list; can't sign in."""

GUIDELINES = """\
The right answer is the phrase’s chapter in ICD-10-CM 2026 and nothing else.

- A *sign* without a diagnosis: **Symptoms** (R).
- Pregnancy and childbirth: **Pregnancy** (O). The first 28 days of life: **Perinatal** (P).
- A malformation from birth, also in an adult: **Congenital** (Q).
- What happened to the body: **Injury** (S, T). How it came about: **External causes** (V to Y).
- Histories, statuses and screenings: **Health factors** (Z).
"""


def plant(home: Home) -> dict[str, str]:
    """Make what is missing; returns the passwords of people made now. Raises OSError when the engine that
    the environment names can't say which model it serves."""
    served = _served_name(home.upstream) if home.upstream else BASE_MODEL
    with transaction.atomic():
        passwords = _people()
        _serving(home, served)
        _queue()
    return passwords


def links(home: Home) -> dict[str, str]:
    """Name to a whole address that signs that person in once, within 15 minutes, from this machine."""
    people = User.objects.filter(username__in=(OPERATOR, REVIEWER))
    return {user.username: home.web_url + signin.make_link(user) for user in people}


def _people() -> dict[str, str]:
    passwords = {}
    for name, called, staff in ((OPERATOR, "Olga", True), (REVIEWER, "", False)):
        user, new = User.objects.get_or_create(
            username=name, defaults={"is_staff": staff, "is_superuser": staff, "first_name": called}
        )
        if new:
            passwords[name] = secrets.token_urlsafe(12)
            user.set_password(passwords[name])
            user.save()
    reference, new = User.objects.get_or_create(
        username=REFERENCE, defaults={"first_name": "Reference reviewer"}
    )
    if new:
        reference.set_unusable_password()
        reference.save()
    return passwords


def _serving(home: Home, served: str) -> None:
    # Through an adapter, a prompt's logprobs end the CPU engine.
    defaults = {"base_url": home.engine_url, "prompt_logprobs": False}
    upstream, _ = Upstream.objects.update_or_create(name=UPSTREAM, defaults=defaults)
    version = ModelVersion.objects.filter(name=served).first()
    if version is None:
        folder = home.models / served
        weights, tokenizer = _hashes(folder, home.upstream, served)
        version = ModelVersion.objects.create(
            name=served,
            kind=ModelVersion.Kind.BASE,
            weights=weights,
            tokenizer=tokenizer,
            path=str(folder) if folder.is_dir() else "",
        )
        if tokenizer:
            _keep_tokenizer(folder, tokenizer)
    version.upstreams.add(upstream)
    route, new = Route.objects.get_or_create(
        name=coding.ROUTE, defaults={"description": "The coding desk: a phrase in, its ICD-10-CM chapter out"}
    )
    if new:
        RouteTarget.objects.create(route=route, model_version=version, weight=100)
    for name, secret, versions in (
        ("coding desk (demonstration)", home.secrets["product_key"], False),
        ("evaluations", home.secrets["evaluation_key"], True),
    ):
        ApiKey.objects.update_or_create(
            name=name,
            defaults={
                "prefix": secret[:8],
                "hash": hash_key(secret),
                "every_route": True,
                "may_call_versions": versions,
            },
        )


def _keep_tokenizer(folder: Path, sha256: str) -> None:
    """Where pages look for the vocabulary that turns token ids into text."""
    kept = Path(settings.ARTEFACTS) / "tokenizers" / f"{sha256}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")
        shutil.copyfile(folder / "tokenizer.json", part)
        part.replace(kept)


def _hashes(folder: Path, upstream: str, served: str) -> tuple[str, str]:
    """(weights, tokenizer): SHA-256 of our files. Of an engine elsewhere only its name is known: the weights'
    place is taken by a hash of address and name, and its tokenizer stays unknown."""
    recipe = folder / RECIPE
    if not recipe.is_file():
        return hashlib.sha256(f"{upstream}/{served}".encode()).hexdigest(), ""
    weights: str = json.loads(recipe.read_text(encoding="utf-8"))["weights_sha256"]
    return weights, hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()


def _queue() -> None:
    operator = User.objects.get(username=OPERATOR)
    queue, new = Queue.objects.get_or_create(
        slug=QUEUE,
        defaults={
            "name": "ICD-10-CM chapters",
            "filter": f"route:{coding.ROUTE}",
            "answers": list(coding.LABELS.values()),
            "hints": {label: coding.CODES[number] for number, label in coding.LABELS.items()},
            "question": "Is this the right chapter?",
            "reasons": ["Wrong chapter", "Not a chapter", "Question is not clinical"],
            "guidelines": GUIDELINES,
            "created_by": operator,
        },
    )
    if new:
        queue.reviewers.set(User.objects.filter(username__in=(OPERATOR, REVIEWER, REFERENCE)))


def _served_name(upstream: str) -> str:
    """The first model that an engine elsewhere says it serves."""
    try:
        with urllib.request.urlopen(f"{upstream}/v1/models", timeout=10) as answer:  # noqa: S310
            models = json.load(answer)["data"]
        return str(models[0]["id"])
    except (urllib.error.URLError, ValueError, LookupError, TypeError) as error:
        raise OSError(f"{upstream}/v1/models does not answer with a list of models: {error}") from error
