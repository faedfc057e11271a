# SPDX-License-Identifier: Apache-2.0
"""A rebuild of many tapes, of which some are missing, broken, foreign or say nonsense, and which is killed on its way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from answers import catalogue, forget, rebuild, write_manifests

from holdfast.model.ids import new_id
from holdfast.model.names import medium_name
from holdfast.packaging.identity import Identity, canonical_json
from holdfast.packaging.tapemanifest import is_manifest
from holdfast.packaging.writer import write_package
from holdfast.services.profiles import shipped
from holdfast.services.proof import DIGEST_ATTRIBUTE, EVIDENCE_ATTRIBUTE
from holdfast.tape.faults import Fault
from holdfast.testing.packages import scan
from holdfast.testing.program import environment
from holdfast.testing.site import SmallSite

TAPES = 60
PER_PAIR = 4  # packages
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
[TWIN] = [profile for profile in shipped() if profile.name == "twin-tape"]
MISSING = ["HF0003L8", "HF0004L8", "HF0021L8"]  # one whole pair
BROKEN = ["HF0030L8", "HF0047L8"]
FOREIGN = "HF0012L8"
NONSENSE = "HF0015L8"


def package(folder: Path, number: int) -> tuple[str, bytes, dict[str, str]]:
    """Return name, bytes and attributes of a package that another archive could have made."""
    source = folder / "source"
    source.mkdir(exist_ok=True)
    (source / f"file {number}").write_text(f"{number}" * 100)
    entries = [entry for entry in scan(source) if entry.path == f"file {number}".encode()]
    dataset = new_id()
    identity = Identity(
        dataset, 1, 1, "main", "beamline", f"/data/{number}".encode(), f"Run {number}", "ada", TWIN.name, TWIN.version, AT,
        1, entries[0].size,
    )  # fmt: skip
    about = canonical_json({"id": dataset, "profile": TWIN.to_json(), "metadata": {}})
    written = write_package(
        identity, entries, root=source, documents={"metadata/dataset.json": about}, sinks=[folder / f"package {number}"]
    )
    evidence = json.dumps({"generation": 2, "written_at": AT.isoformat(), "verified_at": AT.isoformat()})
    name = medium_name(dataset=dataset, segment=1, segments=1, server="beamline", path=b"data")
    attributes = {DIGEST_ATTRIBUTE: written.digest, EVIDENCE_ATTRIBUTE: evidence}
    return name, (folder / f"package {number}").read_bytes(), attributes


@pytest.fixture
def many(make_site: Callable[..., SmallSite], tmp_path: Path) -> SmallSite:
    site = make_site(library__tapes=TAPES, library__capacity=4_000_000)
    serials = [tape.serial for tape in site.archive.library.inventory()]
    for number in range(0, TAPES, 2):
        made = [package(tmp_path, number * PER_PAIR + n) for n in range(PER_PAIR)]
        with site.archive.library.sessions(serials[number : number + 2], "write") as sessions:
            for session in sessions:
                for name, content, attributes in made:
                    session.write(name, [content], attributes)
                session.sync("test")
    return site


def command(site: SmallSite, dsn: str, *options: str) -> tuple[list[str], dict[str, str]]:
    program = str(Path(sys.executable).with_name("holdfast"))
    data = str(site.archive.settings.data)
    return (
        [program, "rebuild", "--library", str(site.library), "--data", data, *options],
        environment(HOLDFAST_DATABASE_URL=dsn, HOLDFAST_LIBRARY_TAPES=str(TAPES)),
    )


def killed_on_its_way(site: SmallSite, dsn: str) -> None:
    arguments, env = command(site, dsn)
    with subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if "(10 of" in line:
                os.kill(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL


def spoil(site: SmallSite) -> None:
    """Take tapes away, break some, put others' files onto one, and damage a manifest."""
    with site.archive.library.sessions([FOREIGN], "write") as (session,):
        for number in range(30):
            session.write(f"notes{number:02}.txt", [b"hello"], {})
        session.sync("by somebody else")
    [manifest] = [path for path in (site.library / NONSENSE).iterdir() if is_manifest(path.name)]
    manifest.write_bytes(bytes(manifest.stat().st_size))
    for serial in MISSING:
        (site.library / serial).rename(site.library / f".{serial}")
    site.faults(*[Fault(serial, "mount-fails") for serial in BROKEN])


def finish(site: SmallSite, dsn: str, *options: str, code: int) -> dict[str, Any]:
    arguments, env = command(site, dsn, "--json", *options)
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_p5_p6_p10_many_tapes_some_of_them_bad_and_a_kill_on_the_way(many: SmallSite, dsn: str) -> None:
    whole = rebuild(many)
    assert (whole.problems, whole.packages, whole.copies) == ([], TAPES // 2 * PER_PAIR, TAPES * PER_PAIR)
    write_manifests(many)
    before = catalogue(many)
    spoil(many)
    forget(many)

    killed_on_its_way(many, dsn)
    [read] = many.rows("select count(*) as tapes from tape where rebuilt is not null")
    assert 10 <= read["tapes"] + len(BROKEN) < TAPES - 10
    found = finish(many, dsn, code=9)
    gone = set(MISSING + BROKEN)
    assert found["skipped"] >= read["tapes"]
    assert found["tapes"] + found["skipped"] == TAPES - len(gone)
    # All but the pair that is missing, whose datasets nobody can know.
    lost = {row["row"]["package"] for row in before["copy"] if row["row"]["tape"] in MISSING[:2]}
    after = catalogue(many)
    assert after["copy"] == [row for row in before["copy"] if row["row"]["tape"] not in gone]
    assert after["package"] == [row for row in before["package"] if row["row"]["id"] not in lost]
    assert len(after["dataset"]) == len(before["dataset"]) - PER_PAIR
    said: dict[str, list[str]] = {}
    for what, why in found["problems"]:
        said.setdefault(what.partition("/")[0], []).append(why)
    assert gone <= set(said) <= gone | {FOREIGN, NONSENSE}
    assert {len(why) for why in said.values()} == {1}

    # What was missing comes back, and only that is read.
    for serial in MISSING:
        (many.library / f".{serial}").rename(many.library / serial)
    many.faults()
    again = finish(many, dsn, code=9)
    assert again["tapes"] == len(gone) + 1  # and the one with the damaged manifest
    assert again["opened"] == 0
    assert catalogue(many) == before
    assert len(many.rows("select id from dataset where safe_at is not null")) == whole.packages
    everything = finish(many, dsn, "--again", code=9)
    assert (everything["tapes"], everything["skipped"], everything["copies"]) == (TAPES, 0, 0)
    assert sorted(what.partition("/")[0] for what, _ in everything["problems"]) == [FOREIGN, NONSENSE]
