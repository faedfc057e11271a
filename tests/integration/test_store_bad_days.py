# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with stores: killed writers, vanished mounts, rotten bytes, lying and failing stores."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import blake3
import pytest

from holdfast.errors import Busy, DigestMismatch, IntegrityError, MediumFailed, NotFound, OperatorNeeded, SettingsError
from holdfast.storage.posix import PosixStore
from holdfast.storage.wrappers import Checked, open_store
from holdfast.testing.faults import BitFlipStore, FailingStore, ShortWriteStore, sample
from holdfast.testing.store_contract import put

DYING = """
import io, os, signal, sys
from pathlib import Path
from holdfast.storage.posix import PosixStore

class Source(io.BytesIO):
    def read(self, size=-1):
        if self.tell() >= 2_000_000:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(size)

PosixStore(Path(sys.argv[1])).put("key", Source(bytes(3_000_000)), size=3_000_000, digest="0" * 64)
"""


@pytest.fixture
def store(tmp_path: Path) -> PosixStore:
    return PosixStore.create(tmp_path / "store")


def test_a_killed_writer_leaves_nothing_to_be_seen(store: PosixStore) -> None:
    assert subprocess.run([sys.executable, "-c", DYING, str(store.root)], check=False).returncode == -9
    assert not list(store.list())
    (left,) = (store.root / ".incoming").iterdir()
    PosixStore(store.root)
    assert left.exists()  # it might be somebody's who has just begun
    os.utime(left, (0, 0))
    PosixStore(store.root)
    assert not left.exists()
    put(store, "key", b"x")


def test_a_store_that_is_not_mounted_is_not_an_empty_store(store: PosixStore) -> None:
    put(store, "key", b"x")
    store.root.rename(store.root.with_name("elsewhere"))
    store.root.mkdir()
    for attempt in (lambda: store.stat("key"), lambda: list(store.list()), lambda: store.open("key")):
        with pytest.raises(OperatorNeeded):
            attempt()
    with pytest.raises(OperatorNeeded):
        put(store, "key", b"x")
    with pytest.raises(OperatorNeeded):
        PosixStore(store.root)


def test_rotten_bytes_are_found_by_reading_all(store: PosixStore) -> None:
    content = sample(3_000_000)
    put(store, "key", content)
    checked = Checked(store)
    assert checked.open("key").read() == content
    with (store.root / "key").open("r+b") as file:
        file.seek(1_500_000)
        file.write(bytes([content[1_500_000] ^ 1]))
    with checked.open("key") as stream, pytest.raises(DigestMismatch):
        shutil.copyfileobj(stream, io.BytesIO())
    with checked.open("key", start=10, length=10) as stream:
        assert stream.read() == content[10:20]


def test_a_package_that_became_shorter_is_found(store: PosixStore) -> None:
    put(store, "key", sample(3_000_000))
    os.truncate(store.root / "key", 1_000_000)
    assert store.stat("key").size == 1_000_000
    with Checked(store).open("key") as stream, pytest.raises(DigestMismatch):
        stream.read()
    put(store, "empty", b"x")
    os.truncate(store.root / "empty", 0)
    with Checked(store).open("empty") as stream, pytest.raises(DigestMismatch):
        stream.read()


def test_foreign_files_are_not_listed(store: PosixStore) -> None:
    put(store, "a/key", b"x")
    (store.root / "not a key").write_bytes(b"x")
    (store.root / "a" / ".hidden").write_bytes(b"x")
    (store.root / "link").symlink_to("nowhere")
    assert [stored.key for stored in store.list()] == ["a/key"]


def test_fault_wrappers(store: PosixStore) -> None:
    content = sample(1000)
    put(store, "key", content)
    with BitFlipStore(store, 500).open("key") as stream:
        assert stream.read() == content[:500] + bytes([content[500] ^ 1]) + content[501:]
    with Checked(BitFlipStore(store, 500)).open("key") as stream, pytest.raises(DigestMismatch):
        stream.read()
    assert put(ShortWriteStore(store, 10), "short", content).size == 1000
    assert store.stat("short").size == 10
    failing = FailingStore(store, {"open": [Busy(what="Later.")], "stat": [NotFound(kind="package", name="key")]})
    with pytest.raises(Busy):
        failing.open("key")
    with pytest.raises(NotFound):
        failing.stat("key")
    assert failing.stat("key").size == 1000
    assert failing.open("key").read() == content


def test_open_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"file://{tmp_path}/my%20store?name=disk1"
    with pytest.raises(OperatorNeeded):
        open_store(url)
    opened = open_store(url, create=True)
    assert (opened.info.name, opened.info.kind) == ("disk1", "online")
    with caplog.at_level("INFO"), pytest.raises(IntegrityError):
        opened.put("key", io.BytesIO(b"x"), size=2, digest=blake3.blake3(b"x").hexdigest())
    assert "put key" in caplog.text
    put(opened, "key", b"x")
    assert open_store(url).open("key").read() == b"x"
    for odd in ("/plain/path", "s3://bucket", "file://host/path", "file:relative"):
        with pytest.raises(SettingsError):
            open_store(odd)


def test_a_disk_that_fails_is_a_failed_medium(store: PosixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("holdfast.storage.posix.os.fsync", broken)
    with pytest.raises(MediumFailed):
        put(store, "key", b"x")
    monkeypatch.undo()
    assert not list(store.list())
