# SPDX-License-Identifier: Apache-2.0
"""What somebody who is not known may cost the archive, and how often anybody may guess."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from persons import PASSWORD
from served import client_of

from holdfast.identity import password
from holdfast.testing.proxy import free_port
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


def test_who_has_the_password_is_not_shut_out_by_coming_often_at_once(make_site: Callable[..., SmallSite]) -> None:
    with client_of(make_site(people__attempts=2)) as api, ThreadPoolExecutor(12) as pool:
        wish = {"name": "marie", "title": "", "mail": "", "password": PASSWORD}
        assert api.post(f"{PREFIX}/applications", json=wish).status_code == 202
        assert api.post(f"{PREFIX}/people/marie/approve").status_code == 200

        def login(password: str) -> int:
            return api.post(f"{PREFIX}/login", json={"name": "marie", "password": password}).status_code

        at_once = set(pool.map(login, [PASSWORD] * 24))
        assert at_once == {201, 429}
        assert login(PASSWORD) == 201
        assert set(pool.map(login, [OTHER] * 24)) == {401, 429}
        assert login(PASSWORD) == 429, "who has not, shuts it"


def test_a_network_of_ipv6_is_one_address(make_site: Callable[..., SmallSite]) -> None:
    with client_of(make_site(people__attempts=2)) as api:

        def applies(address: str, number: int) -> int:
            wish = {"name": f"a{number}", "title": "", "mail": "", "password": PASSWORD}
            return api.post(f"{PREFIX}/applications", json=wish, headers={"X-Forwarded-For": address}).status_code

        one = ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff::", "2001:db8:0:2::1"]
        assert [applies(address, number) for number, address in enumerate(one)] == [202, 202, 429, 202]
        mapped = ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201", "::ffff:192.0.2.2"]
        assert [applies(address, number) for number, address in enumerate(mapped, 10)] == [202, 202, 429, 202]


def test_sign_ins_that_nobody_ends_are_counted(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(people__attempts=1, oidc__issuer=f"http://127.0.0.1:{free_port()}", oidc__client="holdfast")
    with client_of(site) as api:
        begun = [lambda: api.get(f"{PREFIX}/login/oidc"), lambda: api.post(f"{PREFIX}/login/device")] * 6
        assert [begin().status_code for begin in begun] == [503] * 10 + [429] * 2
        assert [event.body["what"] for event in site.events("login.failed")] == ["sign-in"]


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
