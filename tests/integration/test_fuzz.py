# SPDX-License-Identifier: Apache-2.0
"""Whatever is sent, the REST API answers as its OpenAPI description says, and never with an error of its own."""

from __future__ import annotations

from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from persons import person
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from served import client_of

from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

_CHECKS: Final = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
_EXAMPLES: Final = {"admin": 6, "visitor": 3}  # of each operation; most are refused to a visitor at once
# What would end the token that is used.
_LEFT_OUT: Final = {"POST /logout"}


@schemathesis.serializer("application/x-tar", "application/offset+octet-stream")
def raw(_: Any, value: Any) -> dict[str, Any]:
    """Send bytes as they are."""
    return {"data": value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("who", list(_EXAMPLES))
def test_every_answer_is_one_that_is_described(site: SmallSite, who: str) -> None:
    dataset, open_dataset = site.archive_folder({"a": b"a", "sub/b": b"b"}), site.open_dataset()
    site.drain()
    person(site, "marie")
    with client_of(site) as api:
        link = api.post(f"{PREFIX}/datasets/{dataset}/links", json={}).json()
        tapes = [tape["serial"] for tape in api.get(f"{PREFIX}/tapes").json()["items"]]
        known = {
            "dataset": [dataset, open_dataset], "name": ["marie"], "link": [link["id"]], "secret": [link["secret"]],
            "serial": tapes, "request": [site.ask(dataset)], "path": ["a", "sub"],
        }  # fmt: skip
        headers = dict(api.headers) if who == "admin" else {}
        token = {key: value for key, value in headers.items() if key.lower() == "authorization"}
        schema = schemathesis.openapi.from_dict(api.get(f"{PREFIX}/openapi.json").json())
        failures = [
            text
            for found in schema.get_all_operations()
            for text in _tried(found.ok(), api, token, known, _EXAMPLES[who])
        ]
    assert not failures, f"{len(failures)} operations:\n" + "\n\n".join(failures)


def _tried(
    operation: Any, api: httpx.Client, token: dict[str, str], known: dict[str, list[str]], examples: int
) -> list[str]:
    """Return what is wrong with an operation: at most one thing, the simplest that was found."""
    if operation.label.replace(PREFIX, "") in _LEFT_OUT:
        return []

    sent = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))
    real = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in known.items()})

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=sent, chosen=real, use=st.booleans())
    def tried(case: Any, chosen: dict[str, str], *, use: bool) -> None:
        for name in case.path_parameters or {}:
            if use and name in chosen:
                case.path_parameters[name] = chosen[name]
        case.headers.pop("Authorization", None)  # one that is made up would be refused each time
        case.call_and_validate(base_url=str(api.base_url).rstrip("/"), headers=token, checks=_CHECKS)

    try:
        tried()
    except (FailureGroup, Failure) as error:
        return [f"{operation.label}: {error}"]
    return []
