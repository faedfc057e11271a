# SPDX-License-Identifier: Apache-2.0
"""The library for real tapes, on a folder whose file system is no LTFS but has its attributes made up."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import Conflict, InvalidInput, LibraryUnavailable, MediumFailed, NotFound
from holdfast.tape.faults import Fault, write_faults
from holdfast.tape.index import load_index, save_index
from holdfast.tape.library import TapeLibrary, describe_lock
from holdfast.tape.ltfs import ExtendedAttributes, LtfsLibrary
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.tape.volume import index_path
from holdfast.tape.watchdog import LIMITS, Limits
from holdfast.testing.ltfs import PretendedLtfs, always, hanging, supports_attributes
from holdfast.testing.tape_contract import Misfortune, TapeLibraryContract

SERIAL = "HF0001L8"


def needs_attributes(folder: Path) -> None:
    assert supports_attributes(folder), (
        f"{folder} has no user attributes: set TMPDIR to a folder of a file system that has"
    )


def pretended(folder: Path, *, limits: Limits = LIMITS, drives: str = "LTO-8") -> LtfsLibrary:
    needs_attributes(folder)
    root = folder / "offline"
    if not root.exists():
        SimulatedLibrary.create(root, media=[("L8", 3)], capacity=100_000_000)
    library = LtfsLibrary(
        root, state=folder / "state", drives=[(drives, 2)], attributes=PretendedLtfs(), mounted=always, limits=limits
    )
    library.set_up()
    return library


class TestLtfsLibrary(TapeLibraryContract):
    @pytest.fixture
    def library(self, tmp_path: Path) -> TapeLibrary:
        self.root = tmp_path / "offline"
        return pretended(tmp_path)

    def misfortune(self, library: TapeLibrary, serial: str, kind: Misfortune, place: int) -> None:
        if kind != "mount-fails":
            pytest.skip(f"{library}: a folder is no tape that could fail at byte {place}")
        write_faults(self.root, [Fault(serial, kind)])


def test_what_is_no_tape_is_told_apart(tmp_path: Path) -> None:
    library = pretended(tmp_path)
    for name in ("UNKN0000", "HF0004L8-proposal 17", "HF0005M8", "HF0006L5", "lost+found", "HF07L8"):
        (library.root / name).mkdir()
    (library.root / "HF0008L8").write_text("a file")
    tapes = {tape.serial: (tape.media_type, tape.state) for tape in library.inventory()}
    assert tapes == {
        "HF0001L8": ("L8", "active"),
        "HF0002L8": ("L8", "active"),
        "HF0003L8": ("L8", "active"),
        "HF0004L8": ("L8", "missing"),
        "HF0005M8": ("M8", "active"),
        "HF0006L5": ("L5", "active"),
        "UNKN0000": ("", "missing"),
    }
    for serial, why in (("UNKN0000", "bar code cannot be read"), ("HF0004L8", "format it without a name")):
        with pytest.raises(MediumFailed, match=why), library.sessions([serial], "read", timeout=0):
            pass
    with pytest.raises(InvalidInput, match="No drive reads tape HF0006L5"), library.sessions(["HF0006L5"], "read"):
        pass


def test_what_was_known_stays_known_without_the_tape(tmp_path: Path) -> None:
    library = pretended(tmp_path)
    assert library.stat("HF0002L8").capacity == 11_710_000_000_000
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        session.write("a", [bytes(3_000_000)], {})
        assert not library.stat(SERIAL).consistent
        generation = session.sync("test")
        assert library.stat(SERIAL).consistent
    index_path(library.root, SERIAL).unlink()
    volume = pretended(tmp_path).stat(SERIAL)
    assert (volume.generation, volume.lock_state, volume.consistent) == (generation, 0, True)
    assert 0 < volume.free < volume.capacity - 3_000_000
    assert volume.health == {"mediaLoads": 3, "mediaEfficiency": -1, "mediaStorageAlert": 0}
    assert pretended(tmp_path).inventory()[0].state == "active"


def test_a_tape_that_was_taken_out_is_missing(tmp_path: Path) -> None:
    library = pretended(tmp_path)
    with library.sessions([SERIAL], "read", timeout=0):
        pass
    (library.root / SERIAL).rename(tmp_path / SERIAL)
    (library.root / "HF0002L8").rmdir()
    assert [(tape.serial, tape.state) for tape in library.inventory()] == [(SERIAL, "missing"), ("HF0003L8", "active")]
    with pytest.raises(MediumFailed, match="does not show it"), library.sessions([SERIAL], "read", timeout=0):
        pass
    with pytest.raises(NotFound), library.sessions(["HF0002L8"], "read", timeout=0):
        pass
    (tmp_path / SERIAL).rename(library.root / SERIAL)
    with library.sessions([SERIAL], "read", timeout=0):
        pass


def test_deleting_nothing_changes_nothing(tmp_path: Path) -> None:
    library = pretended(tmp_path)
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        session.write("a", [b"x"], {})
        session.sync("test")
        session.delete("never")
        with pytest.raises(Conflict):
            session.write("a", [b"y"], {})
        assert library.stat(SERIAL).consistent


def test_a_frozen_tape_is_read_only_and_says_why(tmp_path: Path) -> None:
    library = pretended(tmp_path)
    path = index_path(library.root, SERIAL)
    save_index(path, type(load_index(path))(capacity=100_000_000, early_warning=0, lock_state=0x60))
    with library.sessions([SERIAL], "read", timeout=0) as (session,):
        assert not session.list()
    assert library.inventory()[0].state == "broken"
    words = re.escape("0x60 (permanent write error, write error on the data partition)")
    with pytest.raises(MediumFailed, match=words), library.sessions([SERIAL], "write", timeout=0):
        pass
    assert describe_lock(0) == "lock state 0x0 (unlocked)"


def test_a_folder_that_is_not_ltfs_says_so(tmp_path: Path) -> None:
    root = pretended(tmp_path).root
    library = LtfsLibrary(root, state=tmp_path / "state", drives=[("", 1)])
    with pytest.raises(LibraryUnavailable, match="nothing is mounted there"):
        library.inventory()
    library = LtfsLibrary(tmp_path / "nowhere", state=tmp_path / "state", drives=[("", 1)], mounted=always)
    with pytest.raises(LibraryUnavailable, match=os.strerror(errno.ENOENT)):
        library.inventory()
    library = LtfsLibrary(root, state=tmp_path / "state", drives=[("", 1)], mounted=always)
    with pytest.raises(MediumFailed, match="no LTFS attributes"), library.sessions([SERIAL], "read", timeout=0):
        pass
    with pytest.raises(NotFound):
        library.put_back(SERIAL)
    with pytest.raises(InvalidInput, match="no kind of drive LTO-3; known are LTO-7"):
        LtfsLibrary(root, state=tmp_path, drives=[("LTO-3", 1)])


def test_a_mount_point_that_hangs_is_unavailable_and_then_there_again(tmp_path: Path) -> None:
    root = pretended(tmp_path).root
    library = LtfsLibrary(
        root,
        state=tmp_path / "state",
        drives=[("", 1)],
        mounted=hanging,
        limits=Limits(look=3),
        attributes=PretendedLtfs(),
    )
    (tmp_path / "hang").touch()
    with pytest.raises(LibraryUnavailable, match="did not answer for 3 s"):
        library.inventory()
    with pytest.raises(LibraryUnavailable), library.sessions([SERIAL], "read", timeout=0):
        pass
    (tmp_path / "hang").unlink()
    assert len(library.inventory()) == 3


def test_flags_are_cleared_when_they_are_known(tmp_path: Path) -> None:
    """LTFS keeps the flags of a drive; the next tape in it is not to be blamed for them."""
    library = pretended(tmp_path)
    path = index_path(library.root, "HF0001L8")
    index = load_index(path)
    save_index(path, replace(index, counters={**index.counters, "mediaStorageAlert": 0x50}))
    with library.sessions(["HF0001L8"], "read", timeout=0):
        pass
    assert library.stat("HF0001L8").health["mediaStorageAlert"] == 0x50
    assert load_index(path).counters["mediaStorageAlert"] == 0
    with library.sessions(["HF0001L8"], "read", timeout=0):
        pass
    assert library.stat("HF0001L8").health["mediaStorageAlert"] == 0


def test_attributes_are_those_of_linux(tmp_path: Path) -> None:
    needs_attributes(tmp_path)
    attributes = ExtendedAttributes()
    attributes.set(tmp_path, "holdfast.note", "\u00e4")
    assert os.getxattr(tmp_path, "user.holdfast.note") == "\u00e4".encode()
    assert attributes.get(tmp_path, "holdfast.note") == "\u00e4"
    with pytest.raises(OSError, match=os.strerror(errno.ENODATA)):
        attributes.get(tmp_path, "ltfs.sync")


def test_a_tape_that_hangs_is_left_behind(tmp_path: Path) -> None:
    library = pretended(tmp_path, limits=Limits(block=3))
    write_faults(library.root, [Fault(SERIAL, "hangs", name="sync")])
    with library.sessions([SERIAL, "HF0002L8"], "write", timeout=0) as (one, other):
        one.write("a", [b"x"], {})
        with pytest.raises(MediumFailed, match="did not answer"):
            one.sync("test")
        other.write("a", [b"x"], {})
        other.sync("test")
        out = library.drives()[one.drive]
        assert out is not None
        assert out.startswith(f"out of use: tape {SERIAL} in drive {one.drive} did not answer for 3 s, since 20")
    write_faults(library.root, [])
    with pytest.raises(MediumFailed, match="out of use"), library.sessions([SERIAL], "read", timeout=0):
        pass
    with library.sessions(["HF0002L8"], "read", timeout=0) as (session,):
        assert b"".join(session.read("a")) == b"x"
    library.put_back(SERIAL)
    with library.sessions([SERIAL], "read", timeout=60) as (session,):
        assert session.drive != one.drive
    library.put_back(one.drive)
    assert set(library.drives().values()) == {None}
