# SPDX-License-Identifier: Apache-2.0
"""A whole archive per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from served import client_of

from holdfast.testing.proxy import Proxy
from holdfast.testing.site import SmallSite, small_site


@pytest.fixture
def site(tmp_path: Path, dsn: str) -> Iterator[SmallSite]:
    """An archive with four tapes of 40 MB and two drives."""
    with small_site(tmp_path, dsn) as made:
        yield made


@pytest.fixture
def make_site(tmp_path: Path, dsn: str) -> Iterator[Callable[..., SmallSite]]:
    """A function that makes an archive with settings of its own."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(small_site(tmp_path, dsn, **settings))


@pytest.fixture
def api(site: SmallSite) -> Iterator[httpx.Client]:
    """The administrator's way to the archive over REST."""
    with client_of(site) as client:
        yield client


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    """A way to the catalogue that can be cut."""
    made = Proxy(dsn)
    yield made
    made.cut()
