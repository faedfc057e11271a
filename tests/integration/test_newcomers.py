# SPDX-License-Identifier: Apache-2.0
"""Those who sign in elsewhere for the first time, many calls at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from holdfast.errors import SignInFailed
from holdfast.identity.recognised import Recognised
from holdfast.services.signin import person_of
from holdfast.testing.site import SmallSite


def test_p11_who_comes_for_the_first_time_with_many_calls_gets_one_account(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(people__newcomers="admit")
    together = Barrier(6)

    def come(subject: str) -> str:
        together.wait(20)
        return str(person_of(site.archive, Recognised("jwt", "https://issuer", subject, name="pipeline"))["name"])

    with ThreadPoolExecutor(6) as pool:
        for number in range(5):
            [name] = set(pool.map(come, [str(number)] * 6))
            assert site.rows("select person from credential where subject = %s", str(number)) == [{"person": name}]
    assert len(site.rows("select name from person where role = 'member'")) == 5
    assert len(site.events("person.admitted")) == 5


def test_who_shows_a_jwt_with_each_call_changes_nothing_each_time(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(people__newcomers="admit")
    found = Recognised("jwt", "https://issuer", "1", name="pipeline")
    person_of(site.archive, found)
    before = site.rows("select used_at, xmin::text from credential")
    change = site.archive.database.change
    person_of(site.archive, found)
    assert site.archive.database.change is change, "who showed other tokens is remembered"
    assert site.rows("select used_at, xmin::text from credential") == before
    site.rows("update credential set used_at = now() - interval '2 minutes'")
    person_of(site.archive, found)
    assert site.rows("select now() - used_at < interval '1 minute' as now from credential") == [{"now": True}]


@pytest.mark.parametrize(
    ("wished", "name"),
    [
        ("Renée Müller", "renee.muller"),
        ("Rene\u0301e Groß", "renee.gross"),
        ("李", "person"),
        ("Everyone", "everyone-2"),
    ],
)
def test_a_newcomer_is_called_in_plain_letters(make_site: Callable[..., SmallSite], wished: str, name: str) -> None:
    site = make_site(people__newcomers="apply")
    with pytest.raises(SignInFailed, match="waits until"):
        person_of(site.archive, Recognised("x509", "CN=CA", "CN=x", name=wished))
    assert site.rows("select name from person where state = 'applied'") == [{"name": name}]
