# SPDX-License-Identifier: Apache-2.0
"""Share links: whoever has one may read a dataset, a folder or a file, for a time, so often, with a password or without."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from holdfast.catalog import events, listings
from holdfast.catalog.database import Row
from holdfast.catalog.queries import links
from holdfast.errors import InvalidInput, NotFound, PasswordNeeded
from holdfast.identity.password import digest, hashed, matches
from holdfast.model.names import check_relative, printable
from holdfast.services.archive import Archive, dataset_row
from holdfast.services.rights import still_may
from holdfast.wire.links import Link, LinkUse, NewLink

_SECRET: Final = 24  # bytes, 192 bits: cannot be guessed
_LONGEST: Final = 366 * 86400  # seconds; who needs it longer wants the dataset public
_FAILURES: Final = (
    10  # wrong passwords, none longer than the pause after the other, after which the link is shut for a while
)
_PAUSE: Final = 600.0  # seconds
_USES: Final = 1000  # of the log, in an answer


@dataclass(frozen=True, slots=True)
class Opening:
    """What a link opens: the files at and below `path` (empty: all) of a dataset, on behalf of who made it."""

    link: str
    dataset: str
    title: str
    path: bytes
    person: str

    def inside(self, path: bytes) -> bytes:
        """Return a path that is asked for, if the link opens it; an empty one is all that it opens. Raises NotFound."""
        if not path:
            return self.path
        if self.path and path != self.path and not path.startswith(self.path + b"/"):
            raise NotFound(kind="file", name=printable(path))
        return path


def add(archive: Archive, dataset: str, wish: NewLink, *, path: bytes, person: str, ident: str) -> Link:
    """Make a link; its secret is in this answer only. Raises NotFound, InvalidInput."""
    if not 0 < wish.seconds <= _LONGEST:
        raise InvalidInput(what=f"A link is good for up to {_LONGEST // 86400} days.")
    secret = secrets.token_urlsafe(_SECRET)
    with archive.database.transaction() as conn:
        dataset_row(conn, dataset)
        if path:
            check_relative(path)
            next(listings.walk(conn, dataset, prefix=path), None) or listings.find_path(conn, dataset, path)
        links.run(
            conn, "insert", id=ident, dataset=dataset, path=path, digest=digest(secret), label=wish.label, person=person,
            password=hashed(wish.password) if wish.password else None, most=wish.most,
            expires_at=datetime.now(UTC) + timedelta(seconds=wish.seconds),
        )  # fmt: skip
        events.add(conn, archive.site, "link.added", dataset=dataset, person=person, link=ident, path=printable(path))
        row = links.first(conn, "by_id", id=ident)
    return _told(row or {}, secret=secret)


def of_dataset(archive: Archive, dataset: str) -> list[Link]:
    """Return all links of a dataset, the newest first, without their secrets."""
    with archive.database.reading() as conn:
        rows = links.all(conn, "of_dataset", dataset=dataset)
    makers = {row["created_by"] for row in rows}
    able = {person for person in makers if still_may(archive, person, "manage", dataset)}
    return [_told(row, able=row["created_by"] in able) for row in rows]


def dataset_of(archive: Archive, link: str) -> str:
    """Return which dataset a link is of. Raises NotFound."""
    with archive.database.reading() as conn:
        row = links.first(conn, "by_id", id=link)
    if row is None:
        raise NotFound(kind="link", name=link)
    return str(row["dataset"])


def revoke(archive: Archive, link: str, *, person: str) -> Link:
    """End a link. Idempotent. Raises NotFound."""
    with archive.database.transaction() as conn:
        if row := links.first(conn, "revoke", id=link):
            events.add(conn, archive.site, "link.revoked", dataset=row["dataset"], person=person, link=link)
        found = links.first(conn, "by_id", id=link)
    if found is None:
        raise NotFound(kind="link", name=link)
    return _told(found)


def uses(archive: Archive, link: str) -> list[LinkUse]:
    """Return the newest uses of a link."""
    with archive.database.reading() as conn:
        rows = links.all(conn, "uses", id=link, limit=_USES)
    return [LinkUse(at=row["at"], address=row["address"], path=printable(bytes(row["what"]))) for row in rows]


def opened(archive: Archive, secret: str, password: str | None, *, address: str) -> Opening:
    """Return what a link opens for somebody at `address`. Raises NotFound, in the same words for all that are not good; PasswordNeeded (password)."""
    args = {"digest": digest(secret), "failures": _FAILURES, "pause": _PAUSE}
    with archive.database.reading() as conn:
        row = links.first(conn, "good", **args, address=address)
    if row is None:
        raise NotFound(kind="link", name="like this, or it has ended")
    if row["password"]:
        _check(archive, row, password)
    return Opening(row["id"], row["dataset"], row["title"], bytes(row["path"]), row["created_by"])


def _check(archive: Archive, row: Row, password: str | None) -> None:
    shut = PasswordNeeded(what="There were too many wrong passwords for this link. Try again in ten minutes.")
    if row["shut"]:
        raise shut
    if not password:
        raise PasswordNeeded(what="This link has a password.")
    right = matches(password, row["password"])
    with archive.database.transaction() as conn:  # also of a right one: others may have guessed at the same time
        counted = links.first(conn, "tried", id=row["id"], right=right, failures=_FAILURES, pause=_PAUSE)
    if counted is None:
        raise shut
    if not right:
        raise PasswordNeeded(what="This is not the password of the link.")


def use(archive: Archive, opening: Opening, *, path: bytes, address: str) -> None:
    """Count a download. Raises NotFound when the link was used as often as it may be."""
    with archive.database.transaction() as conn:
        row = links.first(conn, "used", id=opening.link, address=address, what=path)
    if row is None or not row["allowed"]:
        raise NotFound(kind="link", name="like this, or it has ended")


def _told(row: Row, *, able: bool = True, secret: str = "") -> Link:
    """Return what is told of a link; `able`: who made it may still make one."""
    now = datetime.now(UTC)
    ended = row["revoked_at"] is not None or row["expires_at"] <= now
    used_up = row["most"] is not None and row["downloads"] >= row["most"]
    opens = "good" if able and row["of_state"] == "closed" else "suspended"
    keep = Link.model_fields.keys() - {"path", "has_password", "state", "secret", "address"}
    return Link(
        **{key: row[key] for key in keep}, path=printable(bytes(row["path"])), has_password=row["password"] is not None,
        state="ended" if ended or used_up else opens, secret=secret or None,
        address=f"/api/v1/shared/{secret}" if secret else None,
    )  # fmt: skip
