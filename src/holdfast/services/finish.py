# SPDX-License-Identifier: Apache-2.0
"""Ending a request: files that came in parts are joined, and it is said what was delivered and what was not.

Commit point: the transaction that ends the request, gives its room back and tells it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from holdfast.catalog import events, listings
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import requests
from holdfast.errors import HoldfastError, TransientError
from holdfast.model.entry import Entry
from holdfast.model.ids import package_id
from holdfast.packaging.extract import finish_parts
from holdfast.services.archive import Archive, described
from holdfast.services.reserve import release

_LOG = logging.getLogger(__name__)


def list_problems(conn: Connection, request: str, problems: Mapping[bytes, HoldfastError]) -> None:
    """Record what could not be delivered and why."""
    for path, error in problems.items():
        requests.run(conn, "add_problem", request=request, path=path, code=error.code, sentence=error.sentence)


def finish(archive: Archive, request: str) -> None:
    """Join the files that came in parts and end the request, when all its packages have been read."""
    with archive.database.claim(f"finish:{request}") as held:
        if not held:
            return
        with archive.database.transaction() as conn:
            asked = requests.first(conn, "by_id", id=request)
            open_parts = requests.first(conn, "open_parts", request=request)
            if asked is None or asked["state"] not in {"waiting", "recalling"} or not open_parts or open_parts["open"]:
                return
            failed = {bytes(row["path"]) for row in requests.all(conn, "problems", request=request, limit=None)}
            in_parts = [found for found in _in_parts(conn, asked) if found[1].path not in failed]
        try:
            target = Path(os.fsdecode(bytes(asked["destination"])))
            joined, problems = _join(target, in_parts, preserve_owner=keeps_owners(archive, asked))
        except TransientError as error:
            _LOG.warning("request %s: %s", request, error.sentence)
            with archive.database.transaction() as conn:
                requests.run(conn, "problem", id=request, problem=described(error, asked["problem"])["problem"])
            return
        with archive.database.transaction() as conn:
            for segment in joined:
                requests.run(conn, "joined", request=request, package=package_id(asked["dataset"], segment))
            list_problems(conn, request, problems)
            _end(archive, conn, asked)


def keeps_owners(archive: Archive, asked: Row) -> bool:
    """Say whether the files of a request are given to whom they belonged; in the buffer they are the archive's."""
    return archive.settings.roots.owners == "kept" and asked["keep"] is None


def _join(
    target: Path, in_parts: Sequence[tuple[int, Entry, bytes]], *, preserve_owner: bool
) -> tuple[list[int], dict[bytes, HoldfastError]]:
    """Give files in parts their names; return the segments where those begin that have one now, and what failed."""
    joined: list[int] = []
    problems: dict[bytes, HoldfastError] = {}
    for segment, entry, digest in in_parts:
        try:
            finish_parts(target, entry, digest, preserve_owner=preserve_owner)
        except TransientError:
            raise
        except HoldfastError as error:
            problems[entry.path] = error
        else:
            joined.append(segment)
    return joined, problems


def _in_parts(conn: Connection, asked: Row) -> list[tuple[int, Entry, bytes]]:
    """Return (first segment, last part, digest of the whole) of the wanted files that lie in parts."""
    begins: dict[bytes, int] = {}
    chosen: dict[bytes, tuple[int, Entry, bytes]] = {}
    for path in [bytes(path) for path in asked["selection"]] or [b""]:
        for segment, packed in listings.walk(conn, asked["dataset"], prefix=path):
            if packed.entry.part:
                begins.setdefault(packed.entry.path, segment)
                if packed.whole_digest:
                    first = begins[packed.entry.path]
                    chosen[packed.entry.path] = (first, packed.entry, packed.whole_digest)
    return list(chosen.values())


def _end(archive: Archive, conn: Connection, asked: Row) -> None:
    problems = requests.all(conn, "problems", request=asked["id"], limit=None)
    parts = requests.all(conn, "parts", request=asked["id"])
    delivered = sum(part["done_files"] for part in parts)
    state = "failed" if problems and not delivered else "delivered"
    body: dict[str, Any] = {"request": asked["id"], "files": delivered, "failed": len(problems)}
    ready = asked["keep"] is not None and state == "delivered"
    problem = None
    if problems:
        first = problems[0]
        text = f"{len(problems)} of {asked['files']} files could not be delivered. {first['sentence']}"
        problem = Jsonb({"code": first["code"], "sentence": text, "who": "operator"})
    ended = requests.move(conn, "end_request", to="ready" if ready else state, id=asked["id"], problem=problem)
    if ended is None:
        return
    release(conn, f"request:{asked['id']}")
    about = {"dataset": asked["dataset"], "person": asked["person"]}
    if ready:
        events.add(conn, archive.site, "request.ready", **about, **body, expires_at=ended["expires_at"].isoformat())
    else:
        events.add(conn, archive.site, f"request.{state}", **about, **body)
