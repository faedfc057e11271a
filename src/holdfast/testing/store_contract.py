# SPDX-License-Identifier: Apache-2.0
"""What every store must do.

A driver's author writes

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(...)

where the fixture gives a fresh, empty store, and runs pytest on it.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import blake3
import pytest

from holdfast.errors import Conflict, DigestMismatch, IntegrityError, InvalidInput, NoSpace, NotFound
from holdfast.storage.store import Store, Stored
from holdfast.testing.faults import BitFlip, FailingSource, ShortSource, sample

SIZES = (0, 1, 4095, 4096, 4097, 1 << 20, (1 << 20) + 17, 5_000_000)  # bytes
ODD_KEYS = (
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    ".a",
    "a/.b",
    "a b",
    "a\0b",
    "a\nb",
    "a\\b",
    "\u00e4",
    "a" * 256,
    "/".join(["abc"] * 300),
)


def put(store: Store, key: str, content: bytes) -> Stored:
    """Put `content`, with the right size and digest."""
    return store.put(key, io.BytesIO(content), size=len(content), digest=blake3.blake3(content).hexdigest())


class StoreContract:
    """Inherit, give the fixture `store`, and override `disk_full` where that can be made to happen."""

    @pytest.fixture
    def store(self) -> Store:
        """Return a fresh, empty store."""
        raise NotImplementedError

    def disk_full(self, store: Store) -> AbstractContextManager[None]:
        """Return a context in which the store's medium has no room for 1 MB more."""
        pytest.skip(f"{store.info.name}: no way to fill the medium")

    @pytest.mark.parametrize("size", SIZES)
    def test_what_was_put_comes_back(self, store: Store, size: int) -> None:
        """The bytes, the size, and the digest where the medium remembers it."""
        content = sample(size)
        digest = blake3.blake3(content).hexdigest()
        stored = put(store, "a/package.tar.zst", content)
        assert (stored.key, stored.size) == ("a/package.tar.zst", size)
        assert store.stat(stored.key).size == size
        assert store.stat(stored.key).digest in ({digest} if "blake3" in store.info.digests else {digest, None})
        with store.open(stored.key) as file:
            assert file.read() == content

    @pytest.mark.parametrize(
        ("start", "length"), [(0, 0), (0, 10), (4095, 2), (99_999, 1), (100_000, None), (17, None)]
    )
    def test_ranges(self, store: Store, start: int, length: int | None) -> None:
        """Any range within a package can be read."""
        content = sample(100_000)
        put(store, "key", content)
        with store.open("key", start=start, length=length) as file:
            assert file.read() == content[start : None if length is None else start + length]

    @pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, 11), (11, 0), (11, None), (5, -1)])
    def test_ranges_outside_are_refused(self, store: Store, start: int, length: int | None) -> None:
        """A range that is not all within is refused, not cut."""
        put(store, "key", sample(10))
        with pytest.raises(InvalidInput):
            store.open("key", start=start, length=length)

    def test_never_overwrites(self, store: Store) -> None:
        """A key that is there stays as it is, also for the same bytes."""
        put(store, "key", b"first")
        for content in (b"second", b"first"):
            with pytest.raises(Conflict):
                put(store, "key", content)
        assert _content(store, "key") == b"first"

    def test_one_of_many_writers_wins(self, store: Store) -> None:
        """When several put one key at once, one wins and the others learn it."""

        def attempt(number: int) -> bool:
            try:
                put(store, "key", sample(300_000, str(number)))
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            wins = list(pool.map(attempt, range(8)))
        assert wins.count(True) == 1
        assert _content(store, "key") == sample(300_000, str(wins.index(True)))

    def test_other_bytes_are_refused(self, store: Store) -> None:
        """A wrong digest leaves nothing behind."""
        content = sample(2_000_000)
        source = io.BufferedReader(BitFlip(io.BytesIO(content), 1_234_567))
        with pytest.raises(DigestMismatch):
            store.put("key", source, size=len(content), digest=blake3.blake3(content).hexdigest())
        self._nothing_there(store)

    @pytest.mark.parametrize("difference", [-1, 1, 1_000_000])
    def test_another_length_is_refused(self, store: Store, difference: int) -> None:
        """Too many or too few bytes leave nothing behind, though their digest is right."""
        content = sample(1_500_000)
        with pytest.raises(IntegrityError):
            store.put(
                "key",
                io.BytesIO(content),
                size=len(content) + difference,
                digest=blake3.blake3(content).hexdigest(),
            )
        self._nothing_there(store)

    def test_a_short_source_is_refused(self, store: Store) -> None:
        """A source that ends early leaves nothing behind."""
        content = sample(1_500_000)
        source = io.BufferedReader(ShortSource(io.BytesIO(content), 1_000_000))
        with pytest.raises(IntegrityError):
            store.put("key", source, size=len(content), digest=blake3.blake3(content).hexdigest())
        self._nothing_there(store)

    def test_a_failing_source_leaves_nothing(self, store: Store) -> None:
        """The source's error comes through and the key stays free."""
        content = sample(3_000_000)
        source = io.BufferedReader(FailingSource(io.BytesIO(content), 1_100_000))
        with pytest.raises(OSError, match="Input/output error"):
            store.put("key", source, size=len(content), digest=blake3.blake3(content).hexdigest())
        self._nothing_there(store)

    def test_nothing_is_seen_before_it_is_whole(self, store: Store) -> None:
        """While a package is being put, it is not there for others."""
        content = sample(3_000_000)
        source = _Peeping(content, store)
        store.put("key", source, size=len(content), digest=blake3.blake3(content).hexdigest())
        assert source.peeps > 0
        assert [stored.key for stored in store.list()] == ["key"]

    def test_list_is_ascending(self, store: Store) -> None:
        """Keys come in the order of their characters, folders or not, and by prefix."""
        keys = ["a/b", "a-b", "a.b", "a", "a/b/c", "b", "a=b", "a0", "A"]
        put_keys = []
        for key in keys:
            try:
                put(store, key, key.encode())
            except Conflict:
                continue  # where a package cannot also be a folder
            put_keys.append(key)
        assert [stored.key for stored in store.list()] == sorted(put_keys)
        assert [stored.key for stored in store.list("a/")] == sorted(key for key in put_keys if key.startswith("a/"))
        assert [stored.key for stored in store.list("a")] == sorted(key for key in put_keys if key.startswith("a"))
        assert not list(store.list("nothing"))
        assert {stored.size for stored in store.list("b")} == {1}

    def test_delete_is_idempotent(self, store: Store) -> None:
        """What is gone can be deleted again, and its key used again."""
        put(store, "a/b", b"first")
        store.delete("a/b")
        store.delete("a/b")
        store.delete("never/was")
        self._nothing_there(store, "a/b")
        put(store, "a/b", b"second")
        assert _content(store, "a/b") == b"second"

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_odd_keys_are_refused(self, store: Store, key: str) -> None:
        """A key can neither leave the store nor be mistaken."""
        with pytest.raises(InvalidInput):
            put(store, key, b"x")
        for method in (store.open, store.stat, store.delete):
            with pytest.raises(InvalidInput):
                method(key)
        assert not list(store.list())

    @pytest.mark.parametrize("digest", ["", "0" * 63, "G" * 64, "A" * 64])
    def test_odd_digests_are_refused(self, store: Store, digest: str) -> None:
        """A digest is 64 hex digits in lower case."""
        with pytest.raises(InvalidInput):
            store.put("key", io.BytesIO(b""), size=0, digest=digest)

    def test_what_is_not_there(self, store: Store) -> None:
        """Opening or asking for it says so; parts of a key are no key."""
        put(store, "a/b", b"x")
        for key in ("key", "a", "a/b/c"):
            with pytest.raises(NotFound):
                store.stat(key)
            with pytest.raises(NotFound):
                store.open(key)
        with pytest.raises(NotFound):
            store.recall(["a/b", "key"])

    def test_recall(self, store: Store) -> None:
        """What is online is ready; what is nearline is waited for, and nothing is forgotten."""
        put(store, "a", b"x")
        put(store, "b", b"y")
        status = store.recalled(store.recall(["a", "b"]))
        assert status.ready | status.waiting | set(status.failed) == {"a", "b"}
        if store.info.kind == "online":
            assert status.done
            assert status.ready == {"a", "b"}

    def test_disk_full(self, store: Store) -> None:
        """A full medium is NoSpace, leaves nothing behind, and what was there stays."""
        put(store, "before", b"x")
        content = sample(1_000_000)
        with self.disk_full(store), pytest.raises(NoSpace):
            put(store, "key", content)
        self._nothing_there(store)
        assert _content(store, "before") == b"x"
        put(store, "key", content)

    def _nothing_there(self, store: Store, key: str = "key") -> None:
        with pytest.raises(NotFound):
            store.stat(key)
        assert key not in {stored.key for stored in store.list()}


def _content(store: Store, key: str) -> bytes:
    with store.open(key) as file:
        return file.read()


class _Peeping(io.BytesIO):
    """A source that looks into the store whenever it is read."""

    def __init__(self, content: bytes, store: Store) -> None:
        super().__init__(content)
        self._store = store
        self.peeps = 0

    def read(self, size: int | None = -1) -> bytes:
        self.peeps += 1
        assert not list(self._store.list())
        return super().read(size)
