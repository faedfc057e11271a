# SPDX-License-Identifier: Apache-2.0
"""What any tape library must do with one scratch tape, as checks that may be run on a real one.

They write some 150 MB, and delete what they wrote; names begin with PREFIX. The contract suite runs the same checks on
the libraries of the tests. Nothing here breaks, fills or freezes a tape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from holdfast.errors import Busy, Conflict, HoldfastError, InvalidInput, NotFound
from holdfast.tape.library import Mode, TapeLibrary, TapeSession

PREFIX: Final = "holdfast-check-"
SIZES: Final = (0, 1, 4095, 4096, 4097, 1 << 20, (4 << 20) - 1, 4 << 20, 9_000_001)  # bytes
PIECES: Final = (1000, 4096, 1 << 20, 8 << 20)  # bytes
ODD_NAMES: Final = ("", ".", "..", "../x", "a/b", "/a", ".hidden", "a b", "a\0b", "a\nb", "\u00e4", "x" * 256)
_WAIT: Final = 900.0  # seconds for a drive; others may be using the library
_A, _B = f"{PREFIX}a", f"{PREFIX}b"


class TrialFailed(AssertionError):
    """The library did not do what it must."""


class Scratch:
    """One tape that may be written to, in a library."""

    def __init__(self, library: TapeLibrary, serial: str) -> None:
        """Use a tape; see `others_files` first."""
        self.library = library
        self.serial = serial

    @contextmanager
    def session(self, mode: Mode, wait: float = _WAIT) -> Iterator[TapeSession]:
        """Open a session; `wait` in seconds. Raises what the library raises."""
        with self.library.sessions([self.serial], mode, timeout=wait) as (session,):
            yield session

    def others_files(self) -> Sequence[str]:
        """Return the names of files that are not ours: then the tape is no scratch tape."""
        with self.session("read") as session:
            return [file.name for file in session.list() if not file.name.startswith(PREFIX)]

    def clean(self) -> None:
        """Delete our files and make that durable."""
        with self.session("write") as session:
            for file in session.list():
                if file.name.startswith(PREFIX):
                    session.delete(file.name)
            session.sync("holdfast check")


@dataclass(frozen=True, slots=True)
class Trial:
    """One check, and what it shows when it passes."""

    shows: str
    run: Callable[[Scratch], None]


def try_out(scratch: Scratch, trial: Trial) -> str:
    """Run a check on a clean tape; return what went wrong, empty when nothing did."""
    try:
        scratch.clean()
        trial.run(scratch)
    except (TrialFailed, HoldfastError) as error:
        return error.sentence if isinstance(error, HoldfastError) else str(error)
    return ""


def content(size: int, seed: str = "") -> bytes:
    """Return bytes that cannot be compressed, always the same."""
    return hashlib.shake_256(seed.encode()).digest(size)


def pieces(whole: bytes, length: int) -> Iterator[memoryview]:
    """Yield `whole` in pieces of `length` bytes."""
    view = memoryview(whole)
    for begin in range(0, len(whole), length):
        yield view[begin : begin + length]


def content_of(session: TapeSession, name: str, offset: int = 0, length: int | None = None) -> bytes:
    """Return the bytes of a file."""
    return b"".join(session.read(name, offset, length))


def _expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise TrialFailed(f"{what}: {found!r}, not {wanted!r}")


def _refused(error: type[HoldfastError], what: str, action: Callable[[], object]) -> None:
    try:
        action()
    except error:
        return
    raise TrialFailed(f"{what} was not refused")


# ---- the checks ----


def _listed(scratch: Scratch) -> None:
    known = {tape.serial: tape for tape in scratch.library.inventory()}
    _expect(known[scratch.serial].state if scratch.serial in known else "not listed", "active", "its state")
    volume = scratch.library.stat(scratch.serial)
    _expect((volume.lock_state, volume.consistent), (0, True), "lock state and consistency")
    _expect(0 < volume.free <= volume.capacity, True, "that it has room")


def _exclusive(scratch: Scratch) -> None:
    with scratch.session("read") as session:
        _expect(scratch.library.drives().get(session.drive), scratch.serial, f"the tape in {session.drive}")
        for wait in (0, 0.05):
            _refused(Busy, "a second session", scratch.session("read", wait).__enter__)
    with scratch.session("read", 0):
        pass


def _comes_back(piece: int, scratch: Scratch) -> None:
    contents = {f"{PREFIX}{size}": content(size, f"{size}") for size in SIZES}
    with scratch.session("write") as session:
        for name, whole in contents.items():
            extent = session.write(name, pieces(whole, piece), {"order": name}, size=len(whole))
            _expect((extent.name, extent.size), (name, len(whole)), "name and size of what was written")
        session.sync("holdfast check")
    with scratch.session("read") as session:
        _expect(session.recovered, (), "what was dropped at the mount")
        files = session.list()
        _expect([(f.name, f.size) for f in files], [(n, len(contents[n])) for n in sorted(contents)], "the listing")
        _expect([f.attributes for f in files], [{"order": f.name} for f in files], "the attributes")
        _expect([session.find(f.name) for f in files], list(files), "finding one by its name")
        _expect(session.find(f"{PREFIX}never"), None, "finding what is not there")
        places = {file.name: file.start_block for file in files if file.size}
        _expect(sorted(places, key=places.__getitem__), [n for n in contents if contents[n]], "the order on tape")
        for name, whole in contents.items():
            _expect(content_of(session, name) == whole, True, f"that {name} came back")
        name, whole = list(contents.items())[-1]
        for offset, length in ((4_194_300, 1_000_000), (8_999_999, None), (len(whole), None)):
            end = None if length is None else offset + length
            part = content_of(session, name, offset, length)
            _expect(part == whole[offset:end], True, f"that byte {offset} on came back")


def _sync_advances(scratch: Scratch) -> None:
    with scratch.session("write") as session:
        session.write(_A, [b"x"], {})
        first = session.sync("holdfast check one")
        _expect(scratch.library.stat(scratch.serial).generation, first, "the generation that is known")
        _expect(session.sync("nothing new"), first, "the generation after a sync of nothing")
        session.write(_B, [b"x"], {})
        _expect(session.sync("holdfast check two") > first, True, "that the generation advanced")


def _close_syncs(scratch: Scratch) -> None:
    with scratch.session("write") as session:
        session.write(_A, [b"x"], {})
    _expect(scratch.library.stat(scratch.serial).consistent, True, "that it is consistent")
    with scratch.session("read") as session:
        _expect(content_of(session, _A), b"x", "the content")


def _never_overwrites(scratch: Scratch) -> None:
    with scratch.session("write") as session:
        session.write(_A, [b"first"], {})
        _refused(Conflict, "a second file of a name", lambda: session.write(_A, [b"second"], {}))
        session.write(_B, [b"third"], {})
        session.sync("holdfast check")
        _expect((content_of(session, _A), content_of(session, _B)), (b"first", b"third"), "the contents")


def _deletes(scratch: Scratch) -> None:
    whole = content(3_000_000)

    def free() -> int:
        return scratch.library.stat(scratch.serial).free

    with scratch.session("write") as session:
        session.write(_A, [whole], {"k": "old"})
        session.sync("holdfast check")
        before = free()
        for name in (_A, _A, f"{PREFIX}never"):
            session.delete(name)
        session.sync("holdfast check")
        _expect([file.name for file in session.list()], [], "the listing")
        _expect(free() <= before, True, "that deleting gives no room back")
        _refused(NotFound, "reading a deleted file", lambda: session.read(_A))
        session.write(_A, [whole], {})
        session.sync("holdfast check")
        # LTFS tells room in MiB, so up to one of them is not seen.
        _expect(free() <= before - len(whole) + (1 << 20), True, "that writing takes room")
        _expect([file.attributes for file in session.list()], [{}], "the attributes of a new file")


def _attributes(scratch: Scratch) -> None:
    with scratch.session("write") as session:
        session.write(_A, [b"x"], {"ltfs.hash.sha512sum": "00ff", "copy": "1"})
        session.sync("holdfast check")
        session.set_attributes(_A, {"copy": "2", "note": "\u00e4"})
        _refused(NotFound, "attributes of no file", lambda: session.set_attributes(_B, {"copy": "2"}))
        for odd in ({"": "x"}, {"a b": "x"}, {"ltfs.sync": "1"}, {"long": "x" * 4097}):
            _refused(InvalidInput, f"the attribute {next(iter(odd))!r}", partial(session.set_attributes, _A, odd))
    wanted = {"ltfs.hash.sha512sum": "00ff", "copy": "2", "note": "\u00e4"}
    with scratch.session("read") as session:
        _expect([dict(file.attributes) for file in session.list()], [wanted], "the attributes")


def _reading_writes_nothing(scratch: Scratch) -> None:
    with scratch.session("read") as session:
        before = scratch.library.stat(scratch.serial).generation
        _refused(Conflict, "writing", lambda: session.write(_A, [b"x"], {}))
        _refused(Conflict, "deleting", lambda: session.delete(_A))
        _refused(Conflict, "syncing", lambda: session.sync("holdfast check"))
    _expect(scratch.library.stat(scratch.serial).generation, before, "the generation")


def _closed_is_closed(scratch: Scratch) -> None:
    with scratch.session("write") as session:
        session.write(_A, [b"x"], {})
        session.close()
        _refused(Conflict, "reading", lambda: session.read(_A))
        _refused(Conflict, "writing", lambda: session.write(_B, [b"x"], {}))


def _ranges(scratch: Scratch) -> None:
    with scratch.session("write") as session:
        session.write(_A, [b"0123456789"], {})
        _refused(NotFound, "reading no file", lambda: session.read(_B))
        for offset, length in ((-1, 1), (0, 11), (11, None), (5, -1)):
            _refused(InvalidInput, f"{length} bytes from {offset}", partial(session.read, _A, offset, length))


def _odd_names(scratch: Scratch) -> None:
    with scratch.session("write") as session:
        for name in ODD_NAMES:
            _refused(InvalidInput, f"writing {name!r}", partial(session.write, name, [b"x"], {}))
            _refused(InvalidInput, f"deleting {name!r}", partial(session.delete, name))
        _expect([file.name for file in session.list()], [], "the listing")


def _failing_source(scratch: Scratch) -> None:
    def source() -> Iterator[bytes]:
        yield content(5_000_000)
        raise OSError(5, "the disk of the source")

    with scratch.session("write") as session:
        try:
            session.write(_A, source(), {})
        except OSError as error:
            _expect(error.strerror, "the disk of the source", "the error")
        else:
            raise TrialFailed("the error of the source was lost")
        _expect([file.name for file in session.list()], [], "the listing")
        session.write(_A, [b"x"], {})
        session.sync("holdfast check")


def _left_clean(scratch: Scratch) -> None:
    with scratch.session("read") as session:
        _expect([file.name for file in session.list()], [], "the listing")


TRIALS: Final = (
    Trial("the tape is listed, healthy, and has room", _listed),
    Trial("a tape is in one drive and one session only", _exclusive),
    *(
        Trial(
            f"files of all sizes come back from the medium, written in pieces of {piece} bytes",
            partial(_comes_back, piece),
        )
        for piece in PIECES
    ),
    Trial("each sync makes a new generation of the index", _sync_advances),
    Trial("what was not synced is synced at the end", _close_syncs),
    Trial("a file is never overwritten", _never_overwrites),
    Trial("deleting works and gives no room back", _deletes),
    Trial("attributes stay with their files", _attributes),
    Trial("a session for reading writes nothing", _reading_writes_nothing),
    Trial("a closed session does nothing", _closed_is_closed),
    Trial("what is not within a file is not read", _ranges),
    Trial("odd names are refused", _odd_names),
    Trial("a source that fails leaves nothing", _failing_source),
    Trial("all that was written is deleted again", _left_clean),
)
