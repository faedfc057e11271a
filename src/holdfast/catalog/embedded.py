# SPDX-License-Identifier: Apache-2.0
"""The embedded PostgreSQL: initialises, starts, watches and stops the catalogue's own server.

Only the PostgreSQL programs come from elsewhere. The server is our child, listens on a Unix socket alone, and ends
with us however we end (P6). One process owns a database folder at a time; whatever an owner that was killed left
behind (a server that is still stopping, stale files, a half-made cluster, a long recovery) the next one gets over by
itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from holdfast.catalog.cluster import OWNER, clean_environment, find_binaries, make_cluster
from holdfast.catalog.folderlock import FolderLock
from holdfast.catalog.unprivileged import choose_account, command_prefix
from holdfast.errors import DatabaseUnavailable, OperatorNeeded

_log = logging.getLogger(__name__)

_DATABASE: Final = "holdfast"
_PORT: Final = 5432  # only part of the socket's name: nothing listens on TCP
_SOCKET_PATH_MAX: Final = 100  # bytes; Linux allows 107, some clients a little less
_POLL: Final = 0.01  # s
_NO_PROGRESS: Final = 120.0  # s without a sign of life after which a start or a stop has failed
_LOG_MAX: Final = 8 << 20  # bytes; the log before is kept once
_LOG_CHECK: Final = 60.0  # s

_UNSAFE: Final = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")


class EmbeddedPostgres:
    """One PostgreSQL server over one folder, owned by this process from `start` to `stop`."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        """Take the folder that holds (or will hold) the cluster, its password and its log.

        `durable=False` gives up safety against a power cut, for tests that throw their data away.
        """
        self._folder = Path(os.path.realpath(folder))
        self._data = self._folder / "data"
        self._log_file = self._folder / "postgres.log"
        self._durable = durable
        identity = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:16]
        # It is in the title of every process of this server, which is how leftovers are recognised.
        self._name = f"holdfast-{identity}"
        self._lock = FolderLock(self._folder / "owner.lock")
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()

    @property
    def dsn(self) -> str:
        """How to connect, as libpq's connection string with the password in it; the server need not run."""
        try:
            password = (self._folder / "password").read_text(encoding="ascii").strip()
        except OSError as error:
            raise OperatorNeeded(what=f"The database's password cannot be read: {error}.") from error
        host = str(self._socket_folder())
        return make_conninfo(host=host, port=_PORT, user=OWNER, password=password, dbname=_DATABASE)

    def running(self) -> bool:
        """Whether the server that this object started is alive."""
        return self._process is not None and not self._ended.is_set()

    def start(self) -> str:
        """Start the server, wait until it answers, and return its DSN; does nothing when it runs already.

        Raises Conflict when another live process owns the folder, DatabaseUnavailable when the server does not come
        up, OperatorNeeded when it cannot run here at all.
        """
        if self.running():
            return self.dsn
        try:
            self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._lock.acquire()
        except PermissionError as error:
            raise OperatorNeeded(what=f"The database folder cannot be used by this user: {error}.") from error
        try:
            self._end_predecessor()
            make_cluster(self._folder, durable=self._durable)
            self._launch()
            self._await_answer()
        except BaseException:
            self.stop()
            raise
        return self.dsn

    def stop(self) -> None:
        """Stop the server, with a checkpoint, and give the folder back; does nothing when it does not run."""
        process = self._process
        if process is not None and not self._ended.is_set():
            process.send_signal(signal.SIGINT)
            if not self._wait_while_alive():
                # The next start recovers from the log; hanging here for ever would help nobody.
                _log.warning("PostgreSQL does not stop by itself and is stopped at once")
                process.send_signal(signal.SIGQUIT)
                self._ended.wait()
            if self._socket_folder() != self._data:
                with contextlib.suppress(OSError):
                    self._socket_folder().rmdir()
        self._process = None
        self._lock.release()

    # ---- before the start ----

    def _end_predecessor(self) -> None:
        """Wait until no process of an earlier server over this folder is left."""
        told: set[int] = set()
        watch = _Progress(self)
        while leftovers := self._processes():
            # An orphaned server is asked to stop; without a server, what is left of it must go at once: it may still
            # write into the files that recovery is about to read.
            servers = [pid for pid, is_server in leftovers.items() if is_server]
            kind = signal.SIGINT if servers else signal.SIGQUIT
            for pid in servers or leftovers:
                if pid not in told:
                    told.add(pid)
                    _signal(pid, kind)
            if watch.stuck():
                raise DatabaseUnavailable(why=f"an earlier server over {self._folder} does not end")
            time.sleep(_POLL)
        self._forget_stale_pid()

    def _forget_stale_pid(self) -> None:
        # PostgreSQL refuses to start when the number in one of its lock files is in use, be it by a stranger or by a
        # zombie. Nothing of the old server lives (we looked, and hold the lock), so that refusal would be wrong.
        for lock_file in (self._data / "postmaster.pid", self._socket_folder() / f".s.PGSQL.{_PORT}.lock"):
            try:
                os.kill(int(lock_file.read_text(encoding="ascii").split("\n", 1)[0]), 0)
            except (OSError, ValueError):
                continue  # not in use: PostgreSQL removes the file itself, after checks that we cannot make
            lock_file.unlink(missing_ok=True)

    def _processes(self) -> dict[int, bool]:
        """The live processes of any server over this folder, and whether each is the server's head."""
        found = {}
        title = f"postgres: {self._name}:".encode()
        argument = f"cluster_name={self._name}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # ended meanwhile
            if argument in words:
                found[int(entry.name)] = True
            elif words[0].startswith(title):
                found[int(entry.name)] = False
        return found

    # ---- the server ----

    def _launch(self) -> None:
        binaries = find_binaries(int((self._data / "PG_VERSION").read_text(encoding="ascii")))
        account = choose_account(self._data)
        self._check_owner(account.uid)
        sockets = self._socket_folder()
        if sockets != self._data:
            _private_folder(sockets, account.uid, account.gid)
        command = command_prefix(account, [binaries / "postgres", self._data / "PG_VERSION"], death_signal="INT")
        command += [str(binaries / "postgres"), "-D", str(self._data), "-p", str(_PORT), "-c", "listen_addresses="]
        command += ["-c", f"unix_socket_directories={sockets}", "-c", f"cluster_name={self._name}"]
        command += () if self._durable else _UNSAFE
        self._bound_log()
        self._ended = threading.Event()
        failed: list[OSError] = []
        ready = threading.Event()
        # The death signal follows the starting thread, so that thread stays: it waits for the server's end.
        threading.Thread(target=self._watch, args=(command, failed, ready), name="postgres", daemon=True).start()
        ready.wait()
        if failed:
            raise OperatorNeeded(what=f"PostgreSQL cannot be started: {failed[0]}.")
        threading.Thread(target=self._keep_log_small, args=(self._ended,), name="postgres-log", daemon=True).start()

    def _watch(self, command: list[str], failed: list[OSError], ready: threading.Event) -> None:
        ended = self._ended
        try:
            with os.fdopen(os.open(self._log_file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab") as log:
                # In its own session, or Ctrl-C at the terminal would take the database away from under us.
                self._process = process = subprocess.Popen(
                    command,
                    env=clean_environment(),
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            failed.append(error)
            ended.set()
            return
        finally:
            ready.set()
        process.wait()
        ended.set()

    def _check_owner(self, uid: int) -> None:
        owner = self._data.stat().st_uid
        if owner == uid:
            return
        if os.geteuid() != 0:
            raise OperatorNeeded(what=f"{self._data} belongs to another user (number {owner}): run as that user.")
        # As root, and the folder is root's, as after a restore from a backup: it goes to who will use it.
        account = choose_account(self._data)
        for folder, _, names in os.walk(self._data):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                os.chown(path, account.uid, account.gid, follow_symlinks=False)

    def _await_answer(self) -> None:
        """Wait until the server answers, for as long as it lives and gets on; a recovery may take an hour."""
        dsn = make_conninfo(self.dsn, dbname="postgres", connect_timeout=10)
        socket = self._socket_folder() / f".s.PGSQL.{_PORT}"
        watch = _Progress(self)
        while not self._ended.wait(_POLL):
            if socket.exists():
                try:
                    with psycopg.connect(dsn, autocommit=True) as connection:
                        _ensure_database(connection)
                except psycopg.OperationalError as error:
                    if "password" in str(error):
                        raise OperatorNeeded(what=f"The database does not accept its password: {error}") from error
                else:
                    return
            if watch.stuck():
                raise DatabaseUnavailable(why=f"PostgreSQL does not get on with its start; see {self._log_file}")
        raise DatabaseUnavailable(why=f"PostgreSQL ended at its start: {self._log_tail()}")

    def _wait_while_alive(self) -> bool:
        watch = _Progress(self)
        while not self._ended.wait(_POLL):
            if watch.stuck():
                return False
        return True

    def signs_of_life(self) -> tuple[int, int]:
        """Log bytes written and processor ticks used: either changes as long as the server gets on."""
        ticks = 0
        for pid in self._processes():
            try:
                fields = (
                    Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
                )
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])  # user and system time
        return (self._log_file.stat().st_size if self._log_file.exists() else 0), ticks

    # ---- log and socket ----

    def _socket_folder(self) -> Path:
        # Both libpq and the server read a list there: a comma, a blank or a quote in the path would be misread.
        path = os.fsencode(self._data)
        if len(path) + len(f"/.s.PGSQL.{_PORT}") <= _SOCKET_PATH_MAX and re.fullmatch(rb"[A-Za-z0-9/._+-]+", path):
            return self._data
        return Path("/tmp") / self._name  # noqa: S108 - private, and its owner and mode are checked

    def _log_tail(self) -> str:
        return self._log_file.read_text(encoding="utf-8", errors="replace")[-800:].strip().replace("\n", " | ")

    def _keep_log_small(self, ended: threading.Event) -> None:
        while not ended.wait(_LOG_CHECK):
            self._bound_log()

    def _bound_log(self) -> None:
        # The server appends through an open file: copied and cut, never renamed, so that it goes on writing there.
        if self._log_file.exists() and self._log_file.stat().st_size > _LOG_MAX:
            shutil.copyfile(self._log_file, self._log_file.with_suffix(".log.1"))
            os.truncate(self._log_file, 0)


class _Progress:
    """Tells when a server has shown no sign of life for too long; looks twice a second at most."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._seen = (-1, -1)
        self._since = self._looked = time.monotonic()

    def stuck(self) -> bool:
        now = time.monotonic()
        if now - self._looked < 0.5:  # noqa: PLR2004 - s, as said above
            return False
        self._looked = now
        signs = self._server.signs_of_life()
        if signs != self._seen:
            self._seen, self._since = signs, now
        return now - self._since > _NO_PROGRESS


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise OperatorNeeded(what=f"Another user's PostgreSQL server (process {pid}) uses the database.") from error


def _ensure_database(connection: psycopg.Connection) -> None:
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_DATABASE,)).fetchone() is None:
        connection.execute(f"CREATE DATABASE {_DATABASE}")


def _private_folder(path: Path, uid: int, gid: int) -> None:
    """Make a folder that only one user may enter, or make sure that the one there is such."""
    try:
        path.mkdir(mode=0o700)
        os.chown(path, uid, gid)
    except FileExistsError:
        status = path.lstat()
        mine = status.st_uid in {uid, os.geteuid()} and path.is_dir() and not path.is_symlink()
        if not mine or status.st_mode & 0o077:
            raise OperatorNeeded(what=f"{path} is in the way: remove it, it is not a private folder of ours.") from None
        os.chown(path, uid, gid)
