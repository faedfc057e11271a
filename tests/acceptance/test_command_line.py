# SPDX-License-Identifier: Apache-2.0
"""The command line against a running archive: the whole story as a user tells it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from holdfast.testing.program import Up, holdfast, wait_for

FILES = {"a.txt": b"alpha", "sub/b.bin": os.urandom(200_000), "sub/deep/c": b"", "sub/d": b"delta"}


def fill(up: Up, name: str, files: dict[str, bytes] = FILES) -> Path:
    folder = up.sources / name
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def dataset(up: Up) -> str:
    found = up.json("archive", fill(up, "run"), "--title", "A run", "--meta", "energy=12.4", "--meta", "n=3", "--wait")
    return str(found["id"])


def test_archive_waits_until_the_copies_are_proven(up: Up, dataset: str) -> None:
    shown = up.json("show", dataset)
    assert (shown["state"], shown["level"]) == ("closed", "preserved")
    assert shown["metadata"] == {"energy": 12.4, "n": 3}
    assert [copy["state"] for package in shown["packages"] for copy in package["copies"]] == ["verified", "verified"]
    assert {item["path"]: item["sha512"] for item in shown["file_list"]} == {
        path: hashlib.sha512(content).hexdigest() for path, content in FILES.items()
    }


def test_archiving_again_says_so(up: Up, dataset: str) -> None:
    again = up.run("archive", up.sources / "run", "--title", "Again", "--wait")
    assert again.returncode == 0
    assert f"is archived already, as dataset {dataset}" in again.stdout
    assert up.json("archive", up.sources / "run", "--title", "Again")["id"] == dataset


def test_show_is_for_people(up: Up, dataset: str) -> None:
    text = up.run("show", dataset, "--files").stdout
    for word in (
        "A run",
        "preserved (profile twin-tape, version 1)",
        "4 files",
        "BLAKE3 ",
        "copy 1 on tape HF0",
        "read back 2",
        "energy",
        hashlib.sha512(b"alpha").hexdigest(),
    ):
        assert word in text


def test_ls_lists_datasets_and_folders(up: Up, dataset: str) -> None:
    table = up.run("ls").stdout.splitlines()
    assert table[0].split() == ["dataset", "state", "level", "where", "files", "size", "registered", "title"]
    assert any(line.startswith(dataset) and line.endswith("A run") for line in table)
    folder = up.run("ls", dataset, "sub").stdout
    assert "sub/b.bin" in folder
    assert "sub/deep/" in folder
    assert "200.0 kB" in folder
    assert [item["path"] for item in up.json("ls", dataset)["items"]] == ["a.txt", "sub"]
    assert up.run("ls", dataset, "sub/nothing").returncode == 4


def test_find_finds_by_name(up: Up, dataset: str) -> None:
    assert dataset in up.run("find", "b.bin").stdout
    assert up.json("find", "nothing")["items"] == []


def test_p4_events_go_on_from_a_cursor(up: Up, dataset: str) -> None:
    lines = up.run("events", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    kinds = [event["kind"] for event in events if event["dataset"] == dataset]
    assert kinds[0] == "dataset.registered"
    assert "dataset.safe" in kinds
    middle = events[len(events) // 2]
    rest = up.run("events", "--after", middle["cursor"], "--json").stdout.splitlines()
    assert [json.loads(line)["cursor"] for line in rest][: len(events)] == [
        event["cursor"] for event in events[len(events) // 2 + 1 :]
    ]
    assert "dataset.safe" in up.run("events").stdout
    assert up.run("events", "--after", "nonsense").returncode == 2


def test_status_shows_tapes_drives_and_areas(up: Up, dataset: str) -> None:
    text = up.run("status").stdout
    for word in ("1 safe", "HF0001L8", "D1", "staging", "free", dataset[:0] + "active"):
        assert word in text
    status = up.json("status")
    assert len(status["tapes"]) == 8
    assert len(status["drives"]) == 2


@pytest.mark.usefixtures("dataset")
def test_an_operator_looks_at_tapes_and_takes_one_out_of_use(up: Up) -> None:
    assert "HF0001L8" in up.run("admin", "tape", "list").stdout
    shown = up.run("admin", "tape", "show", "HF0001L8").stdout
    assert "twin HF0002L8" in shown
    assert "verified" in shown
    assert "Tape HF0008L8 is disabled." in up.run("admin", "tape", "disable", "HF0008L8", "--reason", "dust").stdout
    assert [t["serial"] for t in up.json("admin", "tape", "list", "--state", "disabled")["items"]] == ["HF0008L8"]
    assert up.json("admin", "tape", "enable", "HF0008L8")["state"] == "active"
    plan = up.run("admin", "tape", "retire", "HF0001L8")
    assert "cannot be retired" in plan.stdout
    assert up.run("admin", "tape", "retire", "HF0001L8", "--apply").returncode != 0
    assert up.json("admin", "tape", "retire", "HF0007L8")["applied"] is False
    assert up.run("admin", "tape", "show", "HF9999L8").returncode == 4


def test_an_operator_sees_the_archive_in_numbers(up: Up, dataset: str) -> None:
    assert "primary storage recovered" in up.run("admin", "statistics").stdout
    assert up.json("admin", "statistics")["datasets_secured"] >= 1
    assert "HF0001L8" in up.run("admin", "packages", "--search", dataset).stdout
    lines = up.run("admin", "packages", "--csv").stdout.splitlines()
    assert lines[0].startswith("id,dataset,name,tape1,tape2")
    assert any(dataset in line for line in lines[1:])


def test_get_brings_everything_a_folder_or_a_file(up: Up, dataset: str, tmp_path: Path) -> None:
    done = up.run("get", dataset, "--to", tmp_path / "all", "--wait")
    assert done.returncode == 0
    assert "4 of 4 files" in done.stdout
    assert subprocess.run(["diff", "-r", up.sources / "run", tmp_path / "all"], check=False).returncode == 0
    part = up.json("get", dataset, "sub/deep", "a.txt", "--to", tmp_path / "some", "--wait")
    assert (part["state"], part["done_files"]) == ("delivered", 2)
    assert sorted(p.name for p in (tmp_path / "some").rglob("*") if p.is_file()) == ["a.txt", "c"]
    assert dataset in up.json("requests", part["id"])["dataset"]
    assert part["id"] in up.run("requests").stdout


def test_stage_keeps_files_on_the_archives_disk_for_a_while(up: Up, dataset: str) -> None:
    done = up.run("stage", dataset, "sub", "--keep", "2 h", "--wait")
    assert done.returncode == 0
    assert "3 of 3 files" in done.stdout
    assert "holdfast keep " in done.stdout
    [found] = [item for item in up.json("requests")["items"] if item["keep"]]
    assert (found["state"], found["keep"]) == ("ready", 7200)
    folder = Path(found["destination"])
    assert (folder / "sub/d").read_bytes() == b"delta"
    assert up.json("keep", found["id"], "1d")["keep"] == 86_400
    assert up.run("keep", found["id"], "soon").returncode == 2
    assert up.run("keep", found["id"], "400d").returncode == 2
    assert up.run("unstage", found["id"]).returncode == 0
    wait_for(lambda: not folder.exists(), "the files are gone")
    assert "Its time is over" in up.run("requests", found["id"]).stdout
    assert "buffer" in up.run("status").stdout


def test_p10_a_file_that_cannot_be_delivered_is_named_with_an_exit_code(up: Up, dataset: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"mine!")
    done = up.run("get", dataset, "--to", tmp_path, "--wait")
    assert done.returncode == 9
    assert "not delivered: a.txt" in done.stderr
    assert "3 of 4 files" in done.stdout
    assert (tmp_path / "a.txt").read_bytes() == b"mine!"


def test_verify_reads_the_media_again(up: Up, dataset: str) -> None:
    done = up.run("verify", dataset)
    assert done.returncode == 0
    assert f"2 of 2 copies of dataset {dataset} are right." in done.stdout
    assert up.json("verify", dataset)["verified"] == 2


def test_p3_release_prints_the_plan_and_removes_only_with_apply(up: Up) -> None:
    folder = fill(up, "released", {"x": b"1", "sub/y": b"2"})
    dataset = up.json("archive", folder, "--title", "To release", "--wait")["id"]
    (folder / "x").write_bytes(b"3")
    plan = up.run("release", dataset)
    assert plan.returncode == 9
    assert "stays    x: it has other content" in plan.stdout
    assert "Nothing was removed" in plan.stdout
    assert (folder / "sub" / "y").exists()
    done = up.run("release", dataset, "--apply")
    assert "1 files were removed" in done.stdout or "1 file was removed" in done.stdout
    assert [str(p.relative_to(folder)) for p in folder.rglob("*")] == ["x"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", "0" * 26), 4, "There is no dataset 0000"),
        (("archive", "/etc", "--title", "t"), 2, "not below a folder that this archive may use"),
        (("archive", "{sources}/absent", "--title", "t"), 2, "is not a folder on this server"),
        (("archive", "{sources}/run", "--title", "t", "--profile", "gold"), 2, "no profile 'gold'"),
        (("archive", "{sources}/run", "--title", "t", "--meta", "x"), 2, "KEY=VALUE"),
        (("archive", "{sources}/run"), 2, "--title"),
        (("get", "{dataset}", "nothing", "--to", "{sources}/../back"), 4, "no file or folder nothing"),
        (("get", "{dataset}", "../x", "--to", "{sources}/../back"), 2, "not a path inside a dataset"),
        (("requests", "0" * 26), 4, "There is no request"),
        (("release", "0" * 26), 4, "There is no dataset"),
        (("worker", "--queues", "tea"), 2, "tea"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(
    up: Up, dataset: str, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = up.run(*(part.format(sources=up.sources, dataset=dataset) for part in arguments))
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dataset_that_cannot_be_archived_ends_with_its_reason(up: Up) -> None:
    folder = fill(up, "bad", {"ok": b"x"})
    os.mkfifo(folder / "pipe")
    done = up.run("archive", folder, "--title", "Bad", "--wait")
    assert done.returncode == 2
    assert "pipe is a pipe, which cannot be archived" in done.stderr
    assert "Bad" not in up.run("ls").stdout
    assert "Bad" in up.run("ls", "--all").stdout


def test_errors_are_objects_where_machines_listen(up: Up) -> None:
    done = up.run("show", "0" * 26, "--json")
    assert done.returncode == 4
    assert json.loads(done.stdout.splitlines()[-1])["error"]["code"] == "not-found"


def test_address_and_token_may_come_from_the_environment(up: Up, dataset: str, tmp_path: Path) -> None:
    token = (up.data / "token").read_text().strip()
    address = {"HOLDFAST_URL": f"http://127.0.0.1:{up.port}", "HOLDFAST_TOKEN": token}
    elsewhere = ["--data", str(tmp_path / "none")]
    assert dataset in holdfast("ls", *elsewhere, env=address).stdout
    wrong = holdfast("ls", *elsewhere, env={**address, "HOLDFAST_TOKEN": "wrong"})
    assert wrong.returncode == 3
    assert "token" in wrong.stderr
    nobody = holdfast("ls", *elsewhere, env={**address, "HOLDFAST_URL": "http://127.0.0.1:1"})
    assert nobody.returncode == 6
    assert "does not answer" in nobody.stderr
    assert "holdfast up" in nobody.stderr
    nothing = holdfast("ls", *elsewhere)
    assert nothing.returncode == 2
    assert "You are not logged in to an archive" in nothing.stderr


def test_the_token_is_readable_by_its_owner_only(up: Up) -> None:
    assert (up.data / "token").stat().st_mode & 0o777 == 0o600


def test_a_second_up_on_the_same_data_is_refused(up: Up) -> None:
    second = holdfast("up", "--data", up.data, "--port", str(up.port + 1))
    assert second.returncode != 0
    assert "in use" in second.stderr or "running" in second.stderr
    assert "Traceback" not in second.stderr
    assert up.run("ls").returncode == 0


def test_an_up_whose_port_is_in_use_says_so(up: Up, tmp_path: Path) -> None:
    second = holdfast("up", "--data", tmp_path / "other", "--port", str(up.port))
    assert second.returncode != 0
    assert str(up.port) in second.stderr
    assert "Traceback" not in second.stderr


def test_unknown_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text("[web]\nprot = 80\n")
    done = holdfast("up", "--data", tmp_path)
    assert done.returncode == 2
    assert "web.prot" in done.stderr
    assert "Did you mean web.port?" in done.stderr


def test_config_says_where_each_value_comes_from(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text("[web]\nport = 8081\n")
    done = holdfast("config", "--data", tmp_path, env={"HOLDFAST_LIBRARY_DRIVES": "3"})
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "8081" in lines["web.port"]
    assert "holdfast.toml:2" in lines["web.port"]
    assert "HOLDFAST_LIBRARY_DRIVES" in lines["library.drives"]
    assert lines["web.host"].endswith("default")


def test_an_idle_archive_uses_next_to_no_processor_time(up: Up, dataset: str) -> None:
    assert up.run("show", dataset).returncode == 0

    def used() -> float:
        total = 0
        for pid in up.processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    import threading

    before = used()
    threading.Event().wait(3)  # what is measured is a stretch of time
    assert used() - before < 0.45


def test_files_can_be_stored_as_they_are(own: Up, tmp_path: Path) -> None:
    folder = fill(own, "products", {"night.image.fits": os.urandom(100_000), "day/scan.h5": b"scan"})
    wish = ("archive", folder, "--title", "Products", "--profile", "plain-twin-tape", "--wait")
    done = own.run(*wish)
    assert done.returncode == 0
    assert "in 2 packages" in done.stdout
    dataset = str(own.json(*wish)["id"])
    assert "released, plain, 1 files" in own.run("show", dataset).stdout
    packages = own.json("show", dataset)["packages"]
    assert [(package["packaging"], package["name"].split("+")[-1]) for package in packages] == [
        ("plain", "scan.h5"),
        ("plain", "night.image.fits"),
    ]
    assert own.run("verify", dataset).returncode == 0
    assert own.run("get", dataset, "--to", tmp_path / "back", "--wait").returncode == 0
    assert subprocess.run(["diff", "-r", folder, tmp_path / "back"], check=False).returncode == 0
