# SPDX-License-Identifier: Apache-2.0
"""The processes of a site as commands: up, web, worker, planner.

Above all other layers, for each starts one of them; `holdfast.cli.main` knows these commands by name only.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from holdfast import log
from holdfast.app import open_archive, set_up
from holdfast.catalog.embedded import EmbeddedPostgres
from holdfast.catalog.jobs import QUEUES
from holdfast.cli.options import URL_FILE, config_option, data_option, settings
from holdfast.cli.output import say
from holdfast.services.archive import Archive
from holdfast.settings import Settings
from holdfast.web.application import serve
from holdfast.workers.planner import run_planner
from holdfast.workers.supervisor import Supervisor, parts
from holdfast.workers.worker import run_worker

_LOG = logging.getLogger(__name__)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    yield stop


@click.command()
@data_option
@config_option
@click.option("--port", type=int, help="The TCP port to listen on.  [default: 8080]")
@click.option("--root", "roots", multiple=True, metavar="SOURCE_ROOT", help="A folder below which may be archived.")
@click.option("--library", metavar="DIR", help="The tape library.  [default: library in the data folder]")
@click.option("--tapes", type=int, help="Tapes of the simulated library.  [default: 8]")
@click.option("--capacity", help="What one simulated tape holds, as 2 GB.  [default: 2 GB]")
@click.option("--drives", type=int, help="Drives of the simulated library.  [default: 2]")
def up(data: str, config: str | None, port: int | None, roots: tuple[str, ...], library: str | None, tapes: int | None,
       capacity: str | None, drives: int | None) -> None:  # fmt: skip
    """Start an archive here: database, REST API, planner, workers and a simulated tape library, until Ctrl-C."""
    found = settings(
        data, config, web__port=port, roots__source=tuple(os.path.abspath(root) for root in roots), library__path=library and os.path.abspath(library),
        library__tapes=tapes, library__capacity=capacity, library__drives=drives,
    )  # fmt: skip
    log.set_up(level=found.log.level, form=found.log.format)
    with _stopping() as stop:
        run_site(found, stop, config)


def run_site(found: Settings, stop: threading.Event, config: str | None) -> None:
    """Run all parts of a site until `stop` is set."""
    found.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = None if found.database.url else EmbeddedPostgres(found.database_folder)
    dsn = server.start() if server else str(found.database.url)
    try:
        set_up(found, dsn)
        url = f"http://{found.web.host}:{found.web.port}"
        (found.data / URL_FILE).write_text(url + "\n", "utf-8")
        say(f"Holdfast is running at {url}")
        say(f"Its data are in {found.data}; the token of the command line is {found.token_file}.")
        say(f"Folders below {', '.join(map(str, found.roots.source)) or '(none: give --root)'} may be archived.")
        say("Stop it with Ctrl-C.")
        supervisor = Supervisor(parts(found), _environment(found, dsn, config))

        def watch() -> None:
            if server and not server.running():
                _LOG.warning("the database ended and is started again")
                server.start()

        supervisor.run(stop, watch=watch)
    finally:
        if server:
            server.stop()
    say("Holdfast has stopped.")


def _environment(found: Settings, dsn: str, config: str | None) -> dict[str, str]:
    """Return how the parts learn what was given on our command line."""
    chosen = {
        "HOLDFAST_DATA": str(found.data),
        "HOLDFAST_DATABASE_URL": dsn,
        "HOLDFAST_WEB_PORT": str(found.web.port),
        "HOLDFAST_ROOTS_SOURCE": os.pathsep.join(map(str, found.roots.source)),
        "HOLDFAST_LIBRARY_PATH": str(found.library_path),
    }
    if config:
        chosen["HOLDFAST_CONFIG"] = os.path.abspath(config)
    return chosen


@dataclass(frozen=True)
class _Part:
    """What every process of a site begins with."""

    archive: Archive
    stop: threading.Event


@contextmanager
def _part(data: str, config: str | None) -> Iterator[_Part]:
    found = settings(data, config)
    log.set_up(level=found.log.level, form=found.log.format)
    with _stopping() as stop, open_archive(found, stopping=stop) as archive:
        yield _Part(archive, stop)


@click.command()
@data_option
@config_option
def web(data: str, config: str | None) -> None:
    """Serve the REST API."""
    with _part(data, config) as part:
        serve(part.archive)


@click.command()
@data_option
@config_option
@click.option("--queues", default=",".join(sorted(set(QUEUES.values()))), show_default=True, help="Queues to serve.")
@click.option("--slots", default=1, show_default=True, help="Jobs at the same time.")
def worker(data: str, config: str | None, queues: str, slots: int) -> None:
    """Work on the jobs of some queues."""
    chosen = [queue.strip() for queue in queues.split(",") if queue.strip()]
    if unknown := set(chosen) - set(QUEUES.values()):
        known = ", ".join(sorted(set(QUEUES.values())))
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: the queues are {known}.", param_hint="--queues")
    with _part(data, config) as part:
        run_worker(part.archive, queues=chosen, slots=slots)


@click.command()
@data_option
@config_option
def planner(data: str, config: str | None) -> None:
    """Compare facts with policy and defer the jobs that are owed."""
    with _part(data, config) as part:
        run_planner(part.archive, part.stop)


COMMANDS = (up, web, worker, planner)
