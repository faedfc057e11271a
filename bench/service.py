# SPDX-License-Identifier: Apache-2.0
"""Reads of the REST API by a member with a token: requests per second on one core, and the milliseconds that one takes.

    .venv/bin/python bench/service.py [--seconds 4] [--rounds 5] [--clients 16] [--datasets 100] [--load 60]

One server process is held to the first core; PostgreSQL and the clients share the second. The datasets are archived
for true, with packages and two verified copies each.

Then, for `--load` seconds and on all cores: 200 clients who browse and 20 who add files of 1 MB and remove them again. Any
answer that is not the one wanted is an error: these are counted, and the first of each kind is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, cycle, repeat
from pathlib import Path

from holdfast.catalog.embedded import EmbeddedPostgres
from holdfast.services.people import add_person
from holdfast.services.tokens import add_token
from holdfast.testing.program import environment, wait_for
from holdfast.testing.proxy import free_port
from holdfast.testing.site import SmallSite, small_site
from holdfast.wire.people import NewPerson

MEMBER = "marie"
BROWSING = 200
UPLOADING = 20


class Reader(asyncio.Protocol):
    """One client: asks again as soon as it is answered, on one connection."""

    def __init__(self, requests: Iterator[bytes], until: float) -> None:
        """`until` is a time of `time.perf_counter`."""
        self._requests, self._until = requests, until
        self._got = bytearray()
        self._asked = 0.0
        self.seconds: list[float] = []
        self.errors: list[str] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer."""
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not end or len(body) < int(length or b"0"):
            return
        if not head.startswith(b"HTTP/1.1 2"):
            self.errors.append(bytes(self._got[:1000]).decode())
        now = time.perf_counter()
        self.seconds.append(now - self._asked)
        self._got.clear()
        if now < self._until:
            self._ask()
        else:
            self._transport.close()
            self.ended.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Say so, if there was no answer."""
        if not self.ended.done():
            self.errors.append(f"the server hung up: {error}")
            self.ended.set_result(None)


async def read(port: int, *clients: Iterator[bytes], seconds: float) -> list[Reader]:
    """Ask as so many clients for a time, and return these."""
    until = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    readers = [(await loop.create_connection(partial(Reader, asks, until), "127.0.0.1", port))[1] for asks in clients]
    await asyncio.gather(*(reader.ended for reader in readers))
    return readers


def seconds_of(readers: Iterable[Reader]) -> list[float]:
    """Return what each answer took."""
    return list(chain.from_iterable(reader.seconds for reader in readers))


def errors_of(readers: Iterable[Reader]) -> list[str]:
    """Return what was answered that was not wanted, or not at all."""
    return list(chain.from_iterable(reader.errors for reader in readers))


def asking(port: int, token: str, method: str, route: str, body: bytes = b"") -> bytes:
    """Return a request."""
    head = f"{method} /api/v1/{route} HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: Bearer {token}\r\n"
    return head.encode() + (b"Content-Length: %d\r\n" % len(body) if body else b"") + b"\r\n" + body


@contextmanager
def served(data: Path, dsn: str, *, cores: str) -> Iterator[tuple[int, int]]:
    """Serve an archive from a process on these cores; yield its port and its id."""
    port = free_port()
    env = environment(HOLDFAST_DATABASE_URL=dsn, HOLDFAST_WEB_PORT=str(port))
    program = Path(sys.executable).with_name("holdfast")
    server = subprocess.Popen(["taskset", "-c", cores, program, "web", "--data", data], env=env)
    try:
        wait_for(lambda: listens(port), "the server listens")
        yield port, server.pid
    finally:
        server.terminate()
        server.wait()


def listens(port: int) -> bool:
    """Say whether somebody listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def fill(site: SmallSite, number: int) -> tuple[str, str, str]:
    """Archive datasets of a member; return the id of one, that of an open dataset, and the member's token."""
    with site.archive.database.transaction() as conn:
        add_person(site.archive, conn, NewPerson(name=MEMBER), by="admin")
        made = add_token(site.archive, conn, person=MEMBER, role="member", by=MEMBER, label="bench")
    metadata = {"instrument": "P06", "technique": "ptychography", "energy": {"value": 12.4, "unit": "keV"}, "scan": 17}
    for n in range(number):
        ident = site.archive_folder({"a": b"a", "b": b"b"}, name=f"run{n}", title=f"Scan {n}", metadata=metadata)
    site.drain()
    open_dataset = site.open_dataset()
    site.rows("update dataset set owner = %s, visible_to = visible_to || %s", MEMBER, [f"p:{MEMBER}"])
    with site.archive.database.reading() as conn:
        conn.execute("vacuum analyze")
    return ident, open_dataset, made.secret


