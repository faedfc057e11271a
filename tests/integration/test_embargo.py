# SPDX-License-Identifier: Apache-2.0
"""Embargoes end by themselves, once."""

from __future__ import annotations

import pytest

from holdfast.services import profiles
from holdfast.services.planner import plan
from holdfast.testing.site import SmallSite


@pytest.mark.parametrize("audience", ["members", "everyone"])
def test_an_embargo_ends_when_the_profile_says(site: SmallSite, audience: str) -> None:
    terms = {"name": "raw", "embargo_days": 1095, "open_to": audience}
    profiles.put(site.archive, terms, person="boss")
    dataset = site.archive_folder({"a": b"a"}, profile="raw")
    other = site.archive_folder({"a": b"a"}, name="other")
    site.drain()

    def visible(ident: str) -> list[str]:
        [row] = site.rows("select visible_to from dataset where id = %s", ident)
        return [name for name in row["visible_to"] if name in {"members", "everyone"}]

    assert visible(dataset) == []
    site.rows("update dataset set closed_at = closed_at - interval '1094 days'")
    plan(site.archive)
    assert visible(dataset) == []
    site.rows("update dataset set closed_at = closed_at - interval '1 day'")
    plan(site.archive)
    assert visible(dataset) == [audience]
    assert visible(other) == []
    assert [event.body for event in site.events("dataset.opened")] == [{"to": audience}]
    site.rows('delete from "grant"')  # somebody takes it back, for a reason
    plan(site.archive)
    assert visible(dataset) == []


def test_the_end_of_an_embargo_is_told_before(site: SmallSite) -> None:
    terms = {"name": "raw", "embargo_days": 1095, "open_to": "members"}
    profiles.put(site.archive, terms, person="boss")
    profiles.put(site.archive, {**terms, "name": "quiet", "notice_days": 0}, person="boss")
    profiles.put(site.archive, {**terms, "name": "closed", "open_to": "nobody"}, person="boss")
    dataset = site.archive_folder({"a": b"a"}, profile="raw")
    for name in ("quiet", "closed"):
        site.archive_folder({"a": b"a"}, name=name, profile=name)
    site.drain()

    def told() -> list[tuple[str | None, str]]:
        found = [event for event in site.events("dataset.embargo-ending") if event.body["to"] == "members"]
        return [(event.dataset, event.body["ends_at"]) for event in found]

    def end() -> str:
        [row] = site.rows("select closed_at + interval '1 day' * 1095 as at from dataset where id = %s", dataset)
        return str(row["at"].isoformat())

    site.rows("update dataset set closed_at = closed_at - interval '1064 days'")
    plan(site.archive)
    assert told() == []
    site.rows("update dataset set closed_at = closed_at - interval '1 day'")
    plan(site.archive)
    plan(site.archive)
    first = (dataset, end())
    assert told() == [first]
    # The owner has it put under a longer one, which ends another day: that is told in its time.
    profiles.put(site.archive, {**terms, "embargo_days": 1825}, person="boss")
    site.rows("update dataset set profile_version = 2 where id = %s", dataset)
    plan(site.archive)
    assert told() == [first]
    site.rows("update dataset set closed_at = closed_at - interval '735 days'")
    plan(site.archive)
    assert [name for name, _ in told()] == [dataset, dataset]
    # What has ended is told as that, and not before any more.
    site.rows("update dataset set end_told = null, closed_at = closed_at - interval '60 days'")
    plan(site.archive)
    assert len(told()) == 2
    assert {event.dataset for event in site.events("dataset.opened")} >= {dataset}
