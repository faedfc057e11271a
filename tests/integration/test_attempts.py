# SPDX-License-Identifier: Apache-2.0
"""What somebody who is not known may cost the archive, and how often anybody may guess."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from persons import PASSWORD
from served import client_of

from holdfast.identity import password
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

OTHER = "another long password"


def test_guesses_for_one_name_count_together_however_it_is_written(make_site: Callable[..., SmallSite]) -> None:
    with client_of(make_site(people__attempts=3)) as api:
        names = [
            "marie.curie",
            "MARIE.Curie ",
            " marie.  curie",
            "ma\u00adrie.curi\u00e9",
            "\uff4darie.curie",
            "pierre",
        ]
        answers = [api.post(f"{PREFIX}/login", json={"name": name, "password": OTHER}) for name in names]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429, 401]


def test_a_password_that_is_not_proved_costs_no_other_one(
    make_site: Callable[..., SmallSite], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytes] = []
    real = password.PasswordHasher.hash

    def counted(self: Any, given: bytes, **how: Any) -> str:
        made.append(given)
        return real(self, given, **how)

    monkeypatch.setattr(password.PasswordHasher, "hash", counted)
    with client_of(make_site(people__attempts=2)) as api:
        wish = {"name": "marie", "old": PASSWORD, "new": OTHER}
        answers = [api.post(f"{PREFIX}/password", json=wish).status_code for _ in range(4)]
        assert answers == [401, 401, 429, 429]
        assert made == []
