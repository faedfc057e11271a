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
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast.errors import PasswordNeeded
from holdfast.services import links
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


def link(api: httpx.Client, dataset: str, **wish: Any) -> dict[str, Any]:
    answer = api.post(f"{PREFIX}/datasets/{dataset}/links", json=wish)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_link_opens_what_it_is_for_and_nothing_else(api: httpx.Client, dataset: str) -> None:
    address = link(api, dataset, path="sub", label="a referee")["address"]
    api.headers.pop("Authorization")
    shown = api.get(address).json()
    assert [file["path"] for file in shown["files"]] == ["sub/big.bin", "sub/deep/c"]
    assert api.get(f"{address}/content/sub/big.bin").content == BIG
    for path in ("a.txt", "sub/../a.txt", "sub%2F..%2Fa.txt", "subway", ""):
        assert api.get(f"{address}/content/{path.replace('..', '%2E%2E')}").status_code in {404, 422}
    with tarfile.open(fileobj=io.BytesIO(api.get(f"{address}/bundle").content)) as tar:
        assert sorted(tar.getnames()) == [f"{dataset}.sha512", f"{dataset}/sub/big.bin", f"{dataset}/sub/deep/c"]
    assert api.get(f"{address}/checksums").text.count("\n") == 2


def test_p8_a_link_to_what_is_on_tape_tells_nothing_of_the_request(
    site: SmallSite, api: httpx.Client, dataset: str
) -> None:
    address = link(api, dataset, path="sub/deep")["address"]
    gone(site)
    wider = api.get(f"{PREFIX}/datasets/{dataset}/bundle").json()  # by who made the link, for more than it opens
    for path in ("content/sub/deep/c", "bundle", "bundle?format=zip"):
        answer = api.get(f"{address}/{path}", headers={"Authorization": ""})
        assert (answer.status_code, answer.json()) == (202, {"state": "waiting"})
        assert int(answer.headers["retry-after"]) > 0
        assert wider["id"] not in str(answer.headers)
    site.drain()
    assert api.get(f"{address}/content/sub/deep/c", headers={"Authorization": ""}).status_code == 200


def test_a_used_up_link_opens_nothing_more(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    made = link(api, dataset, most=1)
    nobody = {"Authorization": ""}
    assert api.get(f"{made['address']}/content/a.txt", headers=nobody).status_code == 200
    assert api.get(made["address"], headers=nobody).status_code == 200  # who has just used it may go on
    unknown = api.get(f"{PREFIX}/shared/nothing", headers=nobody)
    gone(site)
    for change in ("at = now() - interval '61 minutes'", "at = now(), address = '192.0.2.1'"):
        site.rows("update link_use set " + change)
        for path in ("", "/checksums", "/content/a.txt", "/content/sub/big.bin", "/bundle"):
            answer = api.get(made["address"] + path, headers=nobody)
            assert (answer.status_code, answer.text) == (404, unknown.text)
    assert not site.rows("select id from request")


def test_a_link_ends(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    token = api.headers["Authorization"]
    made = {name: link(api, dataset, most=2) for name in ("used", "revoked", "expired", "orphan")}
    nobody = {"Authorization": ""}
    assert api.delete(f"{PREFIX}/links/{made['revoked']['id']}").json()["state"] == "ended"
    site.rows("update link set expires_at = now() where id = %s", made["expired"]["id"])
    site.rows("update link set created_by = 'gone' where id = %s", made["orphan"]["id"])
    address = made["used"]["address"]
    for path in ("a.txt", "a.txt", "sub/deep/c", "a.txt"):  # the same one again, as who resumes asks, is not counted
        assert api.get(f"{address}/content/{path}", headers=nobody).status_code == 200
    ended = api.get(f"{address}/content/sub/big.bin", headers=nobody)
    unknown = api.get(f"{PREFIX}/shared/nothing", headers=nobody)
    for name in ("revoked", "expired", "orphan"):
        assert api.get(made[name]["address"], headers=nobody).text == unknown.text == ended.text
    uses = api.get(f"{PREFIX}/links/{made['used']['id']}/uses", headers={"Authorization": token}).json()["items"]
    assert [use["path"] for use in uses] == ["sub/deep/c", "a.txt"]
    listed = api.get(f"{PREFIX}/datasets/{dataset}/links").json()["items"]
    assert {item["id"]: item["state"] for item in listed} == {
        made[name]["id"]: "good" if name == "orphan" else "ended" for name in made
    }
    assert all(item["secret"] is None for item in listed)


def test_a_link_with_a_password_is_shut_after_too_many_wrong_ones(
    site: SmallSite, api: httpx.Client, dataset: str
) -> None:
    made = link(api, dataset, password="correct horse")
    assert made["has_password"]
    assert "correct" not in str(site.rows("select * from link"))
    address = made["address"]
    with httpx.Client(base_url=api.base_url, timeout=30, trust_env=False) as stranger:
        assert stranger.get(address).status_code == 401
        assert stranger.get(address, auth=("", "correct horse")).status_code == 200
        for _ in range(10):
            assert stranger.get(address, auth=("", "wrong")).status_code == 401
        assert stranger.get(address, auth=("", "correct horse")).status_code == 401
        site.rows("update link set failed_at = now() - interval '11 minutes'")
        assert stranger.get(address, auth=("", "wrong")).status_code == 401  # it begins anew: one does not shut it
        assert stranger.get(address, auth=("", "correct horse")).status_code == 200


def test_p8_guesses_at_a_link_are_counted_also_when_they_come_at_once(
    site: SmallSite, api: httpx.Client, dataset: str
) -> None:
    address = link(api, dataset, password="correct horse")["address"]
    secret = address.rpartition("/")[2]
    begun, told = threading.Barrier(16), list[str]()
    really = links.matches

    def at_once(password: str, known: str) -> bool:
        begun.wait(30)  # all have been let in, and none is counted
        return really(password, known)

    def guess(word: str) -> None:
        try:
            links.opened(site.archive, secret, word, address="")
            told.append("good")
        except PasswordNeeded as error:
            told.append(error.sentence)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(16) as pool:
        patch.setattr(links, "matches", at_once)
        list(pool.map(guess, ["wrong"] * 16))
        assert sum("not the password" in sentence for sentence in told) == 10
        assert sum("too many" in sentence for sentence in told) == 6
    # The right one is not told either, when it comes behind them.
    site.rows("update link set failures = 9")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(links, "matches", lambda *_: site.rows("update link set failures = 10, failed_at = now()") == [])
        guess("correct horse")
        assert "too many" in told[-1]


def test_p8_only_who_manages_a_dataset_makes_links(api: httpx.Client, dataset: str) -> None:
    made = link(api, dataset)
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
        for method, path in (
            ("POST", f"/datasets/{dataset}/links"),
            ("GET", f"/datasets/{dataset}/links"),
            ("DELETE", f"/links/{made['id']}"),
        ):
            assert api.request(method, f"{PREFIX}{path}", headers=headers, json={}).status_code == 401


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
