# SPDX-License-Identifier: Apache-2.0
"""How PostgreSQL is run by somebody who is not root.

PostgreSQL refuses to run as root. Started by root it runs as an unprivileged user, and when a folder on the way to
its program or its data is closed to that user it keeps one capability, the one to look through closed folders.
No right of any folder above its own data is ever changed.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.errors import OperatorNeeded

# Linux capability numbers (linux/capability.h), the weaker one first.
_CAPABILITIES: Final = (("dac_read_search", 2), ("dac_override", 1))
_CANDIDATES: Final = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """The user and group that PostgreSQL runs as."""

    uid: int
    gid: int


def choose_account(data: Path) -> Account:
    """The account for a data folder: ourselves, or as root its owner, `postgres` or `nobody`."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    if data.exists():
        owner = data.stat()
        # A folder that was made by another user once stays that user's: what is in it belongs to them.
        if owner.st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid)
    raise OperatorNeeded(what="PostgreSQL cannot run as root, and this system has neither a user postgres nor nobody.")


def command_prefix(account: Account, needed: Iterable[Path], *, death_signal: str) -> list[str]:
    """The words before a program's own that make it run as the account and end together with us.

    The death signal is set last, because a change of user clears it. It is sent when the *thread* that started the
    program ends, so that thread has to live as long as the program.
    """
    setpriv = shutil.which("setpriv", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/bin{os.pathsep}/bin")
    if setpriv is None:
        raise OperatorNeeded(what="The program setpriv (package util-linux) is needed to run the embedded database.")
    prefix = [setpriv, f"--pdeathsig={death_signal}"]
    if os.geteuid() != 0:
        return prefix
    prefix += [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", "--no-new-privs"]
    closed = _first_closed(needed, account)
    if closed is not None:
        capability = _usable_capability(closed)
        prefix += [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"]
    return prefix


def _first_closed(needed: Iterable[Path], account: Account) -> Path | None:
    """The first folder above the needed paths that the account may not pass through."""
    for path in needed:
        for folder in reversed(path.resolve().parents):
            status = folder.stat()
            if status.st_uid == account.uid:
                bit = 0o100
            elif status.st_gid == account.gid:
                bit = 0o010
            else:
                bit = 0o001
            if not status.st_mode & bit:
                return folder
    return None


def _usable_capability(closed: Path) -> str:
    """The weakest capability that passes through closed folders and that we can hand on."""
    have = _mask("CapPrm") & _mask("CapBnd")
    for name, number in _CAPABILITIES:
        if have >> number & 1:
            return name
    raise OperatorNeeded(
        what=f"PostgreSQL cannot run as root, and the user it runs as may not enter {closed}: this process has neither "
        "the capability CAP_DAC_READ_SEARCH nor CAP_DAC_OVERRIDE to hand on. Move the data folder to a place that "
        "everybody may pass through, start as an ordinary user, or set database.url."
    )


def _mask(field: str) -> int:
    """One capability mask of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value, 16)
    return 0