def cpu(pid: int) -> float:
    """Return the seconds of a core that a process took until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--datasets", type=int, default=100)
    parser.add_argument("--load", type=float, default=60)
    wanted = parser.parse_args()
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        postgres = EmbeddedPostgres(Path(name) / "database")
        dsn = postgres.start()
        try:
            with small_site(Path(name), dsn, library__drives="2") as site:
                ident, open_dataset, token = fill(site, wanted.datasets)
            with served(Path(name) / "data", dsn, cores="0") as (port, pid):
                report(port, pid, ident, token, wanted)
            if wanted.load:
                with served(Path(name) / "data", dsn, cores="0-1") as (port, _):
                    load(port, ident, open_dataset, token, wanted.load)
        finally:
            postgres.stop()


def report(port: int, pid: int, ident: str, token: str, wanted: argparse.Namespace) -> None:
    """Read each route in turn, several times, and print the medians for each."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for route in routes(ident) * wanted.rounds:
        clients = [repeat(asking(port, token, "GET", route))] * wanted.clients
        asyncio.run(read(port, *clients, seconds=1))
        begun = cpu(pid)
        readers = asyncio.run(read(port, *clients, seconds=wanted.seconds))
        taken = seconds_of(readers)
        each = (cpu(pid) - begun) / len(taken) * 1e3
        found.setdefault(route.replace(ident, "ID"), []).append((len(taken) / wanted.seconds, each, *quantiles(taken)))
        tell(errors_of(readers))
    print("| route | requests/s | least, most | server ms of CPU | p50 ms | p99 ms |\n|---|---|---|---|---|---|")
    for shown, rounds in found.items():
        rate, each, p50, p99 = (statistics.median(values) for values in zip(*rounds, strict=True))
        rates = [values[0] for values in rounds]
        print(
            f"| GET /{shown} | {rate:.0f} | {min(rates):.0f}, {max(rates):.0f} | {each:.2f} | {p50:.1f} | {p99:.1f} |",
            flush=True,
        )


def routes(ident: str) -> list[str]:
    """Return what those who browse ask for."""
    search = "datasets?limit=50&q=instrument%20%3D%20%27P06%27%20AND%20energy%20%3E%2012%20keV"
    return ["whoami", f"datasets/{ident}", "datasets?limit=50", search]


def quantiles(taken: list[float]) -> tuple[float, float]:
    """Return median and 99 % in milliseconds."""
    taken = sorted(taken)
    return taken[len(taken) // 2] * 1e3, taken[int(len(taken) * 0.99)] * 1e3


def adding(port: int, token: str, dataset: str, name: str) -> Iterator[bytes]:
    """Yield requests that add a file and remove it, again and again."""
    route, content = f"datasets/{dataset}/files/{name}", os.urandom(1_000_000)
    while True:
        yield asking(port, token, "PUT", route, content)
        yield asking(port, token, "DELETE", route)


def load(port: int, ident: str, open_dataset: str, token: str, seconds: float) -> None:
    """Browse and add at the same time, and print a line for each."""
    browsing = [cycle([asking(port, token, "GET", route) for route in routes(ident)]) for _ in range(BROWSING)]
    uploading = [adding(port, token, open_dataset, f"file{number}") for number in range(UPLOADING)]
    readers = asyncio.run(read(port, *browsing, *uploading, seconds=seconds))
    print(f"\n| for {seconds:.0f} s | answers | errors | p50 ms | p99 ms |\n|---|---|---|---|---|")
    for what, part in ((f"{BROWSING} browse", readers[:BROWSING]), (f"{UPLOADING} add and remove", readers[BROWSING:])):
        each = seconds_of(part)
        p50, p99 = quantiles(each)
        print(f"| {what} | {len(each)} | {len(errors_of(part))} | {p50:.1f} | {p99:.1f} |")
    tell(errors_of(readers))


def tell(errors: Iterable[str]) -> None:
    """Print the first error of each kind."""
    first = {error.splitlines()[0]: error for error in reversed(list(errors))}
    print("".join(f"\n{error}\n" for error in first.values()), end="")


if __name__ == "__main__":
    main()
