# SPDX-License-Identifier: Apache-2.0
"""Quotas: what one owner may have under a profile, in all datasets together, asked before bytes move."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from click.testing import CliRunner
from persons import person
from test_deletion import act
from test_deposit import tar_of
from test_groups import call, join
from test_profiles import change, put
from test_uploads import TUS, begin

from holdfast.cli.main import commands
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

Headers = dict[str, str]


@pytest.fixture(autouse=True)
def _limited(api: httpx.Client) -> None:
    assert put(api, "limited", copies=1, quota_bytes=1000).status_code == 200


def make(api: httpx.Client, who: Headers, **wish: str) -> str:
    made = api.post(f"{PREFIX}/datasets", headers=who, json={"title": "t", "profile": "limited", **wish})
    assert made.status_code == 201, made.text
    found: str = made.json()["id"]
    return found


def add(api: httpx.Client, who: Headers, dataset: str, size: int, name: str = "f") -> httpx.Response:
    return api.put(f"{PREFIX}/datasets/{dataset}/files/{name}", headers=who, content=bytes(size))


def used(api: httpx.Client, who: Headers) -> int | None:
    (version,) = api.get(f"{PREFIX}/profiles/limited", headers=who).json()["items"]
    (listed,) = (
        item for item in api.get(f"{PREFIX}/profiles", headers=who).json()["items"] if item["name"] == "limited"
    )
    assert listed["used"] == version["used"]
    found: int | None = version["used"]
    return found


def test_all_datasets_of_an_owner_count_together(site: SmallSite, api: httpx.Client) -> None:
    marie, pierre = person(site, "marie"), person(site, "pierre")
    first, second = make(api, marie), make(api, marie)
    assert used(api, marie) == 0
    assert add(api, marie, first, 600).status_code == 201
    refused = add(api, marie, second, 401)
    assert refused.status_code == 409
    assert "marie may have 1,000 bytes in all datasets of the profile limited; this would make 1,001" in refused.text
    assert (
        api.post(f"{PREFIX}/datasets/{second}/files", headers=marie, content=tar_of({"a": bytes(900)})).status_code
        == 409
    )
    assert site.show(second).files == 0
    assert add(api, pierre, make(api, pierre), 1000).status_code == 201, "each has a quota"
    assert add(api, marie, second, 400).status_code == 201
    assert (used(api, marie), used(api, pierre)) == (1000, 1000)
    assert add(api, marie, first, 1, "more").status_code == 409
    assert api.delete(f"{PREFIX}/datasets/{first}/files/f", headers=marie).status_code == 204
    assert used(api, marie) == 400
    assert add(api, marie, first, 600).status_code == 201
    assert act(api, second).status_code == 200
    site.drain()
    assert used(api, marie) == 600
    # Other profiles are not limited by it, and tell of no use.
    assert add(api, marie, make(api, marie, profile="single-tape"), 5000).status_code == 201
    items = api.get(f"{PREFIX}/profiles", headers=marie).json()["items"]
    assert {item["name"] for item in items if item["used"] is not None} == {"limited", "personal"}


def test_what_is_on_its_way_counts(site: SmallSite, api: httpx.Client) -> None:
    marie = person(site, "marie")
    first, second = make(api, marie), make(api, marie)
    with httpx.Client(base_url=api.base_url, headers={**TUS, **marie}, trust_env=False) as tus:
        begun = begin(tus, first, 700)
        assert begun.status_code == 201
        assert used(api, marie) == 700
        assert begin(tus, second, 301).status_code == 409
        assert add(api, marie, second, 301).status_code == 409
        assert add(api, marie, second, 300).status_code == 201
        assert tus.delete(begun.headers["Location"]).status_code == 204
    assert used(api, marie) == 300


def test_a_group_has_one_of_its_own(site: SmallSite, api: httpx.Client) -> None:
    marie, pierre = person(site, "marie"), person(site, "pierre")
    assert call(api, "POST", "/groups", name="team", owner="marie").status_code == 201
    assert join(api, marie, "pierre", "writer") == 200
    assert add(api, marie, make(api, marie), 800).status_code == 201
    ours = make(api, marie, group="team")
    assert add(api, marie, ours, 600).status_code == 201
    assert used(api, marie) == 800
    refused = add(api, pierre, make(api, pierre, group="team"), 401)
    assert (refused.status_code, "The group team may have" in refused.text) == (409, True)
    assert add(api, pierre, ours, 400, "g").status_code == 201
    assert add(api, pierre, make(api, pierre), 1000).status_code == 201


def test_folders_in_place_count_when_they_were_looked_through(site: SmallSite) -> None:
    fits = site.archive_folder({"a": bytes(900)}, name="one", profile="limited")
    site.drain()
    assert site.show(fits).level == "preserved"
    over = site.archive_folder({"a": bytes(101)}, name="two", profile="limited")
    site.drain()
    problem = site.show(over).problem
    assert problem
    assert (site.show(over).state, "this would make 1,001" in problem.sentence) == ("deleted", True)
    rest = site.archive_folder({"a": bytes(100)}, name="three", profile="limited")
    site.drain()
    assert site.show(rest).level == "preserved"
    assert (site.sources / "two/a").exists()


def test_one_that_is_put_under_the_profile_is_asked_when_it_is_closed(site: SmallSite, api: httpx.Client) -> None:
    marie = person(site, "marie")
    assert add(api, marie, make(api, marie), 600).status_code == 201
    dataset = make(api, marie, profile="single-tape")
    assert add(api, marie, dataset, 401).status_code == 201
    assert change(api, dataset, "limited").status_code == 200
    assert api.post(f"{PREFIX}/datasets/{dataset}/close", headers=marie).status_code == 202
    site.drain()
    found = site.show(dataset)
    assert found.problem
    assert (found.state, "marie may have" in found.problem.sentence) == ("open", True)


def test_p7_what_is_asked_for_at_once_is_together_not_too_much(site: SmallSite, api: httpx.Client) -> None:
    marie = person(site, "marie")
    made = [make(api, marie) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        codes = sorted(pool.map(lambda dataset: add(api, marie, dataset, 300).status_code, made))
    assert codes == [201] * 3 + [409] * 9
    assert used(api, marie) == 900


def test_the_command_says_how_much_is_used(site: SmallSite, api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    marie = person(site, "marie")
    assert add(api, marie, make(api, marie), 250).status_code == 201
    monkeypatch.setenv("HOLDFAST_URL", str(api.base_url).rstrip("/"))
    monkeypatch.setenv("HOLDFAST_TOKEN", marie["Authorization"].removeprefix("Bearer "))
    done = CliRunner().invoke(commands, ["admin", "profile", "show", "limited"])
    assert done.exit_code == 0, done.output
    assert "You have 250 B of 1.0 kB.\n" in done.output
