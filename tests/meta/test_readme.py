# SPDX-License-Identifier: Apache-2.0
"""What the pages tell people to type exists, and every link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from holdfast.cli.main import commands

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/**/*.md"))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code(text: str) -> Iterator[str]:
    """Yield indented lines and what stands in backticks: what people type."""
    for line in text.splitlines():
        if line.startswith("    "):
            yield line.strip()
        else:
            yield from re.findall(r"`([^`]+)`", line)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        match[1] for text in code(page.read_text(encoding="utf-8")) if (match := re.match(r"make ([a-z]+)\b", text))
    }
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_their_options_exist(page: Path) -> None:
    context = click.Context(commands)
    unknown = []
    for text in code(page.read_text(encoding="utf-8")):
        for command, rest in re.findall(r"(?:^|bin/|\$ |; |do |\()holdfast ([a-z]+)\b([^;|)#]*)", text):
            found, words = commands.get_command(context, command), iter(rest.split())
            while isinstance(found, click.Group):
                found = found.get_command(context, next(words))
            if found is None:
                unknown.append(f"{command}: no such command")
                continue
            known = {option for item in found.params for option in item.opts}
            unknown += [
                f"{command} {option}" for option in re.findall(r"--[a-z]+(?:-[a-z]+)*", rest) if option not in known
            ]
    assert unknown == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in LINK.findall(index)}
    assert [
        name(page) for page in sorted(ROOT.glob("docs/**/*.md")) if page not in linked | {ROOT / "docs/README.md"}
    ] == []


def test_every_program_of_bench_says_what_it_claims() -> None:
    page = (ROOT / "docs/explanation/performance.md").read_text(encoding="utf-8")
    assert [p.name for p in sorted(ROOT.glob("bench/*.py")) if f"bench/{p.name}" not in page] == []


def test_no_page_names_what_is_not_in_the_project() -> None:
    assert [name(page) for page in PAGES if "../shared" in page.read_text(encoding="utf-8")] == []
