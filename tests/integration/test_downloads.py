# SPDX-License-Identifier: Apache-2.0
"""Files over HTTP: whole, in ranges, many as tar or zip, from the source, the buffer and, after a recall, from tape."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest

from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

BIG = sample(3_000_000, "big")
FILES = {"a.txt": b"hello\n", "sub/big.bin": BIG, "sub/deep/c": b"", "odd \\ na\nme\n": b"odd", "ä%20/=": b"umlaut"}


@pytest.fixture
def dataset(site: SmallSite) -> str:
    ident = site.archive_folder(FILES)
    site.drain()
    return ident


def gone(site: SmallSite) -> None:
    """Have the source be away: the bytes are on tape only."""
    shutil.rmtree(site.sources / "run")


def content(dataset: str, path: str) -> str:
    return f"{PREFIX}/datasets/{dataset}/content/{path}"


def test_a_file_comes_with_its_checksum_and_in_ranges(api: httpx.Client, dataset: str) -> None:
    whole = api.get(content(dataset, "sub/big.bin"))
    assert (whole.status_code, whole.content) == (200, BIG)
    digest = hashlib.sha512(BIG).digest()
    assert whole.headers["repr-digest"] == f"sha-512=:{base64.b64encode(digest).decode()}:"
    assert whole.headers["etag"] == f'"{digest.hex()}"'
    assert "attachment" in whole.headers["content-disposition"]
    assert whole.headers["x-content-type-options"] == "nosniff"
    for asked, start, end in (("bytes=0-9", 0, 10), ("bytes=2999990-", 2999990, None), ("bytes=-5", -5, None)):
        part = api.get(content(dataset, "sub/big.bin"), headers={"Range": asked, "If-Range": whole.headers["etag"]})
        assert (part.status_code, part.content) == (206, BIG[start:end])
    assert api.get(content(dataset, "sub/big.bin"), headers={"Range": "bytes=9999999-"}).status_code == 416
    assert (
        api.get(content(dataset, "a.txt"), headers={"Range": "bytes=0-1", "If-Range": '"other"'}).content == b"hello\n"
    )
    head = api.head(content(dataset, "sub/big.bin"))
    assert (head.status_code, head.headers["content-length"], head.content) == (200, f"{len(BIG)}", b"")
    have = api.get(
        content(dataset, "a.txt"), headers={"If-None-Match": f'"x", "{hashlib.sha512(FILES["a.txt"]).hexdigest()}"'}
    )
    assert have.status_code == 304


@pytest.mark.parametrize(
    ("asked", "status"),
    [("bytes=9999999-", 416), ("bytes=-0", 416), ("bytes=5-2", 400), ("bytes=a-b", 400), ("bytes=", 400)],
)
def test_ranges_that_cannot_be_had_are_problems(api: httpx.Client, dataset: str, asked: str, status: int) -> None:
    answer = api.get(content(dataset, "sub/big.bin"), headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    assert answer.headers.get("content-range") == (f"bytes */{len(BIG)}" if status == 416 else None)
    other = api.get(content(dataset, "a.txt"), headers={"Range": asked, "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, b"hello\n")


def test_who_has_a_file_is_told_so_however_it_is_asked(api: httpx.Client, dataset: str) -> None:
    tag = api.head(content(dataset, "a.txt")).headers["etag"]
    for known in (tag, f"W/{tag}", f'"x", W/{tag}', "*"):
        assert api.get(content(dataset, "a.txt"), headers={"If-None-Match": known}).status_code == 304
    assert api.get(content(dataset, "a.txt"), headers={"If-None-Match": 'W/"x"'}).status_code == 200


@pytest.mark.parametrize("path", ["nothing", "sub", "..", "sub/../a.txt", "", "%2e%2e/a.txt", "/a.txt", "a.txt/"])
def test_what_is_no_file_is_refused(api: httpx.Client, dataset: str, path: str) -> None:
    answer = api.get(content(dataset, path.replace("..", "%2E%2E")))
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"


def test_any_name_can_be_had(site: SmallSite, api: httpx.Client) -> None:
    names = {b"caf\xe9": b"latin", b"100%": b"percent", b"what?#": b"marks", "ä".encode(): b"umlaut"}
    folder = site.sources / "odd"
    folder.mkdir()
    for name, data in names.items():
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(data)
    ident = site.register(folder)
    site.drain()
    for name, data in names.items():
        escaped = "".join(f"%{byte:02X}" for byte in name)
        assert api.get(content(ident, escaped)).content == data


def test_what_is_on_tape_only_is_brought_first(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    gone(site)
    first = api.get(content(dataset, "sub/big.bin"))
    assert first.status_code == 202
    assert first.headers["location"] == f"{PREFIX}/requests/{first.json()['id']}"
    again = api.get(content(dataset, "sub/big.bin"))
    assert again.json()["id"] == first.json()["id"]  # P11
    site.drain()
    assert api.get(first.headers["location"]).json()["state"] == "ready"
    assert api.get(content(dataset, "sub/big.bin")).content == BIG
    assert api.get(content(dataset, "a.txt")).status_code == 202  # only what was asked for came
    site.rows("update request set expires_at = now()")
    assert api.get(content(dataset, "sub/big.bin")).status_code == 202


def test_a_source_that_changed_is_not_what_was_archived(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    (site.sources / "run" / "a.txt").write_bytes(b"other\n")
    assert api.get(content(dataset, "a.txt")).status_code == 202
    outside = site.sources.parent / "secret"
    outside.mkdir()
    (outside / "big.bin").write_bytes(BIG)
    shutil.rmtree(site.sources / "run" / "sub")
    (site.sources / "run" / "sub").symlink_to(outside)
    assert api.get(content(dataset, "sub/big.bin")).status_code == 202


@pytest.mark.parametrize("where", ["source", "buffer"])
def test_a_tar_and_its_checksums(site: SmallSite, api: httpx.Client, dataset: str, tmp_path: Path, where: str) -> None:
    if where == "buffer":
        gone(site)
        assert api.get(f"{PREFIX}/datasets/{dataset}/bundle").status_code == 202
        site.drain()
    answer = api.get(f"{PREFIX}/datasets/{dataset}/bundle")
    (tmp_path / "all.tar").write_bytes(answer.content)
    subprocess.run(["tar", "-xf", "all.tar"], cwd=tmp_path, check=True)
    found = {
        str(p.relative_to(tmp_path / dataset)): p.read_bytes() for p in (tmp_path / dataset).rglob("*") if p.is_file()
    }
    assert found == FILES
    subprocess.run(["sha512sum", "--strict", "--quiet", "-c", f"{dataset}.sha512"], cwd=tmp_path, check=True)
    checksums = api.get(f"{PREFIX}/datasets/{dataset}/checksums")
    subprocess.run(
        ["sha512sum", "--strict", "--quiet", "-c"], cwd=tmp_path / dataset, input=checksums.content, check=True
    )
    some = api.get(f"{PREFIX}/datasets/{dataset}/bundle", params={"path": ["sub/deep", "a.txt"]})
    with tarfile.open(fileobj=io.BytesIO(some.content)) as tar:
        assert sorted(tar.getnames()) == sorted([f"{dataset}/sub/deep/c", f"{dataset}/a.txt", f"{dataset}.sha512"])


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_what_is_asked_for_twice_comes_once(api: httpx.Client, dataset: str, form: str) -> None:
    overlapping = {
        "path": ["sub", "sub/deep", "sub/deep/c", "a.txt", "/a.txt"],
        "path_base64": base64.b64encode(b"sub/big.bin").decode(),
    }
    answer = api.get(f"{PREFIX}/datasets/{dataset}/bundle", params={**overlapping, "format": form})
    if form == "tar":
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
            names = tar.getnames()
    else:
        with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
            names = found.namelist()
    assert sorted(names) == [
        f"{dataset}.sha512",
        *(f"{dataset}/{path}" for path in ("a.txt", "sub/big.bin", "sub/deep/c")),
    ]
    lines = api.get(f"{PREFIX}/datasets/{dataset}/checksums", params=overlapping).text.splitlines()
    assert len(lines) == len(set(lines)) == 3


def test_a_zip(api: httpx.Client, dataset: str) -> None:
    answer = api.get(f"{PREFIX}/datasets/{dataset}/bundle", params={"path": "sub", "format": "zip"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        assert found.testzip() is None
        assert found.read(f"{dataset}/sub/big.bin") == BIG
        assert len(found.namelist()) == 3


def test_no_two_files_have_one_name_in_a_zip(site: SmallSite, api: httpx.Client, tmp_path: Path) -> None:
    names = {b"a\nb": b"break", b"a\\nb": b"backslash", b"caf\xe9": b"latin", b"caf\\xe9": b"text", b"\\": b"one"}
    folder = os.fsencode(site.sources / "odd")
    os.mkdir(folder)
    for name, text in names.items():
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(text)
    ident = site.register(site.sources / "odd")
    site.drain()
    answer = api.get(f"{PREFIX}/datasets/{ident}/bundle", params={"format": "zip"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        assert len(set(found.namelist())) == len(names) + 1
        found.extractall(tmp_path)
    assert {path.read_bytes() for path in (tmp_path / ident).iterdir()} == set(names.values())
    subprocess.run(["sha512sum", "--quiet", "-c", f"{ident}.sha512"], cwd=tmp_path, check=True)


def test_a_file_that_is_not_right_any_more_ends_the_stream(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    path = site.sources / "run" / "sub" / "big.bin"
    before = path.stat()
    changed = bytearray(BIG)
    changed[1_500_000] ^= 1
    path.write_bytes(changed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(httpx.RemoteProtocolError):
        api.get(f"{PREFIX}/datasets/{dataset}/bundle")


def test_p10_what_no_tape_has_any_more_is_said_and_the_rest_comes(site: SmallSite, api: httpx.Client) -> None:
    ident = site.archive_folder({"bad": sample(50_000, "b"), "good": b"good"}, name="two", profile="plain-twin-tape")
    site.drain()
    shutil.rmtree(site.sources / "two")
    for name in site.on_tapes():
        if name.endswith("+bad"):
            (site.library / name).write_bytes(b"x" * 50_000)
    assert api.get(f"{PREFIX}/datasets/{ident}/bundle").status_code == 202
    site.drain()
    assert api.get(content(ident, "good")).content == b"good"
    lost = api.get(content(ident, "bad"))
    assert (lost.status_code, "no readable copy of bad" in lost.json()["detail"]) == (404, True)
    assert api.get(f"{PREFIX}/datasets/{ident}/bundle").status_code == 404


def test_slow_readers_do_not_hold_up_others(api: httpx.Client, site: SmallSite) -> None:
    ident = site.archive_folder({"huge": sample(8_000_000, "huge")}, name="huge")
    site.drain()
    slow = []
    with httpx.Client(
        base_url=api.base_url,
        headers=api.headers,
        timeout=30,
        trust_env=False,
        limits=httpx.Limits(max_connections=100),
    ) as other:
        for _ in range(60):  # more than there are threads
            response = other.send(other.build_request("GET", content(ident, "huge")), stream=True)
            next(response.iter_raw(1))
            slow.append(response)
        assert api.get(content(ident, "huge"), headers={"Range": "bytes=0-3"}).status_code == 206
        for response in slow:
            response.close()
