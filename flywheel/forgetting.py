"""Filters that name an erased user: queues', saved views', and the recipes of dataset versions.

A filter is a text that people typed, so a user's id may stand in it after all else of them is gone. The term
stays and asks for nobody: what a filter was narrowed by is still to be seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from django.db import models, transaction

from annotations.models import Queue
from flywheel import artefacts, datasets, jobs
from flywheel.models import DatasetVersion, Erasure
from inference import erased, filters
from inference.models import SavedView

NOBODY = "erased"


def forget(erasure: Erasure, hashes: Iterable[str]) -> int:
    """Take users and sessions with these hashes out of every filter. Returns out of how many.

    Raises jobs.FailedError when a version's manifest can't be read.
    """
    known, changed = set(hashes), 0
    kept: tuple[tuple[models.QuerySet[Any], tuple[str, ...]], ...] = (
        (Queue.objects.exclude(filter="", against=""), ("filter", "against")),
        (SavedView.objects.all(), ("filter",)),
    )
    for rows, names in kept:
        for row in rows:
            lines = {name: _without(getattr(row, name), erasure.salt, known) for name in names}
            if any(getattr(row, name) != line for name, line in lines.items()):
                changed += rows.filter(pk=row.pk).update(**lines)
    for version in DatasetVersion.objects.filter(recipe__has_key="filter"):
        line = _without(version.recipe["filter"], erasure.salt, known)
        if line != version.recipe["filter"]:
            _rewrite(version, line, erasure)
            changed += 1
    return changed


def _rewrite(version: DatasetVersion, line: str, erasure: Erasure) -> None:
    """Recipe and manifest anew; the old manifest is noted down to be deleted."""
    old, version.recipe = version.hash, version.recipe | {"filter": line}
    if old:
        try:
            before = datasets.manifest(version)
        except (artefacts.MissingError, artefacts.DamagedError) as error:
            raise jobs.FailedError(f"{version} can't be rewritten. {error} Then resume.") from error
        erased_so_far = [*before.get("erased", []), {"from": old, "rows": 0}]
        manifest = {**before, "recipe": version.recipe, "erased": erased_so_far}
        version.hash = artefacts.put(datasets.canonical(manifest))
    with transaction.atomic():
        version.save(update_fields=["hash", "recipe"])
        if old:
            erasure.files = sorted({*erasure.files, old})
            erasure.save(update_fields=["files"])


def _without(line: str, salt: str, hashes: set[str]) -> str:
    try:
        parsed = filters.parse(line)
    except filters.FilterError:
        return line
    terms = tuple(_forgotten(term, salt, hashes) for term in parsed.terms)
    return line if terms == parsed.terms else filters.text(replace(parsed, terms=terms))


def _forgotten(term: filters.Term, salt: str, hashes: set[str]) -> filters.Term:
    if isinstance(term, filters.Not):
        return filters.Not(_by_nobody(term.term, salt, hashes))
    return term if isinstance(term, filters.Time) else _by_nobody(term, salt, hashes)


def _by_nobody(term: filters.Positive, salt: str, hashes: set[str]) -> filters.Positive:
    if not isinstance(term, filters.Equals) or term.name not in ("user", "session"):
        return term
    values = (NOBODY if erased.digest(salt, value) in hashes else value for value in term.values)
    return replace(term, values=tuple(values))
