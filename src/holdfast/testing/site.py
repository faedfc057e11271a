# SPDX-License-Identifier: Apache-2.0
"""A whole archive in one process: a fresh catalogue, a small simulated library, and jobs that run when they are told to.

with small_site(folder, dsn) as site:
    dataset = site.archive_folder({"a.txt": b"a", "sub/b.bin": sample(1000)})
    site.drain()                              # runs every job that is owed, also those that wait for a next try
    assert site.show(dataset).level == "preserved"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from holdfast.app import open_archive, set_up
from holdfast.model.ids import new_id
from holdfast.model.rights import Person
from holdfast.packaging.tapemanifest import is_manifest
from holdfast.services import deliver, deposit, planner, register, show
from holdfast.services.archive import Archive
from holdfast.settings.reading import load
from holdfast.tape.faults import Fault, write_faults
from holdfast.wire.datasets import DatasetDetail
from holdfast.wire.requests import Request
from holdfast.wire.status import Event
from holdfast.workers.worker import HANDLERS

TESTER: Final = Person("tester", "operator")
_MB: Final = 1_000_000
_ROUNDS: Final = 40  # plans that brought something; an archive that owes more than that turns in circles

# What waits for its next try, and how to have it tried now.
_WAITING: Final = (
    "update package set next_try = now() where next_try > now() and state in ('planned', 'packing')",
    (
        "update copy set next_try = now() where next_try > now() and state in "
        "('planned', 'writing', 'written', 'suspect', 'retired')"
    ),
    "update request_part set next_try = now() where next_try > now() and state in ('waiting', 'recalling')",
    (
        "update dataset set problem = jsonb_set(problem, '{next_try}', to_jsonb(now())) "
        "where state = 'open' and (problem->>'next_try')::timestamptz > now()"
    ),
    (
        "update dataset set extraction_problem = jsonb_set(extraction_problem, '{next_try}', to_jsonb(now())) "
        "where extraction is null and (extraction_problem->>'next_try')::timestamptz > now()"
    ),
    (
        "update request set problem = jsonb_set(problem, '{next_try}', to_jsonb(now())) "
        "where state in ('waiting', 'recalling') and (problem->>'next_try')::timestamptz > now()"
    ),
    (
        "update upload set problem = jsonb_set(problem, '{next_try}', to_jsonb(now())) "
        "where ended_at is null and (problem->>'next_try')::timestamptz > now()"
    ),
    (
        "update release set problem = jsonb_set(problem, '{next_try}', to_jsonb(now())) "
        "where state in ('asked', 'planned', 'applying') and (problem->>'next_try')::timestamptz > now()"
    ),
)


@dataclass
class SmallSite:
    """An archive, the folder with its sources, and what its workers would do."""

    archive: Archive
    sources: Path
    destinations: Path
    ran: list[str] = field(default_factory=list)  # kinds of the jobs that were run, in order

    # ---- doing ----

    def fill(self, files: Mapping[str, bytes | None], *, name: str = "run") -> Path:
        """Make a source folder; None makes an empty folder."""
        folder = self.sources / name
        folder.mkdir(exist_ok=True)
        for path, content in files.items():
            target = folder / path
            if content is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return folder

    def register(self, folder: Path, **how: Any) -> str:
        """Announce a folder that is there."""
        wish = deposit.Wish(**{"title": "A run", **how})
        return register.register(self.archive, wish, person=TESTER, path=str(folder))

    def open_dataset(self, **how: Any) -> str:
        """Make a dataset to which files can be added."""
        ident = new_id()
        deposit.create(self.archive, deposit.Wish(**{"title": "A run", **how}), person=TESTER, ident=ident)
        return ident

    def archive_folder(self, files: Mapping[str, bytes | None], *, name: str = "run", **how: Any) -> str:
        """Make a source folder and announce it."""
        return self.register(self.fill(files, name=name), **how)

    def ask(
        self,
        dataset: str,
        paths: Sequence[bytes] = (),
        *,
        to: str = "back",
        person: str = "tester",
        priority: int = 0,
    ) -> str:
        """Ask for files back, below the folder of destinations."""
        return deliver.ask(
            self.archive, person=person, dataset=dataset, paths=paths, priority=priority,
            destination=str(self.destinations / to),
        )  # fmt: skip

    def stage(self, dataset: str, paths: Sequence[bytes] = (), *, keep: float | None = None) -> str:
        """Ask for files to be kept in the buffer, for some seconds."""
        return deliver.ask(self.archive, person="tester", dataset=dataset, paths=paths, keep=keep)

    def work(self) -> str | None:
        """Run the oldest job that waits and return its kind; None when there is none."""
        with self.archive.database.transaction() as conn:
            job = conn.execute(
                "delete from procrastinate_jobs where id = (select id from procrastinate_jobs where status = 'todo' "
                "order by id limit 1) returning task_name, args"
            ).fetchone()
        if job is None:
            return None
        HANDLERS[job["task_name"]](self.archive, job["args"]["thing"])
        self.ran.append(job["task_name"])
        return str(job["task_name"])

    def drain(self, *, hurry: bool = True, until: Callable[[], bool] = lambda: False) -> None:
        """Run jobs and plan until nothing is owed or `until` holds; with `hurry`, nothing waits for its next try."""
        for _ in range(_ROUNDS):
            while not until() and self.work():
                pass
            if until():
                return
            hurried = self.hurry() if hurry else 0
            if not planner.plan(self.archive) and not hurried:
                return
        raise AssertionError(f"the archive still owes something after {_ROUNDS} plans; it ran {self.ran[-20:]}")

    def hurry(self) -> int:
        """Have everything that waits for its next try be tried now; return how many things that were."""
        with self.archive.database.transaction() as conn:
            return sum(conn.execute(statement).rowcount for statement in _WAITING)

    def faults(self, *faults: Fault) -> None:
        """Have these things go wrong with the tapes, and no others."""
        write_faults(self.library, faults)

    # ---- looking ----

    @property
    def library(self) -> Path:
        """The folder of the simulated library."""
        return self.archive.settings.library_path

    def show(self, dataset: str) -> DatasetDetail:
        """Return all that is known of a dataset."""
        return show.dataset(self.archive, dataset)

    def request(self, request: str) -> Request:
        """Return how far a request is."""
        return show.request(self.archive, request)

    def tapes(self, dataset: str) -> list[str]:
        """Return the tapes with verified copies of a dataset, in the order of packages and copies."""
        copies = [copy for package in self.show(dataset).packages for copy in package.copies]
        return [copy.tape for copy in copies if copy.state == "verified" and copy.tape]

    def events(self, kind: str = "") -> list[Event]:
        """Return all events, or those of one kind, in order."""
        found, after = [], ""
        while True:
            page, after = show.event_list(self.archive, after=after, limit=1000)
            found += page
            if not page:
                return [event for event in found if kind in {"", event.kind}]

    def staged(self) -> list[str]:
        """Return the names of the files in staging."""
        return sorted(file.name for file in self.archive.settings.staging_path.iterdir())

    def on_tapes(self) -> list[str]:
        """Return `SERIAL/NAME` of every file that the tapes show, but what they say of themselves."""
        return [name for name in self._shown() if not is_manifest(name.partition("/")[2])]

    def manifests(self) -> list[str]:
        """Return `SERIAL/NAME` of every manifest on a tape."""
        return [name for name in self._shown() if is_manifest(name.partition("/")[2])]

    def drop_manifests(self) -> None:
        """Have the tapes say nothing of themselves."""
        for name in self.manifests():
            serial, _, file = name.partition("/")
            with self.archive.library.sessions([serial], "write") as (session,):
                session.delete(file)
                session.sync("dropped")

    def _shown(self) -> list[str]:
        return sorted(str(file.relative_to(self.library)) for file in self.library.glob("HF*/*"))

    def rows(self, query: str, *args: object) -> list[dict[str, Any]]:
        """Run a query on the catalogue."""
        with self.archive.database.transaction() as conn:
            cursor = conn.execute(query, args)
            return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def small_site(folder: Path, dsn: str, **settings: object) -> Iterator[SmallSite]:
    """Set an archive up below `folder` on the catalogue `dsn`; `settings` as `library__tapes=4`."""
    sources = folder / "sources"
    sources.mkdir(parents=True, exist_ok=True)
    chosen: dict[str, object] = {
        "roots__source": (sources,), "site__server": "beamline", "library__tapes": 4, "library__capacity": 40 * _MB,
        "library__reserve": 1 * _MB, "database__connections": 8,
        "buffer__limit": 1000 * _MB,  # the disk of whoever runs the tests may be nearly full
        **settings,
    }  # fmt: skip
    given = {key.replace("__", "."): value for key, value in chosen.items()}
    found = load(folder / "data", overrides=given)
    found.data.mkdir(exist_ok=True)
    set_up(found, dsn)
    with open_archive(found, dsn=dsn) as archive:
        yield SmallSite(archive, sources, folder / "destinations")
