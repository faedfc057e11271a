# SPDX-License-Identifier: Apache-2.0
"""Write sessions: when tapes are mounted for writing, what one mount takes, and what comes of it when a tape fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.services.queue import recall
from holdfast.services.write import write
from holdfast.tape.faults import Fault
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite

_MB = 1_000_000


def pack_all(site: SmallSite, *sizes: int, **how: object) -> list[str]:
    """Have datasets of one package each packed and not written."""
    made = [
        site.archive_folder({"f": sample(size, f"{number}")}, name=f"run{number}", **how)
        for number, size in enumerate(sizes)
    ]
    site.drain(until=lambda: site.ran.count("pack") == len(sizes))
    site.rows("delete from procrastinate_jobs")
    return made


def loads(site: SmallSite) -> dict[str, int]:
    return {
        tape.serial: site.archive.library.stat(tape.serial).health["mediaLoads"]
        for tape in site.archive.library.inventory()
    }


def generations(site: SmallSite) -> set[int]:
    return {row["generation"] for row in site.rows("select distinct generation from copy")}


def test_one_mount_and_one_index_take_all_that_waits_and_one_more_mount_reads_it_back(site: SmallSite) -> None:
    made = pack_all(site, *[200_000] * 6)
    write(site.archive, "next")
    assert sorted(loads(site).values()) == [0, 0, 1, 1]
    assert len(generations(site)) == 1
    assert {row["state"] for row in site.rows("select state from copy")} == {"written"}  # P2
    site.drain()
    assert sorted(loads(site).values()) == [0, 0, 2, 2]
    assert {site.show(dataset).level for dataset in made} == {"preserved"}
    assert site.ran.count("check") == 2
    twins = {tuple(site.tapes(dataset)) for dataset in made}
    assert len(twins) == 1


def test_the_index_is_written_after_so_much(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(write__sync=500_000)
    pack_all(site, *[200_000] * 6)
    write(site.archive, "next")
    assert len(generations(site)) == 2
    assert sorted(loads(site).values()) == [0, 0, 1, 1]


def test_a_mount_is_not_worth_it_before_enough_waits_or_has_waited_long(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(write__age=3600, write__enough=500_000)
    pack_all(site, 200_000)
    site.drain()
    assert sum(loads(site).values()) == 0
    site.rows("update copy set created_at = created_at - interval '2 hours'")
    site.drain()
    assert sum(loads(site).values()) == 4
    later = [site.archive_folder({"f": sample(300_000, f"later{n}")}, name=f"later{n}") for n in range(2)]
    site.drain()
    assert {site.show(dataset).level for dataset in later} == {"preserved"}


def test_p10_a_package_that_is_gone_from_staging_does_not_fail_its_batch(site: SmallSite) -> None:
    made = pack_all(site, *[200_000] * 3)
    (site.archive.settings.staging_path / site.staged()[1]).unlink()
    write(site.archive, "next")
    states = [{copy.state for package in site.show(d).packages for copy in package.copies} for d in made]
    assert states == [{"written"}, {"planned"}, {"written"}]
    site.drain()
    assert {site.show(dataset).level for dataset in made} == {"preserved"}


def test_p10_a_tape_that_breaks_in_a_batch_costs_only_its_own_copies(site: SmallSite) -> None:
    made = pack_all(site, *[400_000] * 4)
    site.faults(Fault("HF0001L8", "write-error", after_bytes=900_000))
    write(site.archive, "next")
    [fenced] = site.events("tape.fenced")
    assert fenced.body["tape"] == "HF0001L8"
    written = site.rows("select tape, count(*) as count from copy where state = 'written' group by tape")
    assert {row["tape"]: row["count"] for row in written}["HF0002L8"] == 4
    site.drain()
    assert {site.show(dataset).level for dataset in made} == {"preserved"}
    assert all("HF0001L8" not in site.tapes(dataset) for dataset in made)


def test_p10_an_index_that_cannot_be_written_makes_its_whole_batch_be_written_elsewhere(site: SmallSite) -> None:
    made = pack_all(site, *[200_000] * 3)
    site.faults(Fault("HF0002L8", "sync-fails"))
    site.drain()
    assert {site.show(dataset).level for dataset in made} == {"preserved"}
    assert all("HF0002L8" not in site.tapes(dataset) for dataset in made)
    assert len(site.events("copy.lost")) == 0


def test_a_dataset_of_many_segments_crosses_tapes(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(library__capacity=6 * _MB, library__tapes=6, library__reserve=100_000)
    site.rows(
        "insert into profile (name, version, body) select 'small', 1, body || "
        '\'{"name": "small", "segment_bytes": 2000000}\' from profile where name = \'twin-tape\''
    )
    files = {f"{n:02}": sample(400_000, f"{n}") for n in range(22)}
    dataset = site.archive_folder(files, profile="small")
    site.drain()
    assert site.show(dataset).level == "preserved"
    tapes = [tuple(site.tapes(dataset)[n : n + 2]) for n in range(0, len(site.tapes(dataset)), 2)]
    assert len(set(tapes)) == 2
    request = site.ask(dataset)
    site.drain()
    assert (site.request(request).state, site.request(request).failed_files) == ("delivered", 0)


def test_a_family_stays_together_and_batches_apart(site: SmallSite) -> None:
    site.rows("update tape set batch = case when serial in ('HF0001L8', 'HF0002L8') then 'spring' else 'autumn' end")
    made = pack_all(site, 200_000, 200_000, metadata={"proposal": "20260001"})
    site.drain()
    one, two = site.tapes(made[0])
    assert site.tapes(made[1]) == [one, two]
    batches = {row["batch"] for row in site.rows("select batch from tape where serial in (%s, %s)", one, two)}
    assert batches == {"spring", "autumn"}
    families = site.rows(
        "select distinct families, twin = any(%s) as twins from tape where serial in (%s, %s)", [one, two], one, two
    )
    assert families == [{"families": ["20260001"], "twins": True}]


def test_p9_when_staging_is_nearly_full_writing_goes_before_reading(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(staging__limit=1_000_000)
    safe = site.archive_folder({"f": sample(100_000, "safe")}, name="safe")
    site.drain()
    site.ran.clear()
    pack_all(site, 400_000, 400_000)
    request = site.ask(safe)
    recall(site.archive, "next")
    [part] = site.request(request).parts
    assert part.problem
    assert "left to writing" in part.problem.sentence
    site.drain()
    assert site.request(request).state == "delivered"


@pytest.mark.parametrize(("copies", "drives"), [(1, "3"), (3, "3"), (3, "2"), (4, "2"), (3, "LTO-8 x2, LTO-7 x2")])
def test_one_copy_or_more_also_than_there_are_drives(
    make_site: Callable[..., SmallSite], copies: int, drives: str
) -> None:
    site = make_site(library__drives=drives)
    site.rows(
        "insert into profile (name, version, body) select 'other', 1, body || "
        "jsonb_build_object('name', 'other', 'copies', %s::int) from profile where name = 'twin-tape'", copies,
    )  # fmt: skip
    dataset = site.archive_folder({"f": sample(200_000)}, profile="other")
    site.drain()
    assert site.show(dataset).level == "preserved"
    assert len(set(site.tapes(dataset))) == copies
    assert site.events("copy.problem") == []
