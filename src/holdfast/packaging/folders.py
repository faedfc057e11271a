# SPDX-License-Identifier: Apache-2.0
"""Folders of people, opened without following any link on the way.

The archive may do more than those whose folders it reads and writes. A folder was allowed when somebody asked for it; who put a
link in its place, or in place of one above it, would have the archive read or write somewhere else.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A folder on the way needs to be searchable only, as for any path.
_ON_THE_WAY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_folder(path: os.PathLike[str] | bytes, *, create: bool = False) -> int:
    """Return a descriptor of a folder, named by its real path; with `create`, missing ones are made.

    Raises OSError, with ELOOP or ENOTDIR where a component is a link.
    """
    at = os.open("/", _ON_THE_WAY)
    try:
        for component in filter(None, os.path.abspath(os.fsencode(path)).split(b"/")):
            below = _enter(component, at, _ON_THE_WAY, create=create)
            os.close(at)
            at = below
        return os.open(".", _DIRECTORY, dir_fd=at)
    finally:
        os.close(at)


def enter(component: bytes, parent: int, *, create: bool) -> int:
    """Return a descriptor of a folder in the folder `parent`, which is made if it is missing and `create`. Raises OSError."""
    return _enter(component, parent, _DIRECTORY, create=create)


def _enter(component: bytes, parent: int, flags: int, *, create: bool) -> int:
    try:
        return os.open(component, flags, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    with contextlib.suppress(FileExistsError):  # another thread was faster
        os.mkdir(component, 0o755, dir_fd=parent)
    return os.open(component, flags, dir_fd=parent)
