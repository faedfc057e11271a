# SPDX-License-Identifier: Apache-2.0
"""Profiles as contracts: versions, limits, roles, and what follows when a dataset is put under another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from served import client_of
from test_deposit import tar_of
from test_rights import person

from holdfast.errors import InvalidInput
from holdfast.model.entry import Entry
from holdfast.model.ids import new_id
from holdfast.model.profile import Profile, checked
from holdfast.services import register
from holdfast.services.free import _Release
from holdfast.services.profiles import shipped
from holdfast.services.scan import scan
from holdfast.services.scrub import scrub
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

PROFILES = f"{PREFIX}/profiles"


def put(api: httpx.Client, name: str, **terms: Any) -> httpx.Response:
    return api.put(f"{PROFILES}/{name}", json={"terms": terms})


def change(api: httpx.Client, dataset: str, profile: str) -> httpx.Response:
    return api.post(f"{PREFIX}/datasets/{dataset}/profile", json={"profile": profile})


def live(site: SmallSite, dataset: str) -> list[str]:
    return sorted(
        copy.state for package in site.show(dataset).packages for copy in package.copies if copy.state != "retired"
    )


def test_the_shipped_ones_are_offered_and_can_be_read(api: httpx.Client) -> None:
    found = {item["name"]: item for item in api.get(PROFILES).json()["items"]}
    assert list(found) == [profile.name for profile in shipped()]
    assert {"twin-tape", "personal", "beamline", "facility-stream", "investigation", "telescope-products"} <= set(found)
    assert found["twin-tape"]["terms"]["copies"] == 2
    for profile in shipped():
        assert Profile.from_json(profile.to_json()) == profile


@pytest.mark.parametrize(
    "terms",
    [
        {"copies": 0},
        {"copies": "2"},
        {"copies": True},
        {"copies": 17},
        {"packaging": "zip"},
        {"two_persons": 1},
        {"roles": "admin"},
        {"roles": ["king"]},
        {"keep_days": 10, "longest_keep_days": 5},
        {"cost_per_tb_year": -1},
        {"accept": [1]},
        {"release": "always"},
        {"required": ["reject date fits:DATE-OBS"]},
        {"required": ["reject string  a"]},
        {"required": ["reject string a", "warn number a"]},
        {"cost_per_tb_year": float("inf")},
        {"cost_per_tb_year": float("nan")},
        {"colour": "red"},
        {"version": 3},
        {"name": "Not A Name"},
    ],
)
def test_terms_that_make_no_sense_are_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        checked({"name": "x", **terms})


def test_a_new_version_is_made_when_the_terms_change_and_datasets_keep_theirs(
    site: SmallSite, api: httpx.Client
) -> None:
    assert put(api, "mine", copies=1).json()["version"] == 1
    first = site.open_dataset(profile="mine")
    assert put(api, "mine", copies=1).json()["version"] == 1  # P11
    assert put(api, "mine", copies=2).json()["version"] == 2
    second = site.open_dataset(profile="mine")
    assert (site.show(first).profile_version, site.show(second).profile_version) == (1, 2)
    versions = api.get(f"{PROFILES}/mine").json()["items"]
    assert [(item["version"], item["terms"]["copies"], item["datasets"]) for item in versions] == [(1, 1, 1), (2, 2, 1)]
    marie = person(site, "marie")
    for path in ("profiles", "profiles/mine"):  # P8: how many datasets there are is not for everybody
        items = api.get(f"{PREFIX}/{path}", headers=marie).json()["items"]
        assert {item["datasets"] for item in items} == {None}
    assert put(api, "mine", copies=0).status_code == 422
    assert api.put(f"{PROFILES}/mine", json={"terms": {"name": "other"}}).status_code == 422
    assert [event.body["version"] for event in site.events("profile.set")] == [1, 2]


def test_a_retired_profile_is_offered_no_more(site: SmallSite, api: httpx.Client) -> None:
    put(api, "mine", copies=1)
    dataset = site.open_dataset(profile="mine")
    for _ in range(2):
        assert api.post(f"{PROFILES}/mine/retire").json()["retired_at"]
    with pytest.raises(InvalidInput):
        site.open_dataset(profile="mine")
    assert "mine" not in [item["name"] for item in api.get(PROFILES).json()["items"]]
    assert "mine" in [item["name"] for item in api.get(PROFILES, params={"retired": True}).json()["items"]]
    assert site.show(dataset).profile == "mine"
    assert len(site.events("profile.retired")) == 1
    put(api, "mine", copies=1)
    site.open_dataset(profile="mine")


def test_a_profile_is_for_its_roles(api: httpx.Client, site: SmallSite) -> None:
    put(api, "only-admins", roles=["admin"])
    assert api.post(f"{PREFIX}/datasets", json={"title": "t", "profile": "only-admins"}).status_code == 201
    put(api, "no-admins", roles=["member"])
    answer = api.post(f"{PREFIX}/datasets", json={"title": "t", "profile": "no-admins"})
    assert (answer.status_code, answer.json()["code"]) == (403, "not-allowed")
    assert change(api, site.open_dataset(), "no-admins").status_code == 403


def test_limits_are_asked_before_bytes_move(site: SmallSite, api: httpx.Client) -> None:
    put(api, "small", most_files=2, most_bytes=100, most_file_bytes=80)
    dataset = site.open_dataset(profile="small")
    files = f"{PREFIX}/datasets/{dataset}/files"
    assert "80" in api.put(f"{files}/a", content=bytes(81)).json()["detail"]
    assert api.put(f"{files}/a", content=bytes(70)).status_code == 201
    assert api.put(f"{files}/b", content=bytes(31)).status_code == 409
    assert api.put(f"{files}/b", content=bytes(30)).status_code == 201
    assert api.put(f"{files}/c", content=b"").status_code == 409
    assert api.put(f"{files}/a", content=bytes(70)).status_code in {201, 409}
    assert site.show(dataset).files == 2


def test_more_copies_are_made_and_fewer_stay_when_those_are_proven(site: SmallSite, api: httpx.Client) -> None:
    for number in (1, 2, 3):
        put(api, f"copies-{number}", copies=number)
    dataset = site.archive_folder({"a": b"alpha"}, profile="copies-2")
    site.drain()
    assert live(site, dataset) == ["verified"] * 2
    assert change(api, dataset, "copies-3").json()["level"] == "archived"
    site.drain()
    assert live(site, dataset) == ["verified"] * 3
    assert len(set(site.tapes(dataset))) == 3
    # One of the three is bad: it is not counted when two of them shall stay.
    site.rows("update copy set state = 'suspect', next_try = now() + interval '1 hour' where number = 1")
    change(api, dataset, "copies-2")
    site.drain(hurry=False)
    assert live(site, dataset) == ["verified", "verified"]
    change(api, dataset, "copies-1")
    site.drain()
    assert live(site, dataset) == ["verified"]
    assert len(site.on_tapes()) == 1
    assert len(site.events("copy.retired")) == 2
    changed = [(event.body["was"], event.body["profile"]) for event in site.events("dataset.profile-changed")]
    assert changed == [("copies-2", "copies-3"), ("copies-3", "copies-2"), ("copies-2", "copies-1")]
    assert change(api, dataset, "plain-twin-tape").status_code == 409


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"most_files": 1}, "takes at most 1 files; this would make 2"),
        ({"most_bytes": 5}, "takes at most 5 bytes; this would make 6"),
        ({"most_file_bytes": 3}, "sub/b has 4 bytes; the profile small takes files of at most 3"),
        ({"accept": ["a"]}, "sub/b is no file for the profile small"),
    ],
)
def test_limits_are_those_of_folders_too_and_of_the_profile_at_closing(
    site: SmallSite, api: httpx.Client, terms: dict[str, Any], reason: str
) -> None:
    put(api, "small", **terms)
    content = {"a": b"aa", "sub/b": b"bbbb"}
    in_place, by_hand = site.archive_folder(content, profile="small"), site.open_dataset()
    assert len(api.post(f"{PREFIX}/datasets/{by_hand}/files", content=tar_of(content)).json()["added"]) == 2
    assert change(api, by_hand, "small").status_code == 200
    assert api.post(f"{PREFIX}/datasets/{by_hand}/close").status_code == 202
    site.drain()
    for dataset, state in ((in_place, "deleted"), (by_hand, "open")):
        found = site.show(dataset)
        assert found.problem
        assert (found.state, reason in found.problem.sentence) == (state, True), found.problem
    assert site.staged() == []
    assert change(api, by_hand, "twin-tape").status_code == 200
    assert api.post(f"{PREFIX}/datasets/{by_hand}/close").status_code == 202
    site.drain()
    assert site.show(by_hand).safe_at


def test_p9_nothing_waits_for_a_copy_that_the_new_profile_does_not_want(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(library__tapes=2)
    with client_of(site) as api:
        for number in (2, 3):
            put(api, f"copies-{number}", copies=number)
        dataset = site.archive_folder({"a": b"alpha"}, profile="copies-3")
        site.drain(hurry=False)
        assert live(site, dataset) == ["planned", "verified", "verified"]  # there is no third tape
        assert not site.show(dataset).safe_at
        change(api, dataset, "copies-2")
        site.drain(hurry=False)
    assert live(site, dataset) == ["verified", "verified"]
    found = site.show(dataset)
    assert (found.level, bool(found.safe_at), found.pending) == ("preserved", True, [])
    assert site.staged() == []


def test_p3_only_an_administrator_takes_protection_from_what_is_closed(site: SmallSite, api: httpx.Client) -> None:
    put(api, "strict", copies=2, keep_days=100, two_persons=True, release="never")
    put(api, "more", copies=3, keep_days=100, two_persons=True, release="never")
    less = {"copies": 1, "keep_days": 99, "two_persons": False, "release": "on-request"}
    for term, value in less.items():
        put(
            api,
            term.replace("_", "-"),
            **{"copies": 2, "keep_days": 100, "two_persons": True, "release": "never", term: value},
        )
    owner = person(site, "marie")
    dataset = site.archive_folder({"a": b"alpha"}, profile="strict")
    site.rows("update dataset set owner = 'marie', visible_to = visible_to || '{p:marie}'")
    site.drain()

    def wish(profile: str) -> httpx.Response:
        return api.post(f"{PREFIX}/datasets/{dataset}/profile", json={"profile": profile}, headers=owner)

    for term in less:
        refused = wish(term.replace("_", "-"))
        assert (refused.status_code, f"promises less ({term}) than strict" in refused.json()["detail"]) == (403, True)
    assert wish("more").status_code == 200
    assert change(api, dataset, "copies").status_code == 200


def test_a_profile_says_how_often_its_copies_are_read(site: SmallSite, api: httpx.Client) -> None:
    put(api, "often", copies=1, verify_days=30)
    often, seldom = (site.archive_folder({"a": b"a"}, name=name, profile=name) for name in ("often", "single-tape"))
    site.drain()
    site.rows("update copy set verified_at = now() - interval '31 days'")
    assert scrub(site.archive) == 1
    (row,) = site.rows("select package from copy where check_wanted is not null")
    assert row["package"].startswith(often)
    assert not row["package"].startswith(seldom)


def test_a_dataset_is_kept_for_as_long_as_the_profile_lets_one_ask(api: httpx.Client) -> None:
    put(api, "kept", keep_days=10, longest_keep_days=20)
    for days, status in ((9, 422), (10, 201), (20, 201), (21, 422)):
        wish = {"title": "t", "profile": "kept", "keep_days": days}
        assert api.post(f"{PREFIX}/datasets", json=wish).status_code == status


def test_a_dataset_that_extends_another_inherits_from_it(site: SmallSite, api: httpx.Client) -> None:
    first = site.archive_folder({"a": b"a"}, profile="single-tape", metadata={"sample": "LaB6", "run": 1})
    site.drain()
    answer = api.post(f"{PREFIX}/datasets", json={"title": "more", "extends": first, "metadata": {"run": 2}})
    found = answer.json()
    assert (found["extends"], found["profile"], found["metadata"]) == (
        first,
        "single-tape",
        {"sample": "LaB6", "run": 2},
    )
    assert api.post(f"{PREFIX}/datasets", json={"title": "t", "extends": found["id"]}).status_code == 409  # it is open
    assert api.post(f"{PREFIX}/datasets", json={"title": "t", "extends": new_id()}).status_code == 404


def test_versions_are_shown_as_a_union_with_the_provenance_of_each_file(site: SmallSite, api: httpx.Client) -> None:
    first = site.archive_folder({"a": b"old a", "b/c": b"old c", "z": b"z"})
    site.drain()
    second = site.open_dataset(extends=first)
    for path in ("b/c", "m"):
        assert api.put(f"{PREFIX}/datasets/{second}/files/{path}", content=b"new").status_code == 201

    def shown(**query: Any) -> list[tuple[str, str, int]]:
        found: list[tuple[str, str, int]] = []
        cursor = None
        while True:
            page = api.get(
                f"{PREFIX}/datasets/{second}/files",
                params={"union": True, "limit": 2, **query, **({"cursor": cursor} if cursor else {})},
            ).json()
            found += [(item["path"], item["dataset"], item["size"]) for item in page["items"]]
            if (cursor := page["next"]) is None:
                return found

    wanted = [("a", first, 5), ("b/c", second, 3), ("m", second, 3), ("z", first, 1)]
    assert shown() == wanted
    assert api.post(f"{PREFIX}/datasets/{second}/close").status_code == 202
    site.drain()
    assert shown() == wanted
    assert shown(prefix="b") == wanted[1:2]
    headers = person(site, "reader")
    site.rows(
        'insert into "grant" (dataset, person, role, granted_by) values (%s, %s, %s, %s)',
        second,
        "reader",
        "reader",
        "x",
    )
    api.headers.update(headers)
    assert [path for path, _, _ in shown()] == ["b/c", "m"]  # P8: not what one may not see


def test_a_profile_takes_files_of_some_names_only(site: SmallSite, api: httpx.Client) -> None:
    put(api, "products", accept=["*.h5", "README"], copies=1)
    dataset = site.open_dataset(profile="products")
    files = f"{PREFIX}/datasets/{dataset}/files"
    assert api.put(f"{files}/a/x.h5", content=b"x").status_code == 201
    assert api.put(f"{files}/README", content=b"x").status_code == 201
    answer = api.put(f"{files}/x.h5/tmp", content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (422, "unfit-file")
    found = api.post(files, content=tar_of({"b.h5": b"b", "b.txt": b"b"})).json()
    assert ([item["path"] for item in found["added"]], found["refused"][0]["code"]) == (["b.h5"], "unfit-file")
    in_place = site.archive_folder({"c.h5": b"c", "c.log": b"c"}, profile="products")
    site.drain()
    problem = site.show(in_place).problem
    assert problem
    assert problem.code == "unfit-file"


def test_a_profile_may_say_that_the_source_stays(site: SmallSite, api: httpx.Client) -> None:
    put(api, "stays", release="never", copies=1)
    dataset, by_hand = site.archive_folder({"a": b"a"}, profile="stays"), site.open_dataset(profile="stays")
    api.put(f"{PREFIX}/datasets/{by_hand}/files/a", content=b"a")
    api.post(f"{PREFIX}/datasets/{by_hand}/close")
    site.drain()
    assert api.post(f"{PREFIX}/datasets/{dataset}/release", json={"apply": True}).status_code == 409
    assert site.show(by_hand).source_released_at  # landing is no source of anybody's


@pytest.mark.parametrize("terms", [{"release": "never"}, {"copies": 3}])
def test_p3_a_release_goes_by_the_profile_that_counts_when_it_removes(
    site: SmallSite, api: httpx.Client, monkeypatch: pytest.MonkeyPatch, terms: dict[str, Any]
) -> None:
    put(api, "other", **terms)
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    plan = _Release.plan

    def plan_while_the_profile_changes(release: _Release) -> None:
        plan(release)
        assert change(api, dataset, "other").status_code == 200

    monkeypatch.setattr(_Release, "plan", plan_while_the_profile_changes)
    answer = api.post(f"{PREFIX}/datasets/{dataset}/release", json={"apply": True})
    site.work()
    assert api.get(f"{PREFIX}/releases/{answer.json()['id']}").json()["state"] == "failed"
    assert (site.sources / "run" / "a").exists()


def test_a_folder_is_cut_by_the_profile_that_counts_when_that_is_done(
    site: SmallSite, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = site.archive_folder({"a": b"a", "b": b"b"})

    def while_the_profile_changes(root: bytes) -> Iterator[Entry]:
        yield from scan(root)
        assert change(api, dataset, "plain-twin-tape").status_code == 200

    monkeypatch.setattr(register, "scan", while_the_profile_changes)
    site.work()
    assert site.show(dataset).packages == []
    site.drain()
    assert {package.packaging for package in site.show(dataset).packages} == {"plain"}
