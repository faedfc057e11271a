# SPDX-License-Identifier: Apache-2.0
"""The processes of a site as commands: up, web, worker, planner.

Above all other layers, for each starts one of them; `holdfast.cli.main` knows these commands by name only.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue

import click

from holdfast import log
from holdfast.app import open_archive, set_up
from holdfast.catalog.embedded import EmbeddedPostgres
from holdfast.catalog.jobs import QUEUES
from holdfast.cli.options import URL_FILE, config_option, data_option, settings
from holdfast.cli.output import say
from holdfast.errors import Conflict
from holdfast.services.archive import Archive
from holdfast.settings import Settings
from holdfast.web.application import serve
from holdfast.web.tls import serving
from holdfast.workers.planner import run_planner
from holdfast.workers.supervisor import Part, Supervisor
from holdfast.workers.worker import run_worker

_LOG = logging.getLogger(__name__)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set.

    A thread sets it: a handler may come in the midst of another one, or of whatever else holds the lock of the event.
    """
    stop, asked = threading.Event(), SimpleQueue[int]()

    def wait() -> None:
        asked.get()
        stop.set()

    threading.Thread(target=wait, name="stopping", daemon=True).start()
    signal.signal(signal.SIGTERM, lambda number, _: asked.put(number))
    # A part that a supervisor forked leaves Ctrl-C to it. `up` listens even where a shell that started it in the
    # background has SIGINT ignored.
    if multiprocessing.parent_process() is None:
        signal.signal(signal.SIGINT, lambda number, _: asked.put(number))
    yield stop


@click.command()
@data_option
@config_option
@click.option("--port", type=int, help="The TCP port to listen on.  [default: 8080]")
@click.option("--root", "roots", multiple=True, metavar="SOURCE_ROOT", help="A folder below which may be archived.")
@click.option("--library", metavar="DIR", help="The tape library.  [default: library in the data folder]")
@click.option("--tapes", type=int, help="Tapes of the simulated library.  [default: 8]")
@click.option("--capacity", help="What one simulated tape holds, as 2 GB.  [default: 2 GB]")
@click.option("--drives", help="Drives of the library, as 2 or LTO-8 x4, LTO-9 x2.  [default: 2]")
def up(data: str, config: str | None, port: int | None, roots: tuple[str, ...], library: str | None, tapes: int | None,
       capacity: str | None, drives: str | None) -> None:  # fmt: skip
    """Start an archive here: database, REST API, planner, workers and the tape library, until Ctrl-C."""
    found = settings(
        data, config, web__port=port, roots__source=tuple(os.path.abspath(root) for root in roots), library__path=library and os.path.abspath(library),
        library__tapes=tapes, library__capacity=capacity, library__drives=drives,
    )  # fmt: skip
    log.set_up(level=found.log.level, form=found.log.format)
    with _stopping() as stop:
        run_site(found, stop)


def run_site(found: Settings, stop: threading.Event) -> None:
    """Run all parts of a site until `stop` is set. Raises Conflict when the port or the data folder is in use."""
    serving(found.web)  # says what is wrong with its certificates before anything starts
    _check_port(found)
    found.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    supervisor = Supervisor(preload=__name__)
    server = None if found.database.url else EmbeddedPostgres(found.database_folder)
    dsn = server.start() if server else str(found.database.url)
    try:
        set_up(found, dsn)
        url = _url(found)
        (found.data / URL_FILE).write_text(url + "\n", "utf-8")
        answers = False

        def watch() -> None:
            nonlocal answers
            if not answers and _answers(found):
                answers = True
                say(f"Holdfast is running at {url}")
                say(f"Its data are in {found.data}; the token of the command line is {found.token_file}.")
                say(
                    f"Folders below {', '.join(map(str, found.roots.source)) or '(none: give --root)'} may be archived."
                )
                say("Stop it with Ctrl-C.")
            if server and not server.running():
                _LOG.warning("the database ended and is started again")
                server.start()

        supervisor.run(_parts(found, dsn), stop, watch=watch)
    finally:
        if server:
            server.stop()
    say("Holdfast has stopped.")


def _url(found: Settings) -> str:
    """Return where the archive is; a certificate is good for the name by which people reach it only."""
    if not found.web.certificate:
        return f"http://{found.web.host}:{found.web.port}"
    return found.web.address.rstrip("/") or f"https://{found.web.host}:{found.web.port}"


def _check_port(found: Settings) -> None:
    """Raise Conflict when another program listens where the REST API shall."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((found.web.host, found.web.port))
        except OSError as error:
            where = f"port {found.web.port} of {found.web.host}"
            raise Conflict(
                what=f"Holdfast cannot listen on {where}: {error.strerror}. Choose another one with --port."
            ) from error


def _answers(found: Settings) -> bool:
    try:
        socket.create_connection((found.web.host, found.web.port), timeout=1).close()
    except OSError:
        return False
    return True


def _parts(found: Settings, dsn: str) -> dict[str, Part]:
    """Return what each process of this host does, by its name."""
    workers = found.workers
    slots = {
        "pack": workers.pack,
        "extract": workers.extract,
        "tape": workers.tape,
        "recall": workers.recall,
        "check": workers.check,
        "fetch": workers.fetch,
    }
    return {
        "web": (_serve, (found, dsn)),
        "planner": (_plan, (found, dsn)),
        **{f"worker-{queue}": (_work, (found, dsn, [queue], number)) for queue, number in slots.items() if number},
    }


@contextmanager
def _part(found: Settings, dsn: str = "") -> Iterator[Archive]:
    """Yield the archive to one process of a site; its `stopping` is set when the process is asked to end."""
    log.set_up(level=found.log.level, form=found.log.format)
    with _stopping() as stop, open_archive(found, dsn=dsn, stopping=stop) as archive:
        yield archive


def _serve(found: Settings, dsn: str = "") -> None:
    with _part(found, dsn) as archive:
        serve(archive)


def _plan(found: Settings, dsn: str = "") -> None:
    with _part(found, dsn) as archive:
        run_planner(archive, archive.stopping)


def _work(found: Settings, dsn: str, queues: Sequence[str], slots: int) -> None:
    with _part(found, dsn) as archive:
        run_worker(archive, queues=queues, slots=slots)


@click.command()
@data_option
@config_option
def web(data: str, config: str | None) -> None:
    """Serve the REST API."""
    _serve(settings(data, config))


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
    _work(settings(data, config), "", chosen, slots)


@click.command()
@data_option
@config_option
def planner(data: str, config: str | None) -> None:
    """Compare facts with policy and defer the jobs that are owed."""
    _plan(settings(data, config))


COMMANDS = (up, web, worker, planner)
