# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from holdfast.storage.posix import PosixStore
from holdfast.storage.store import Store
from holdfast.storage.wrappers import Checked, Logged
from holdfast.testing.store_contract import StoreContract


class TestPosixStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return PosixStore.create(tmp_path / "store")

    @contextlib.contextmanager
    def disk_full(self, store: Store) -> Iterator[None]:
        def no_room(*_: object) -> NoReturn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        assert store.info.free is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("holdfast.storage.posix.os.write", no_room)
            yield


class TestWrappedPosixStore(TestPosixStore):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return Logged(Checked(PosixStore.create(tmp_path / "store")))
