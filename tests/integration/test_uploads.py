# SPDX-License-Identifier: Apache-2.0
"""Resumable uploads: what tus 1.0 says, and that each file has the bytes that were sent, wherever it was cut off."""

from __future__ import annotations

import base64
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from persons import person
from served import client_of

from holdfast.client import Client
from holdfast.client.deposit import LocalFile
from holdfast.errors import LostClaim, Refused, SourceChanged
from holdfast.services import deletion, uploads
from holdfast.services.landing import folder_of
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def api(site: SmallSite) -> Iterator[httpx.Client]:
    with client_of(site) as client:
        client.headers.update(TUS)
        yield client


@pytest.fixture
def dataset(site: SmallSite) -> str:
    return site.open_dataset()


def metadata(**pairs: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


def begin(
    api: httpx.Client, dataset: str, length: int, *, name: str = "f", content: bytes | None = None, **pairs: str
) -> httpx.Response:
    headers = {"Upload-Length": str(length), "Upload-Metadata": metadata(dataset=dataset, filename=name, **pairs)}
    return api.post(f"{PREFIX}/uploads", headers=headers | (BYTES if content is not None else {}), content=content)


def patch(api: httpx.Client, place: str, offset: int, content: Any, **headers: str) -> httpx.Response:
    return api.patch(place, content=content, headers={"Upload-Offset": str(offset), **BYTES, **headers})


def offset(api: httpx.Client, place: str) -> int:
    return int(api.head(place).headers["Upload-Offset"])


def landed(site: SmallSite, dataset: str, name: str = "f") -> bytes:
    return (folder_of(site.archive, dataset) / name).read_bytes()


def test_the_protocol_is_told(api: httpx.Client) -> None:
    answer = api.options(f"{PREFIX}/uploads")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert set(answer.headers["Tus-Extension"].split(",")) == {
        "creation", "creation-with-upload", "checksum", "expiration", "termination",
    }  # fmt: skip
    assert "sha1" in answer.headers["Tus-Checksum-Algorithm"].split(",")


def test_a_file_comes_in_pieces(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    data = sample(250_000, "u")
    made = begin(api, dataset, len(data), mtime_ns="1700000000123456789")
    assert (made.status_code, made.headers["Upload-Offset"]) == (201, "0")
    place = made.headers["Location"]
    for at in range(0, len(data), 100_000):
        assert offset(api, place) == at
        answer = patch(api, place, at, data[at : at + 100_000])
        assert answer.status_code == 204, answer.text
        assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert offset(api, place) == len(data)  # a client that missed the answer is told that all is there
    assert landed(site, dataset) == data
    assert site.show(dataset).files == 1
    assert site.rows("select mtime_ns from landed") == [{"mtime_ns": 1_700_000_000_123_456_789}]
    assert site.rows("select * from reservation") == []


def test_the_first_bytes_may_come_at_once(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    made = begin(api, dataset, 6, content=b"abc")
    assert (made.status_code, made.headers["Upload-Offset"]) == (201, "3")
    assert patch(api, made.headers["Location"], 3, b"def").status_code == 204
    assert landed(site, dataset) == b"abcdef"
    assert begin(api, dataset, 0, name="empty").status_code == 201
    assert landed(site, dataset, "empty") == b""


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha512"])
def test_a_piece_with_a_wrong_checksum_does_not_count(
    site: SmallSite, api: httpx.Client, dataset: str, name: str
) -> None:
    place = begin(api, dataset, 6).headers["Location"]
    digest = base64.b64encode(hashlib.new(name, b"abc").digest()).decode()
    answer = patch(api, place, 0, b"abx", **{"Upload-Checksum": f"{name} {digest}"})
    assert (answer.status_code, answer.json()["code"]) == (460, "upload-damaged")
    assert offset(api, place) == 0
    assert patch(api, place, 0, b"abc", **{"Upload-Checksum": f"{name} {digest}"}).status_code == 204
    assert patch(api, place, 3, b"def").status_code == 204
    assert landed(site, dataset) == b"abcdef"


def test_what_is_wrong_is_refused(api: httpx.Client, dataset: str) -> None:
    place = begin(api, dataset, 6).headers["Location"]
    assert patch(api, place, 3, b"abc").status_code == 409
    assert patch(api, place, 0, b"more than six").status_code == 422
    assert patch(api, place, 0, b"abc", **{"Content-Type": "text/plain"}).status_code == 415
    assert patch(api, place, 0, b"abc", **{"Upload-Checksum": "md5 AAAA"}).status_code == 422
    assert patch(api, place, 0, b"abc", **{"Tus-Resumable": "0.2.2"}).status_code == 422
    assert offset(api, place) == 0
    assert begin(api, dataset, 6, name="../out").status_code == 422
    assert begin(api, "0" * 26, 6).status_code == 404
    for odd in ("x", "²".encode("latin-1"), "-1", "9" * 19, "9" * 5000):
        assert api.post(f"{PREFIX}/uploads", headers={"Upload-Length": odd}).status_code == 422
        headers = {**BYTES, "Upload-Offset": odd}
        assert api.patch(place, content=b"abc", headers=headers).status_code == 422
    assert begin(api, dataset, 10**18 - 1).status_code in {422, 507}
    assert api.head(f"{PREFIX}/uploads/nothing").status_code == 404
    with httpx.Client(base_url=api.base_url, headers=TUS, trust_env=False) as stranger:
        assert stranger.head(place).status_code == 401
    # One that waits keeps its dataset from being closed.
    api.post(f"{PREFIX}/datasets/{dataset}/files", content=b"")
    assert api.post(f"{PREFIX}/datasets/{dataset}/close").status_code == 409
    assert [item["id"] for item in api.get(f"{PREFIX}/datasets/{dataset}/uploads").json()["items"]] == [
        place.rpartition("/")[2]
    ]


def test_an_upload_can_be_ended_and_expires(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    incoming = site.archive.settings.landing_path / ".incoming"
    place = begin(api, dataset, 6).headers["Location"]
    assert api.delete(place).status_code == 204
    assert api.head(place).status_code == 404
    assert list(incoming.iterdir()) == []
    place = begin(api, dataset, 6).headers["Location"]
    patch(api, place, 0, b"abc")
    uploads.sweep(site.archive)
    assert offset(api, place) == 3
    site.rows("update upload set expires_at = now()")
    assert api.head(place).status_code == 404
    uploads.sweep(site.archive)
    assert list(incoming.iterdir()) == []
    assert site.rows("select * from upload") == site.rows("select * from reservation") == []


def test_the_same_unchanged_file_is_gone_on_with_and_another_is_not(api: httpx.Client, dataset: str) -> None:
    first = begin(api, dataset, 6, mtime_ns="1").headers["Location"]
    patch(api, first, 0, b"abc")
    again = begin(api, dataset, 6, mtime_ns="1")
    assert (again.headers["Location"], again.headers["Upload-Offset"]) == (first, "3")
    assert begin(api, dataset, 6, mtime_ns="2").headers["Location"] != first
    assert begin(api, dataset, 6).headers["Location"] != begin(api, dataset, 6).headers["Location"]


def test_p6_a_file_cut_off_anywhere_has_its_bytes_in_the_end(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    chance = random.Random(7)
    data = chance.randbytes(2_000_000)
    place = begin(api, dataset, len(data)).headers["Location"]
    file = site.archive.settings.landing_path / ".incoming" / place.rpartition("/")[2]
    cuts = 0
    while (at := offset(api, place)) < len(data):
        stop = min(at + chance.randrange(1, 600_000), len(data))

        def torn(at: int = at, stop: int = stop) -> Iterator[bytes]:
            yield data[at:stop]
            raise ConnectionError

        if chance.random() < 0.6:
            with pytest.raises(ConnectionError):
                api.patch(
                    place,
                    content=torn(),
                    headers={"Upload-Offset": str(at), "Content-Length": str(len(data) - at), **BYTES},
                )
            cuts += 1
            with file.open("ab") as opened:  # what a killed process had written, and nobody counted
                opened.write(b"torn")
        else:
            assert patch(api, place, at, data[at:stop]).status_code in {204, 409, 503}  # the cut is not noticed yet
    assert cuts > 2
    assert landed(site, dataset) == data


def test_our_client_sends_large_files_in_pieces_and_goes_on(
    site: SmallSite, api: httpx.Client, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.client.deposit._PIECE", 100_000)
    file = tmp_path / "large"
    file.write_bytes(sample(950_000, "large"))
    local = LocalFile(file, b"deep/large", 950_000, file.stat().st_mtime_ns)
    moved: list[int] = []

    class Stopped(Exception):
        pass

    def until_half(size: int) -> None:
        moved.append(size)
        if sum(moved) >= 400_000:
            raise Stopped

    with Client(str(api.base_url), site.archive.settings.token_file.read_text().strip()) as client:
        with pytest.raises(Stopped):
            client.add_large(dataset, local, moved=until_half)
        (under_way,) = client.uploads(dataset).items
        assert (under_way.received, under_way.path) == (400_000, "deep/large")
        again: list[int] = []
        client.add_large(dataset, local, moved=again.append)
        assert again == [400_000, *[100_000] * 5, 50_000]
        assert landed(site, dataset, "deep/large") == file.read_bytes()
        file.write_bytes(b"shorter")
        with pytest.raises(SourceChanged):
            client.add_large(dataset, LocalFile(file, b"other", 950_000, local.mtime_ns))


def test_p7_a_call_that_was_overtaken_changes_nothing(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    place = begin(api, dataset, 6).headers["Location"]
    ident = place.rpartition("/")[2]
    with uploads.Receiving(site.archive, ident) as late:
        late.open()
        late.write([b"abc"])
        site.rows("update upload set attempt = attempt + 1")  # cut off from the catalogue, and another call has begun
        with pytest.raises(LostClaim):
            late.note()
        late.write([b"def"])
        with pytest.raises(LostClaim):
            late.arrive()
    assert offset(api, place) == 0
    assert site.show(dataset).files == 0


def test_landing_that_is_full_says_when_it_is_not(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(landing__limit=1_000_000)
    with client_of(site) as api:
        first, second = site.open_dataset(profile="single-tape"), site.open_dataset()
        assert api.put(f"{PREFIX}/datasets/{first}/files/a", content=bytes(800_000)).status_code == 201
        answer = api.put(f"{PREFIX}/datasets/{second}/files/a", content=bytes(800_000))
        assert (answer.status_code, answer.json()["code"]) == (507, "landing-full")
        api.post(f"{PREFIX}/datasets/{first}/close")
        answer = api.put(f"{PREFIX}/datasets/{second}/files/a", content=bytes(800_000))
        assert "800000 bytes of closed datasets leave it" in answer.json()["detail"]
        site.drain()
        assert api.put(f"{PREFIX}/datasets/{second}/files/a", content=bytes(800_000)).status_code == 201
        areas = {area["name"]: area["used"] for area in api.get(f"{PREFIX}/status").json()["areas"]}
        assert areas["landing"] == 800_000


def test_bytes_that_the_disk_lost_do_not_count_and_are_asked_for_again(
    site: SmallSite, api: httpx.Client, dataset: str
) -> None:
    data = sample(500_000, "lost")
    place = begin(api, dataset, len(data)).headers["Location"]
    assert patch(api, place, 0, data[:300_000]).status_code == 204
    folder = site.archive.settings.landing_path / ".incoming"
    for file in folder.iterdir():
        file.unlink()
    assert patch(api, place, 300_000, data[300_000:]).status_code == 409
    assert offset(api, place) == 0
    assert patch(api, place, 0, data).status_code == 204
    assert (folder_of(site.archive, dataset) / "f").read_bytes() == data
    assert list(folder.iterdir()) == []


def test_a_file_whose_path_is_taken_is_refused_and_its_upload_is_over(
    site: SmallSite, api: httpx.Client, dataset: str, tmp_path: Path
) -> None:
    assert api.put(f"{PREFIX}/datasets/{dataset}/files/f", content=b"as it was").status_code == 201
    place = begin(api, dataset, 6).headers["Location"]
    answer = patch(api, place, 0, b"abcdef")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert api.head(place).status_code == 404  # nobody takes it for one that has come
    file = tmp_path / "f"
    file.write_bytes(b"changed")
    token = site.archive.settings.token_file.read_text().strip()
    with Client(str(api.base_url), token) as client, pytest.raises(Refused, match="with other content"):
        client.add_large(dataset, LocalFile(file, b"f", 7, file.stat().st_mtime_ns))
    assert landed(site, dataset) == b"as it was"
    assert list((site.archive.settings.landing_path / ".incoming").iterdir()) == []
    assert site.rows("select * from upload") == site.rows("select * from reservation") == []


def test_our_client_waits_for_the_end_of_a_large_file(
    site: SmallSite, api: httpx.Client, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.client.deposit._PIECE", 100_000)
    monkeypatch.setattr("holdfast.client.deposit._READ_BACK", 1000)  # bytes per second
    file = tmp_path / "large"
    file.write_bytes(sample(250_000, "large"))
    patience: list[float] = []
    working = uploads.Receiving(site.archive, "")

    def ask(request: httpx.Request) -> None:
        if request.method == "PATCH":
            patience.append(request.extensions["timeout"]["read"])
        if len(patience) == 3 and not working.ident:  # the last piece, as if a call that was cut off were at it
            (row,) = uploads.of_dataset(site.archive, dataset)
            working.ident = row["id"]
            working.__enter__()

    def tell(answer: httpx.Response) -> None:
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            working.__exit__(None, None, None)

    with Client(str(api.base_url), site.archive.settings.token_file.read_text().strip()) as client:
        client._http.event_hooks = {"request": [ask], "response": [tell]}
        client.add_large(dataset, LocalFile(file, b"f", 250_000, file.stat().st_mtime_ns))
    assert patience == [60, 60, 60 + 250, 60 + 250]
    assert landed(site, dataset) == file.read_bytes()


def test_whoever_may_write_may_end_an_upload_of_somebody_else(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    writer, stranger = person(site, "writer"), person(site, "stranger")
    assert api.put(f"{PREFIX}/datasets/{dataset}/grants/writer", json={"role": "writer"}).status_code == 200
    headers = {"Upload-Length": "6", "Upload-Metadata": metadata(dataset=dataset, filename="f")}
    place = api.post(f"{PREFIX}/uploads", headers=headers | writer).headers["Location"]
    assert api.post(f"{PREFIX}/datasets/{dataset}/close").status_code == 409
    assert patch(api, place, 0, b"abc").status_code == 404  # but nobody else goes on with it
    there, nowhere = (api.delete(at, headers=stranger) for at in (place, f"{PREFIX}/uploads/nothing"))
    assert (
        (there.status_code, there.json()["title"])
        == (nowhere.status_code, nowhere.json()["title"])
        == (404, nowhere.json()["title"])
    )
    assert api.delete(place).status_code == 204
    assert api.get(f"{PREFIX}/datasets/{dataset}/uploads").json()["items"] == []


def test_what_has_come_of_an_upload_is_not_promised_once_more(
    api: httpx.Client, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = begin(api, dataset, 10_000_000).headers["Location"]
    assert patch(api, place, 0, bytes(9_000_000)).status_code == 204

    def of_the_disk(_: object) -> os.statvfs_result:  # which has room for what is still to come, and for this much
        return os.statvfs_result((1, 1, 1_000, 6_100_000, 6_100_000, 0, 0, 0, 0, 255))

    monkeypatch.setattr("os.statvfs", of_the_disk)
    assert begin(api, dataset, 5_000_000, name="g").status_code == 201
    assert begin(api, dataset, 1_000_000, name="h").status_code == 507


def test_a_dataset_that_is_deleted_gives_back_what_was_promised(
    site: SmallSite, api: httpx.Client, dataset: str
) -> None:
    begin(api, dataset, 10_000_000)
    deletion.delete(site.archive, dataset, person="tester", reason="a test")
    site.drain()
    assert site.rows("select * from upload") == site.rows("select * from reservation") == []
