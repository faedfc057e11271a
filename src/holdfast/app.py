# SPDX-License-Identifier: Apache-2.0
"""The one place where things are constructed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from holdfast.catalog.database import Database
from holdfast.catalog.embedded import EmbeddedPostgres
from holdfast.catalog.migrate import check_version, migrate
from holdfast.errors import InvalidInput, SettingsError
from holdfast.services.archive import Archive
from holdfast.services.people import admit_admin
from holdfast.services.planner import prepare
from holdfast.services.tokens import new_secret
from holdfast.settings import Settings
from holdfast.tape.library import TapeLibrary
from holdfast.tape.ltfs import LtfsLibrary
from holdfast.tape.media import parse_kinds
from holdfast.tape.simulator import SimulatedLibrary


@contextmanager
def open_archive(settings: Settings, *, dsn: str = "", stopping: threading.Event | None = None) -> Iterator[Archive]:
    """Connect to the catalogue and the library of a site that is set up, and close both at the end.

    `stopping` is set by the caller when long work shall end early. Raises SettingsError, DatabaseUnavailable,
    SchemaMismatch, LibraryUnavailable.
    """
    url = dsn or str(settings.database.url)
    if not url:
        raise SettingsError(
            what="There is no database to connect to. Set database.url (HOLDFAST_DATABASE_URL), or run everything "
            "with its embedded database: holdfast up."
        )
    database = Database(url, size=settings.database.connections)
    try:
        with database.transaction() as conn:
            check_version(conn)
        yield Archive(settings, database, open_library(settings), stopping or threading.Event())
    finally:
        database.close()


def open_library(settings: Settings) -> TapeLibrary:
    """Return the library that the settings name; nothing of it is read yet. Raises SettingsError."""
    if settings.library.kind == "simulator":
        return SimulatedLibrary(settings.library_path)
    return _ltfs(settings)


def _ltfs(settings: Settings) -> LtfsLibrary:
    try:
        drives = parse_kinds(settings.library.drives)
        return LtfsLibrary(settings.library_path, state=settings.library_state, drives=drives)
    except InvalidInput as error:
        raise SettingsError(what=f"library.drives: {error}") from error


def set_up_library(settings: Settings) -> None:
    """Make the simulated library, or what a real one needs beside it. Idempotent. Raises SettingsError."""
    wanted = settings.library
    if wanted.kind == "ltfs":
        _ltfs(settings).set_up()
        return
    try:
        SimulatedLibrary.create(
            settings.library_path, tapes=wanted.tapes, media=parse_kinds(wanted.media), capacity=wanted.capacity,
            drives=parse_kinds(wanted.drives), speed=wanted.speed,
        )  # fmt: skip
    except InvalidInput as error:
        raise SettingsError(what=f"library.drives or library.media: {error}") from error


@contextmanager
def database_of(settings: Settings) -> Iterator[str]:
    """Yield the DSN of the site's database: the configured one, else the embedded one, started and stopped here."""
    if settings.database.url:
        yield str(settings.database.url)
        return
    server = EmbeddedPostgres(settings.database_folder)
    try:
        yield server.start()
    finally:
        server.stop()


def set_up(settings: Settings, dsn: str) -> None:
    """Make what a site needs before its parts start: folders, schema, library, profiles, token. Idempotent.

    Raises SettingsError, LibraryUnavailable, SchemaMismatch when a newer program made the catalogue.
    """
    for area in (settings.staging_path, settings.landing_path / ".incoming", settings.buffer_path):
        area.mkdir(parents=True, exist_ok=True)
    set_up_library(settings)
    database = Database(dsn, size=2)
    try:
        with database.transaction() as conn:
            migrate(conn)
    finally:
        database.close()
    with open_archive(settings, dsn=dsn) as archive:
        prepare(archive)
        admit_admin(archive, _token(settings))


def _token(settings: Settings) -> str:
    """Return the administrator's token; it is made once, readable by the archive's user only."""
    temporary = settings.token_file.with_suffix(".new")
    if settings.token_file.exists():
        return settings.token_file.read_text("ascii").strip()
    with suppress(FileNotFoundError):
        temporary.unlink()
    token = new_secret()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(settings.token_file)
    return token
