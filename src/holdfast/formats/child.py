# SPDX-License-Identifier: Apache-2.0
"""The process that opens files for `holdfast.formats.reading`: what is in them may be made to harm who reads it.

It says READY, is handed one open file after the other over a socket, each with the first letter of its format, and
answers with one line of JSON: `{"values": [[key, value], ...]}` or `{"problem": "..."}`. It ends with its parent.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

from holdfast.formats import fits, hdf5
from holdfast.formats.values import TEXT_LIMIT, Pair

READY: Final = b"\n"
_MEMORY: Final = 1_000_000_000  # bytes of address space
_FILES: Final = 64  # open at once
_VALUES: Final = 1000  # of one file, different ones
_SAID: Final = 10_000  # values of one file, for headers repeat much
_KEY: Final = 200  # characters


def main() -> None:
    """Serve the parent; the arguments are the descriptor of the socket, and the seconds of computing for one file."""
    descriptor, seconds = map(int, sys.argv[1:])
    _bind()
    with socket.socket(fileno=descriptor) as parent:
        parent.sendall(READY)
        while True:
            letter, descriptors, *_ = socket.recv_fds(parent, 1, 1)
            if not letter:
                return
            (file,) = descriptors
            _grant(seconds)
            answer = json.dumps(_answer(_READERS[letter], file)).encode()
            os.close(file)
            parent.sendall(answer + b"\n")


def _bind() -> None:
    """Give up what reading a file does not need."""
    for limit, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _FILES),
    ):
        allowed = _allowed(limit, most)
        resource.setrlimit(limit, (allowed, allowed))


def _grant(seconds: int) -> None:
    """Allow so much computing more; whoever needs more is killed (SIGXCPU)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + seconds + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (_allowed(resource.RLIMIT_CPU, until), hard))


def _allowed(limit: int, wanted: int) -> int:
    hard = resource.getrlimit(limit)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _answer(read: Callable[[int], Iterator[Pair]], file: int) -> dict[str, Any]:
    values: dict[str, Pair] = {}  # by what they say
    try:
        for pair in islice((pair for pair in read(file) if pair[1] is not None), _SAID):
            said = json.dumps(pair)
            if len(pair[0]) <= _KEY and len(str(pair[1])) <= TEXT_LIMIT and len(values) < _VALUES:
                values[said] = pair
    except Exception as error:  # noqa: BLE001 - a broken file may raise anything
        kind = "" if isinstance(error, fits.BadFits) else f"{type(error).__name__}: "
        return {"problem": f"{kind}{' '.join(str(error).split())}"}
    return {"values": list(values.values())}


def _fits(file: int) -> Iterator[Pair]:
    with os.fdopen(file, "rb", closefd=False) as opened:
        yield from fits.read(opened)


def _hdf5(file: int) -> Iterator[Pair]:
    return hdf5.read(f"/proc/self/fd/{file}")


_READERS: Final = {b"F": _fits, b"H": _hdf5}

if __name__ == "__main__":
    main()
