# SPDX-License-Identifier: Apache-2.0
"""What every tape library must do.

A driver's author writes

    class TestMyLibrary(TapeLibraryContract):
        @pytest.fixture
        def library(self, tmp_path):
            return MyLibrary(...)

where the fixture gives a library with at least three empty tapes and exactly two drives. Failures of tapes are tested
where the hooks `die` and `misfortune` can make them happen; the others are skipped.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest

from holdfast.errors import Busy, InvalidInput, MediumFailed, NotFound, TapeFull
from holdfast.tape.library import TapeLibrary, TapeSession
from holdfast.tape.trial import TRIALS, Scratch, Trial, content_of, pieces
from holdfast.testing.faults import sample

Misfortune = Literal["full", "write-error", "read-error", "sync-fails", "mount-fails"]


class TapeLibraryContract:
    """Inherit, give the fixture `library`, and override the hooks that can be made to happen."""

    @pytest.fixture
    def library(self) -> TapeLibrary:
        """Return a library with at least three empty tapes and exactly two drives."""
        raise NotImplementedError

    def die(self, library: TapeLibrary, serial: str, name: str, content: bytes) -> None:
        """Hook: let another process write a file to a tape and be killed before it syncs."""
        pytest.skip(f"{library}: no process can die while it writes {len(content)} bytes to {name} on {serial}")

    def misfortune(self, library: TapeLibrary, serial: str, kind: Misfortune, place: int) -> None:
        """Hook: let something happen to a tape, at a place in bytes.

        full: the tape ends when it holds `place` bytes. write-error: writing fails for ever when it holds `place`.
        read-error: no file can be read at byte `place`. sync-fails: the next sync fails. mount-fails: no mount works.
        """
        pytest.skip(f"{library}: {kind} at byte {place} of {serial} cannot be made to happen")

    # ---- the library ----

    def test_inventory(self, library: TapeLibrary) -> None:
        """Tapes come by serial; asking mounts none."""
        tapes = library.inventory()
        assert [tape.serial for tape in tapes] == sorted({tape.serial for tape in tapes})
        assert {tape.state for tape in tapes} == {"active"}
        assert list(library.drives().values()) == [None, None]
        assert list(library.drive_kinds()) == list(library.drives())
        assert library.speed() >= 0

    def test_stat(self, library: TapeLibrary) -> None:
        """An empty volume is healthy and has room; one that is not there is not found."""
        volume = library.stat(_serials(library)[0])
        assert (volume.lock_state, volume.consistent) == (0, True)
        assert 0 < volume.free <= volume.capacity
        with pytest.raises(NotFound):
            library.stat("NOSUCH1L8")
        with pytest.raises(NotFound), library.sessions(["NOSUCH1L8"], "read", timeout=0):
            pass

    def test_drives_show_what_is_in_them(self, library: TapeLibrary) -> None:
        """A tape is in the drive that its session says, until the session is closed."""
        first, second, *_ = _serials(library)
        with library.sessions([second, first], "read", timeout=0) as sessions:
            assert [session.serial for session in sessions] == [second, first]
            assert library.drives() == {session.drive: session.serial for session in sessions}
            sessions[0].close()
            sessions[0].close()
            assert library.drives()[sessions[0].drive] is None
        assert set(library.drives().values()) == {None}

    def test_drives_are_exclusive_and_taken_all_or_none(self, library: TapeLibrary) -> None:
        """With one drive left, two tapes are not mounted, and the one drive stays free for others."""
        first, second, third, *_ = _serials(library)
        with library.sessions([first], "read", timeout=0):
            with pytest.raises(Busy), library.sessions([second, third], "read", timeout=0):
                pass
            with library.sessions([third], "read", timeout=0):
                pass

    def test_whoever_waits_gets_it(self, library: TapeLibrary) -> None:
        """Waiters get their tapes when these are given back, in whatever order they were asked for."""
        first, second, *_ = _serials(library)
        inside = threading.Semaphore(1)

        def work(number: int) -> None:
            serials = [first, second] if number % 2 else [second, first]
            with library.sessions(serials, "write", timeout=60) as (one, _two):
                assert inside.acquire(blocking=False)
                one.write(f"{number}", [b"x"], {})
                inside.release()

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
        with library.sessions([first, second], "read", timeout=0) as sessions:
            names = [file.name for session in sessions for file in session.list()]
        assert sorted(names) == [f"{number}" for number in range(6)]

    def test_too_many_or_twice_is_refused(self, library: TapeLibrary) -> None:
        """What could never be had is refused at once."""
        first, second, third, *_ = _serials(library)
        for serials in ([first, first], [first, second, third]):
            with pytest.raises(InvalidInput), library.sessions(serials, "read"):
                pass

    def test_a_drive_that_is_locked_out_is_not_used(self, library: TapeLibrary) -> None:
        """One in use is out when its tape is; put back, it is used again. The first reason stays."""
        first, second, *_ = _serials(library)
        assert library.drive_kinds().keys() == library.drives().keys()
        with library.sessions([first], "read", timeout=0) as (session,):
            drive = session.drive
            library.lock_out(drive, "it squeaks")
            library.lock_out(drive, "it rattles")
            assert library.drives()[drive] == first
            assert library.drives_out() == {drive: "it squeaks"}
            assert session.list() == []
        assert library.drives()[drive] == "out of use: it squeaks"
        with library.sessions([first], "read", timeout=0) as (session,):
            assert session.drive != drive
        with pytest.raises(Busy), library.sessions([first, second], "read", timeout=0):
            pass
        library.put_back(drive)
        assert library.drives_out() == {}
        with library.sessions([first, second], "read", timeout=0):
            pass
        with pytest.raises(NotFound):
            library.put_back(drive)
        with pytest.raises(NotFound):
            library.lock_out("no such drive", "it squeaks")

    def test_a_drive_to_avoid_is_taken_last(self, library: TapeLibrary) -> None:
        """Each tape avoids drives of its own; they are taken when there is no other."""
        first, second, *_ = _serials(library)
        for drive in library.drives():
            with library.sessions([first, second], "read", timeout=0, avoid={(first, drive)}) as (one, two):
                assert (one.drive == drive, two.drive == drive) == (False, True)
        everything = {(first, drive) for drive in library.drives()}
        with library.sessions([first], "read", timeout=0, avoid=everything):
            pass

    # ---- files ----

    def test_a_session_counts_what_it_moves(self, library: TapeLibrary) -> None:
        """Bytes that were written and read; a tape that is well is no trouble."""
        with library.sessions([_serials(library)[0]], "write", timeout=0) as (session,):
            session.write("a", [sample(3_000_000)], {})
            session.sync("test")
            assert (session.bytes_written, session.bytes_read) == (3_000_000, 0)
            assert content_of(session, "a") == sample(3_000_000)
            assert (session.bytes_written, session.bytes_read) == (3_000_000, 3_000_000)
            assert session.trouble is None

    @pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.shows)
    def test_trial(self, library: TapeLibrary, trial: Trial) -> None:
        """What the operator of a real library can check too."""
        trial.run(Scratch(library, _serials(library)[0]))

    def test_two_sessions_in_two_threads(self, library: TapeLibrary) -> None:
        """Twin tapes are written and read at the same time."""
        contents = [sample(1_000_000, f"{number}") for number in range(8)]

        def work(session: TapeSession) -> bytes:
            session.write("twin", contents, {})
            session.sync("test")
            return content_of(session, "twin")

        with (
            library.sessions(_serials(library)[:2], "write", timeout=0) as sessions,
            ThreadPoolExecutor(2) as pool,
        ):
            assert list(pool.map(work, sessions)) == [b"".join(contents)] * 2

    # ---- bad days ----

    def test_what_was_not_synced_is_lost(self, library: TapeLibrary) -> None:
        """P6: after a death the tape is as its last index says, and the room of the lost file is not given back."""
        serial = _serials(library)[0]
        with library.sessions([serial], "write", timeout=0) as (session,):
            session.write("kept", [sample(1_000_000)], {})
        free = library.stat(serial).free
        self.die(library, serial, "lost", sample(3_000_000))
        assert not library.stat(serial).consistent
        with library.sessions([serial], "write", timeout=0) as (session,):
            assert session.recovered == ("lost",)
            assert [file.name for file in session.list()] == ["kept"]
            assert content_of(session, "kept") == sample(1_000_000)
            session.write("lost", [b"again"], {})
        volume = library.stat(serial)
        assert volume.consistent
        assert volume.free <= free - 3_000_000

    def test_a_full_tape(self, library: TapeLibrary) -> None:
        """A full tape keeps what it had; the partial file is gone; syncing and deleting still work."""
        serial = _serials(library)[0]
        self.misfortune(library, serial, "full", 5_000_000)
        with library.sessions([serial], "write", timeout=0) as (session,):
            session.write("a", [sample(2_000_000)], {})
            for _ in range(2):
                with pytest.raises(TapeFull):
                    session.write("b", pieces(sample(4_000_000), 1 << 20), {})
                assert [file.name for file in session.list()] == ["a"]
            session.sync("test")
            session.set_attributes("a", {"k": "v"})
        assert [tape.state for tape in library.inventory() if tape.serial == serial] == ["full"]
        with library.sessions([serial], "read", timeout=0) as (session,):
            assert content_of(session, "a") == sample(2_000_000)

    def test_a_broken_tape(self, library: TapeLibrary) -> None:
        """A permanent write error freezes the tape for ever; what it has can still be read; the stub is no copy."""
        serial = _serials(library)[0]
        self.misfortune(library, serial, "write-error", 5_000_000)
        with library.sessions([serial], "write", timeout=0) as (session,):
            session.write("a", [sample(2_000_000)], {})
            session.sync("test")
            with pytest.raises(MediumFailed):
                session.write("b", pieces(sample(4_000_000), 1 << 20), {})
            for attempt in (lambda: session.write("c", [b"x"], {}), lambda: session.sync("test")):
                with pytest.raises(MediumFailed):
                    attempt()
            assert content_of(session, "a") == sample(2_000_000)
        assert [tape.state for tape in library.inventory() if tape.serial == serial] == ["broken"]
        assert library.stat(serial).lock_state != 0
        with pytest.raises(MediumFailed), library.sessions([serial], "write", timeout=0):
            pass
        with library.sessions([serial], "read", timeout=0) as (session,):
            assert {file.name: file.size for file in session.list()} in ({"a": 2_000_000}, {"a": 2_000_000, "b": 0})
            assert content_of(session, "a") == sample(2_000_000)
        assert set(library.drives().values()) == {None}

    def test_an_unreadable_file(self, library: TapeLibrary) -> None:
        """What lies before the bad place is read; the rest is MediumFailed, and others can be read."""
        serial = _serials(library)[0]
        with library.sessions([serial], "write", timeout=0) as (session,):
            session.write("a", [sample(9_000_000)], {})
            session.write("b", [b"short"], {})
        self.misfortune(library, serial, "read-error", 8_500_000)
        with library.sessions([serial], "read", timeout=0) as (session,):
            with pytest.raises(MediumFailed):
                content_of(session, "a")
            assert content_of(session, "a", 0, 1_000_000) == sample(9_000_000)[:1_000_000]
            assert content_of(session, "b") == b"short"

    def test_a_failing_sync(self, library: TapeLibrary) -> None:
        """After a failed sync nothing more is written, and what was not synced is gone at the next mount."""
        serial = _serials(library)[0]
        with library.sessions([serial], "write", timeout=0) as (session,):
            session.write("a", [b"x"], {})
            session.sync("test")
            self.misfortune(library, serial, "sync-fails", 0)
            session.write("b", [b"x"], {})
            with pytest.raises(MediumFailed):
                session.sync("test")
            with pytest.raises(MediumFailed):
                session.write("c", [b"x"], {})
        with library.sessions([serial], "read", timeout=0) as (session,):
            assert [file.name for file in session.list()] == ["a"]

    def test_a_tape_that_cannot_be_mounted(self, library: TapeLibrary) -> None:
        """Nothing stays taken when one of two tapes cannot be mounted."""
        first, second, *_ = _serials(library)
        self.misfortune(library, second, "mount-fails", 0)
        with pytest.raises(MediumFailed), library.sessions([first, second], "read", timeout=0):
            pass
        with library.sessions([first], "read", timeout=0):
            pass
        assert set(library.drives().values()) == {None}


def _serials(library: TapeLibrary) -> Sequence[str]:
    return [tape.serial for tape in library.inventory()]
