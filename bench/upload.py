# SPDX-License-Identifier: Apache-2.0
"""Uploads beside a plain PUT to nginx on the same disk, in turn; and many small files through the client.

    .venv/bin/python bench/upload.py [--size 1000000000] [--rounds 5] [--rests 0 6] [--small 10000]

nginx (Debian: nginx-light, its WebDAV module) takes the file into the page cache and gives it its name. Ours takes it from the same
curl, computes BLAKE3, makes it durable, and records it in the catalogue: `PUT`. For what the disk itself takes, `nginx + sync` waits until
nginx's file is durable too.

Each finds the same: a file of that size was just written and removed, and after it the machine has rested for as long as `--rests` says.
A virtual machine may give free memory back to its host after two seconds, and who writes then waits for it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.client import Client
from holdfast.client.adding import Adding, found
from holdfast.testing.program import Up
from holdfast.testing.proxy import free_port

NGINX = """
{user} daemon off; worker_processes 1; pid {work}/pid; error_log {work}/errors;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {work}/temp; client_max_body_size 0;
  server {{ listen 127.0.0.1:{port}; root {work}/root; location / {{ dav_methods PUT; create_full_put_path on; }} }}
}}
"""


@contextmanager
def nginx(work: Path) -> Iterator[str]:
    """Run nginx and yield its address."""
    (work / "root").mkdir(parents=True, exist_ok=True)
    port = free_port()
    (work / "conf").write_text(NGINX.format(work=work, port=port, user="user root;" if os.geteuid() == 0 else ""))
    server = subprocess.Popen(["nginx", "-c", work / "conf", "-e", work / "errors"])
    try:
        time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def put(file: Path, url: str, token: str = "") -> float:
    """Return the seconds that curl takes to PUT a file."""
    begun = time.perf_counter()
    headers = ["-H", f"Authorization: Bearer {token}", "-H", "Expect:"] if token else ["-H", "Expect:"]
    subprocess.run(["curl", "-sSf", "-T", file, *headers, url], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def prepare(file: Path, rest: float) -> None:
    """Leave the memory and the blocks of a copy that was written and removed, and rest for so many seconds."""
    before = file.with_name("before")
    with file.open("rb") as source, before.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        os.fsync(target.fileno())
    before.unlink()
    os.sync()
    time.sleep(rest)


def large(up: Up, work: Path, file: Path, rest: float, rounds: int) -> None:
    """Time a large file each way in turn and print the medians."""
    token, base = (up.data / "token").read_text().strip(), f"http://127.0.0.1:{up.port}"
    times: dict[str, list[float]] = {"nginx": [], "nginx + sync": [], "holdfast PUT": []}
    with nginx(work / "nginx") as plain, Client(base, token) as client:
        stored = work / "nginx/root/large"
        # One folder, as nginx has.
        dataset = client.create(title="bench").id
        for _ in range(rounds):
            prepare(file, rest)
            times["nginx"].append(put(file, f"{plain}/large"))
            stored.unlink()
            prepare(file, rest)
            begun = time.perf_counter()
            put(file, f"{plain}/large")
            with stored.open("rb") as opened:
                os.fsync(opened.fileno())
            times["nginx + sync"].append(time.perf_counter() - begun)
            stored.unlink()
            prepare(file, rest)
            times["holdfast PUT"].append(put(file, f"{base}/api/v1/datasets/{dataset}/files/large", token))
            client.remove_file(dataset, "large")
    print(f"\nafter a rest of {rest:g} s:\n\n| way | seconds | MB/s | of nginx |\n|---|---|---|---|")
    best = statistics.median(times["nginx"])
    for way, seconds in times.items():
        middle = statistics.median(seconds)
        print(f"| {way} | {middle:.2f} | {file.stat().st_size / middle / 1e6:.0f} | {best / middle:.0%} |", flush=True)


def small(up: Up, work: Path, number: int, rounds: int) -> None:
    """Time many files of 10 KB through the client."""
    folder = work / "small"
    for n in range(number):
        (folder / f"{n // 1000:03}").mkdir(parents=True, exist_ok=True)
        (folder / f"{n // 1000:03}" / f"{n:06}").write_bytes(os.urandom(10_000))
    files, _ = found([str(folder)])
    seconds = []
    with Client(f"http://127.0.0.1:{up.port}", (up.data / "token").read_text().strip()) as client:
        for _ in range(rounds):
            dataset = client.create(title="bench").id
            begun = time.perf_counter()
            added = Adding(client, dataset).run(files)
            seconds.append(time.perf_counter() - begun)
            if added.files != number:
                raise SystemExit(f"only {added.files} of {number} files were added: {added.refused[:3]}")
    middle = statistics.median(seconds)
    print(f"\n{number} files of 10 KB: {middle:.2f} s, {number / middle:.0f} files/s")


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1_000_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rests", type=float, nargs="+", default=[0, 6], metavar="SECONDS")
    parser.add_argument("--small", type=int, default=10_000)
    wanted = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
    try:
        with Up(work) as up:
            file = work / "large"
            with file.open("wb") as opened:
                for _ in range(wanted.size // (1 << 20)):
                    opened.write(os.urandom(1 << 20))
            for rest in wanted.rests:
                large(up, work, file, rest, wanted.rounds)
            small(up, work, wanted.small, wanted.rounds)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
