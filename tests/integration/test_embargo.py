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
