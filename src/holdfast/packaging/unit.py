# SPDX-License-Identifier: Apache-2.0
"""Units: frames that hold whole small files. Made in a thread, or for tiny files in a child process.

Below some 64 KB per file the interpreter lock is the limit, so `python -m holdfast.packaging.unit FD` serves units
over its standard input and output; FD is the open root of the source. A request is the marshalled arguments of
`UnitMaker.make`, an answer a marshalled tuple: ("ok", ...) with what it made, ("changed", path, what) or
("unreadable", path, why).
"""

from __future__ import annotations

import hashlib
import marshal
import os
import struct
import subprocess
import sys
from typing import IO, TypeAlias, cast

from holdfast.errors import SourceChanged, SourceUnreadable
from holdfast.packaging.frames import FrameMaker
from holdfast.packaging.layout import BLOCK
from holdfast.packaging.lines import index_line, manifest_line, plain_tree_line, quoted
from holdfast.packaging.sources import SourceFolder, check_unchanged, read_exactly
from holdfast.packaging.tarheader import header

# path, name in the tar, size, mtime in ns, mode, uid, gid, first byte in the file, size of the whole file, plain
Item: TypeAlias = tuple[bytes, bytes, int, int, int, int, int, int, int, bool]
# frame, SHA-512 of the files in a row, lines of manifest, tree (empty for what is not plain), and index (open)
Made: TypeAlias = tuple[bytes, bytes, bytes, list[bytes], bytes]
_LENGTH = struct.Struct("<I")
_ZEROS = bytes(BLOCK)


class UnitMaker:
    """Reads, hashes and compresses the files of one unit after another with one buffer. One per thread."""

    def __init__(self, root: int, level: int) -> None:
        """Serve files below the directory descriptor `root`."""
        self._folder = SourceFolder(root)
        self._frames = FrameMaker(level)
        self._buffer = bytearray()

    def make(self, items: list[Item], size: int, start: int) -> Made:
        """Return the frame of `items`, `size` bytes of tar from byte `start` of the stream, and what to note of them.

        Raises SourceChanged and SourceUnreadable.
        """
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        view = memoryview(self._buffer)
        digests, manifest, tree, index = [], [], [], []
        at = 0
        for item in items:
            _, name, length, mtime_ns, mode, uid, gid, _, _, plain = item
            head = header(name, length, mode, uid, gid, mtime_ns // 1_000_000_000)
            begin = at + len(head)
            view[at:begin] = head
            at = begin + length
            content = view[begin:at]
            self._read(item, content)
            digest = hashlib.sha512(content).digest()
            pad = -length % BLOCK
            view[at : at + pad] = _ZEROS[:pad]
            at += pad
            text = quoted(name.decode())
            digests.append(digest)
            manifest.append(manifest_line(name, digest))
            tree.append(plain_tree_line(text, mode, mtime_ns, uid, gid) if plain else b"")
            index.append(index_line(text, start + begin, length))
        return self._frames.make(view[:at]), b"".join(digests), b"".join(manifest), tree, b"".join(index)

    def close(self) -> None:
        """Close what is open."""
        self._folder.close()

    def _read(self, item: Item, into: memoryview) -> None:
        path, mtime_ns, offset, whole = item[0], item[3], item[7], item[8]
        fd = self._folder.open(path)
        try:
            try:
                read_exactly(fd, into, offset, path)
            finally:  # also when reading failed: that the file changed explains it best
                check_unchanged(fd, path, whole, mtime_ns)
        finally:
            os.close(fd)


class UnitChild:
    """A child process that makes units; the thread that asks waits without holding the interpreter lock."""

    def __init__(self, root: int, level: int) -> None:
        """Start the child. Raises OSError when no process can be started."""
        # The child skips `site` and gets the search path from here: it starts in some 60 ms.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        process = subprocess.Popen(
            [sys.executable, "-S", "-m", "holdfast.packaging.unit", str(root), str(level)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(root,),
            env=environment,
        )
        self._process = process
        self._to = cast("IO[bytes]", process.stdin)
        self._from = cast("IO[bytes]", process.stdout)

    def make(self, items: list[Item], size: int, start: int) -> Made:
        """Do what `UnitMaker.make` does, over there. Raises EOFError when the child died."""
        try:
            _send(self._to, (items, size, start))
        except BrokenPipeError as error:
            raise EOFError from error
        answer = _receive(self._from)
        if answer is None:
            raise EOFError
        state, *found = cast("tuple[object, ...]", answer)
        if state == "changed":
            raise SourceChanged(path=found[0], what=found[1])
        if state == "unreadable":
            raise SourceUnreadable(path=found[0], why=found[1])
        return cast("Made", tuple(found))

    def close(self) -> None:
        """End the child by closing its input."""
        with self._process:
            self._from.close()


def serve(root: int, level: int) -> None:
    """Answer requests on standard input until it ends."""
    maker = UnitMaker(root, level)
    while (request := _receive(sys.stdin.buffer)) is not None:
        answer: tuple[object, ...]
        try:
            answer = ("ok", *maker.make(*cast("tuple[list[Item], int, int]", request)))
        except SourceChanged as error:
            answer = ("changed", error.details["path"], error.details["what"])
        except SourceUnreadable as error:
            answer = ("unreadable", error.details["path"], error.details["why"])
        try:
            _send(sys.stdout.buffer, answer)
        except BrokenPipeError:
            return  # the packer was stopped; nobody waits for this answer


def _send(pipe: IO[bytes], message: tuple[object, ...]) -> None:
    body = marshal.dumps(message)  # type: ignore[arg-type]  # items and answers hold bytes, text and numbers only
    pipe.write(_LENGTH.pack(len(body)) + body)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> object:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = pipe.read(length)
    return marshal.loads(body) if len(body) == length else None  # noqa: S302 from our own child


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
