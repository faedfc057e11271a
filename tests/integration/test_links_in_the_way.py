# SPDX-License-Identifier: Apache-2.0
"""P8: who puts a link where a folder was that the archive was allowed to use has it read, write and remove nothing elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from holdfast.services import content, deposit, fetch, free, show, uploads
from holdfast.services.landing import folder_of
from holdfast.testing.site import SmallSite

FILES = {"a": b"alpha", "sub/b": b"beta"}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A folder of somebody else's, with files of the same names and times."""
    folder = tmp_path / "secret"
    (folder / "sub").mkdir(parents=True)
    for path, data in FILES.items():
        (folder / path).write_bytes(data)
    return folder


def swap(folder: Path, secret: Path) -> None:
    """Put a link to the secret folder in place of a folder, with the same times in it."""
    for path in secret.rglob("*"):
        here = folder / path.relative_to(secret)
        if here.is_file():
            shutil.copystat(here, path)
    folder.rename(folder.with_name("aside"))
    folder.symlink_to(secret)


@pytest.mark.parametrize("where", ["run", "run/sub", ""])
def test_a_source_that_became_a_link_is_not_read(site: SmallSite, secret: Path, where: str) -> None:
    dataset = site.archive_folder(FILES)
    aim = secret / "sub" if where.endswith("sub") else secret
    if not where:  # the folder above
        (secret / "run").mkdir()
        (secret / "run" / "a").write_bytes(b"alpha")
        site.sources.rename(site.sources.with_name("aside"))
        site.sources.symlink_to(secret)
    elif where == "run":
        swap(site.sources / "run", aim)
    else:
        site.drain(until=lambda: site.show(dataset).state == "closing")  # the list is there, the bytes are not
        swap(site.sources / "run" / "sub", aim)
    site.drain()
    found = site.show(dataset)
    assert found.state == "deleted"  # a tombstone with the reason
    assert found.problem
    assert found.problem.code in {"source-unreadable", "source-changed"}
    assert site.on_tapes() == []


@pytest.mark.parametrize("where", ["back", "back/sub"])
def test_a_destination_that_became_a_link_is_not_written_to(site: SmallSite, secret: Path, where: str) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    before = sorted(secret.rglob("*"))
    request = site.ask(dataset, to="back")
    (site.destinations / where).parent.mkdir(parents=True, exist_ok=True)
    (site.destinations / where).symlink_to(secret)
    site.drain()
    assert sorted(secret.rglob("*")) == before
    assert {item.path for item in site.request(request).undelivered} == (
        {"a", "sub/b"} if where == "back" else {"sub/b"}
    )


def test_a_file_that_is_copied_is_not_one_behind_a_link(site: SmallSite, secret: Path) -> None:
    folder, dataset = site.fill(FILES), site.open_dataset()
    fetch.want_path(site.archive, dataset, str(folder / "sub" / "b"), into="", person="tester")
    swap(folder / "sub", secret / "sub")
    site.drain(hurry=False)
    assert [path for path in folder_of(site.archive, dataset).rglob("*") if path.is_file()] == []
    (row,) = uploads.of_dataset(site.archive, dataset)
    assert row["problem"]["code"] in {"source-unreadable", "outside-roots"}


def test_a_download_is_not_of_a_file_behind_a_link(site: SmallSite, secret: Path) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    (secret / "a").write_bytes(b"ALPHA")
    swap(site.sources / "run", secret)
    assert isinstance(
        content.open_file(site.archive, dataset, b"a", person="tester"), content.Away
    )  # it comes from tape


@pytest.mark.parametrize("where", ["run", "run/sub"])
def test_p3_a_release_removes_nothing_behind_a_link(site: SmallSite, secret: Path, where: str) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    release = free.want_release(site.archive, dataset, person="tester", apply=True)
    swap(site.sources / where, secret / "sub" if where == "run/sub" else secret)
    site.drain()
    assert {str(path.relative_to(secret)): path.read_bytes() for path in secret.rglob("*") if path.is_file()} == FILES
    found = show.release(site.archive, release)
    if where == "run":
        assert found.state == "failed"
    else:
        assert (found.state, found.removed, found.kept) == ("done", 1, 1)


def test_p3_what_changes_in_landing_after_the_plan_is_kept_with_its_folder(site: SmallSite) -> None:
    folder, dataset = site.fill(FILES), site.open_dataset()
    fetch.want_path(site.archive, dataset, str(folder), into="", person="tester")
    site.drain()
    deposit.close(site.archive, dataset, person="tester")
    site.drain(
        until=lambda: (
            site.rows("select 1 from procrastinate_jobs where task_name = 'release' and status = 'todo'") != []
        )
    )
    (row,) = site.rows("update release set attempt = 1 returning *")
    free._Release(site.archive, row, site.rows("select * from dataset")[0]).plan()
    there = folder_of(site.archive, dataset) / "run"
    (there / "a").write_bytes(b"other")
    site.drain()
    (row,) = site.rows("select state, files, removed, kept from release")
    assert row == {"state": "done", "files": 2, "removed": 1, "kept": 1}
    assert sorted(path.name for path in folder_of(site.archive, dataset).rglob("*")) == ["a", "run"]
