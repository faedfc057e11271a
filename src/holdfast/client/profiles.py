# SPDX-License-Identifier: Apache-2.0
"""Calls about profiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.client.connection import Connection, segment
from holdfast.wire.datasets import DatasetDetail
from holdfast.wire.profiles import Profile, ProfileChange, ProfilePage, ProfileWish


class Profiles(Connection):
    """The contracts that a site offers."""

    def profiles(self, *, retired: bool = False) -> list[Profile]:
        """Return the newest version of each profile that is offered, with `retired` also of the others."""
        return self._get("/profiles", ProfilePage, retired=retired).items

    def profile(self, name: str) -> list[Profile]:
        """Return all versions of a profile, the oldest first."""
        return self._get(f"/profiles/{segment(name)}", ProfilePage).items

    def set_profile(self, name: str, terms: Mapping[str, Any]) -> Profile:
        """Make a profile, or a new version of one if its terms changed."""
        return self._put(f"/profiles/{segment(name)}", ProfileWish(terms=dict(terms)), Profile)

    def retire_profile(self, name: str) -> Profile:
        """Offer a profile no more."""
        return self._post(f"/profiles/{segment(name)}/retire", None, Profile)

    def change_profile(self, dataset: str, profile: str) -> DatasetDetail:
        """Put a dataset under the newest version of a profile."""
        return self._post(f"/datasets/{segment(dataset)}/profile", ProfileChange(profile=profile), DatasetDetail)
