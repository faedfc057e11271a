# SPDX-License-Identifier: Apache-2.0
"""Share links: what they open, for how long, and what they tell."""

from __future__ import annotations

import io
import shutil
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from persons import person

from holdfast.errors import PasswordNeeded
from holdfast.services import links
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

FILES = {"a.txt": b"hello\n", "sub/big.bin": b"big", "sub/deep/c": b""}


@pytest.fixture
def dataset(site: SmallSite) -> str:
    ident = site.archive_folder(FILES)
    site.drain()
    return ident


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
    assert api.get(f"{address}/content/sub/big.bin").content == FILES["sub/big.bin"]
    for path in ("a.txt", "sub/../a.txt", "sub%2F..%2Fa.txt", "subway", ""):
        assert api.get(f"{address}/content/{path.replace('..', '%2E%2E')}").status_code in {404, 422}
    with tarfile.open(fileobj=io.BytesIO(api.get(f"{address}/bundle").content)) as tar:
        assert sorted(tar.getnames()) == [f"{dataset}.sha512", f"{dataset}/sub/big.bin", f"{dataset}/sub/deep/c"]
    assert api.get(f"{address}/checksums").text.count("\n") == 2


def test_p8_a_link_to_what_is_on_tape_tells_nothing_of_the_request(
    site: SmallSite, api: httpx.Client, dataset: str
) -> None:
    address = link(api, dataset, path="sub/deep")["address"]
    shutil.rmtree(site.sources / "run")  # the bytes are on tape only
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
    shutil.rmtree(site.sources / "run")  # the bytes are on tape only
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
        made[name]["id"]: "suspended" if name == "orphan" else "ended" for name in made
    }
    assert all(item["secret"] is None for item in listed)


def test_a_link_is_suspended_as_long_as_who_made_it_does_not_manage_the_dataset(
    site: SmallSite, api: httpx.Client, dataset: str
) -> None:
    marie, grant = person(site, "marie"), f"{PREFIX}/datasets/{dataset}/grants/marie"

    def state() -> tuple[str, int]:
        [item] = api.get(f"{PREFIX}/datasets/{dataset}/links").json()["items"]
        return item["state"], api.get(made["address"], headers={"Authorization": ""}).status_code

    assert api.put(grant, json={"role": "manager"}).status_code == 200
    made = api.post(f"{PREFIX}/datasets/{dataset}/links", json={}, headers=marie).json()
    assert (made["state"], state()) == ("good", ("good", 200))
    for role, found in (("writer", ("suspended", 404)), ("manager", ("good", 200))):
        assert api.put(grant, json={"role": role}).status_code == 200
        assert state() == found
    assert api.post(f"{PREFIX}/people/marie/disable", json={"reason": "left"}).status_code == 200
    assert state() == ("suspended", 404)
    site.rows("update dataset set state = 'open' where id = %s", dataset)
    assert link(api, dataset)["state"] == "suspended", "it opens nothing as yet"


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
