# SPDX-License-Identifier: Apache-2.0
"""What several tests ask of an archive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from holdfast.services import rebuild as service
from holdfast.services import show
from holdfast.services.manifest import write_manifest
from holdfast.tape.library import TapeSession
from holdfast.testing.site import SmallSite
from holdfast.wire.datasets import Copy

# What the media do not know: when the catalogue did something, and numbers that it gave.
_NEW = {
    "id",
    "closed_at",
    "verified_at",
    "safe_at",
    "packed_at",
    "released_at",
    "attempt",
    "source_released_at",
    "availability",
}


def copies(site: SmallSite, dataset: str) -> list[Copy]:
    return [copy for package in site.show(dataset).packages for copy in package.copies]


def preserved(site: SmallSite, dataset: str) -> None:
    """Assert that every package has two verified copies on two tapes that say the same."""
    found = site.show(dataset)
    assert found.level == "preserved"
    assert found.pending == []
    assert site.staged() == []
    for package in found.packages:
        good = [copy for copy in package.copies if copy.state == "verified"]
        assert len({copy.tape for copy in good}) == 2
        assert {copy.blake3 for copy in good} == {package.blake3}


def rebuild(site: SmallSite) -> service.Rebuilt:
    return service.rebuild(site.archive, progress=lambda *_: None)


def forget(site: SmallSite) -> None:
    """Lose the catalogue."""
    site.rows("delete from procrastinate_jobs")
    site.rows(
        "truncate dataset, package, copy, listing, request, request_part, request_problem, release, event, reservation "
        "cascade"
    )


def told(site: SmallSite, dataset: str) -> tuple[Any, Any]:
    """Return what is said of a dataset and its files."""
    about = site.show(dataset).model_dump()
    copies = [
        sorted(
            ({key: value for key, value in copy.items() if key not in _NEW | {"number"}} for copy in package["copies"]),
            key=lambda copy: copy["tape"],
        )
        for package in about["packages"]
    ]
    packages = [{k: v for k, v in package.items() if k not in _NEW | {"copies"}} for package in about["packages"]]
    ids = [package["id"] for package in about["packages"]]
    rest = {key: value for key, value in about.items() if key not in (_NEW - {"id"}) | {"packages"}}
    files = [item for _, item in show.files(site.archive, dataset, prefix=b"", after=b"", limit=1000)]
    return (rest, ids, packages, copies), files


@contextmanager
def writing(site: SmallSite, serial: str) -> Iterator[TapeSession]:
    """Yield a session on a tape, and make durable what was written."""
    with site.archive.library.sessions([serial], "write") as (session,):
        yield session
        session.sync("test")


def write_manifests(site: SmallSite) -> None:
    """Have each tape say what it holds."""
    for row in site.rows("select tape, array_agg(package) as packages from copy group by tape order by tape"):
        with writing(site, row["tape"]) as session:
            write_manifest(site.archive, session, row["packages"])


def catalogue(site: SmallSite) -> dict[str, list[dict[str, Any]]]:
    """Return all that a rebuild restores, without the numbers and times that it gives."""
    return {
        "dataset": site.rows("select to_jsonb(dataset) - 'safe_at' as row from dataset order by id"),
        "package": site.rows("select to_jsonb(package) - 'next_try' as row from package order by id"),
        "copy": site.rows(
            "select to_jsonb(copy) - array['id', 'number', 'created_at', 'next_try'] as row from copy order by package, tape"
        ),
        "listing": site.rows("select * from listing order by dataset, last_path, segment"),
        "profile": site.rows("select name, version, body from profile order by name, version"),
    }
