# SPDX-License-Identifier: Apache-2.0
"""The reference pages and the design document name all that the code has, and nothing else."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from holdfast.catalog.jobs import QUEUES
from holdfast.cli.main import commands
from holdfast.crashpoint import CRASH_POINTS
from holdfast.errors import HoldfastError
from holdfast.model.lifecycle import MOVES
from holdfast.model.profile import terms
from holdfast.settings import known_keys
from holdfast.workers.worker import HANDLERS

ROOT = Path(__file__).parents[2]
DESIGN = (ROOT / "docs/explanation/design.md").read_text(encoding="utf-8")
NOT_IN_BODY = {"dataset", "person"}
# f"request.{state}": how a request ends; f"tape.{to}": how an operator takes a tape out
ENDINGS = {
    "request.{}": {"request.delivered", "request.failed"},
    "tape.{}": {"tape.disabled", "tape.exported"},
}


def page(name: str) -> str:
    return (ROOT / "docs/reference" / name).read_text(encoding="utf-8")


def tree(top: type[HoldfastError] = HoldfastError) -> Iterator[type[HoldfastError]]:
    yield top
    for below in top.__subclasses__():
        yield from tree(below)


def added_events() -> Iterator[tuple[str, set[str], bool]]:
    """Yield (kind, keys of the body, whether a mapping follows) of each call of events.add."""
    for path in sorted((ROOT / "src/holdfast").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "events.add"):
                continue
            named = {item.arg for item in node.keywords if item.arg} - NOT_IN_BODY
            rest = any(item.arg is None for item in node.keywords)
            kind = node.args[2]
            if isinstance(kind, ast.Constant):
                yield str(kind.value), named, rest
            else:
                pattern = re.sub(r"\{[^}]*\}", "{}", ast.unparse(kind).removeprefix("f").strip("'\""))
                for known in ENDINGS[pattern]:
                    yield known, named, rest


def documented_events() -> dict[str, tuple[set[str], bool]]:
    rows = re.findall(r"^\| `([a-z]+\.[a-z-]+)` \| ([^|]*) \|", page("events.md"), re.MULTILINE)
    return {kind: (set(re.findall(r"`([a-z_0-9]+)`", keys)), "*problem*" in keys) for kind, keys in rows}


def test_the_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_setting_is_on_its_page() -> None:
    assert [key for key in known_keys() if f"`{key}`" not in page("settings.md")] == []


def test_every_command_is_on_its_page() -> None:
    heads = re.findall(r"^## holdfast ([a-z]+)$", page("cli.md"), re.MULTILINE)
    assert sorted(heads) == sorted(commands.list_commands(None))  # type: ignore[arg-type]


def test_every_error_is_on_its_page() -> None:
    assert [error.code for error in tree() if f"`{error.code}`" not in page("errors.md")] == []


def test_every_event_is_on_its_page_with_its_keys() -> None:
    known = documented_events()
    found: dict[str, tuple[set[str], bool]] = {}
    for kind, keys, rest in added_events():
        before, had_rest = found.get(kind, (set(), False))
        found[kind] = (before | keys, rest or had_rest)
    assert sorted(found) == sorted(known)
    for kind, (keys, rest) in found.items():
        documented, is_problem = known[kind]
        assert keys <= documented, kind
        assert rest or (keys, is_problem) == (documented, False), kind


def test_every_crash_point_is_in_the_crash_table() -> None:
    named = re.findall(r"^\| `([a-z]+\.[a-z]+)` \| .* \| .* \| .* \| .* \|$", DESIGN, re.MULTILINE)
    assert sorted(named) == sorted(CRASH_POINTS)


def test_the_diagrams_are_the_life_cycles() -> None:
    for thing, moves in MOVES.items():
        block = re.search(rf"### {thing}\n\n```mermaid\nstateDiagram-v2\n(.*?)```", DESIGN, re.DOTALL)
        assert block, thing
        drawn = {(a, b) for a, b in re.findall(r"(\w+) --> (\w+)", block[1])}
        assert drawn == {(state, target) for state, targets in moves.items() for target in targets}, thing


def test_every_kind_of_job_is_in_the_table_of_queues() -> None:
    assert set(HANDLERS) == set(QUEUES)
    table = dict(re.findall(r"^\| `(\w+)` \| (.*`.*) \|$", DESIGN, re.MULTILINE))
    assert [(kind, queue) for kind, queue in QUEUES.items() if f"`{kind}`" not in table.get(queue, "")] == []


def test_every_term_of_a_profile_is_on_its_page() -> None:
    page = (ROOT / "docs/how-to/offer-profiles.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| (.*) \|$", page, re.MULTILINE)
    assert rows == [(key, says) for key, (_, says) in terms().items()]


def test_every_promise_is_in_the_design_and_the_readme() -> None:
    for number in range(1, 12):
        assert f"| P{number} | **" in DESIGN
        assert f"| P{number} " in (ROOT / "README.md").read_text(encoding="utf-8")
