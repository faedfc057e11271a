# SPDX-License-Identifier: Apache-2.0
"""Priority, place and expected time as people meet them: by command and by REST."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from served import client_of

from holdfast.cli.main import commands
from holdfast.errors import Refused
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX
from holdfast.wire.requests import Request, RequestPage


def test_a_request_is_asked_with_a_priority_that_an_operator_changes(
    site: SmallSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    SimulatedLibrary.create(site.library, tapes=4, drives=2, speed=1.0)
    with client_of(site) as api:
        monkeypatch.setenv("HOLDFAST_URL", str(api.base_url).rstrip("/"))
        monkeypatch.setenv("HOLDFAST_TOKEN", site.archive.settings.token_file.read_text().strip())

        def run(*arguments: str, fails: type[Exception] | None = None) -> str:
            done = CliRunner().invoke(commands, list(arguments))
            assert isinstance(done.exception, fails) if fails else done.exit_code == 0, done.output
            return done.output

        to = str(site.destinations)
        asked = Request.model_validate_json(run("get", dataset, "--to", to, "--priority", "3", "--json"))
        assert (asked.priority, asked.place) == (3, "number 1 of 1 tapes that wait")
        assert "has priority -2. Tape" in run("admin", "request", "priority", asked.id, "--", "-2")
        run("get", dataset, "--to", to, "--priority", "11", fails=SystemExit)
        shown = run("requests", asked.id)
        assert "Expected at 2" in shown
        assert "is number 1 of 1 tapes that wait for one of 2 drives" in shown
        assert "number 1 of 1 tapes that wait" in run("requests")
        assert [event.body["was"] for event in site.events("request.prioritised")] == [3]
        route = f"{PREFIX}/requests/{asked.id}/priority"
        assert api.post(route, json={"priority": 99}).status_code == 422
        again = Request.model_validate(api.post(route, json={"priority": 7}).json())
        [listed] = RequestPage.model_validate(api.get(f"{PREFIX}/requests").json()).items
        assert (again.priority, listed.priority) == (7, 7)
        assert None not in (listed.expected, listed.earliest, listed.latest, listed.reason)
        run("cancel", asked.id)
        run("admin", "request", "priority", asked.id, "1", fails=Refused)
