# SPDX-License-Identifier: Apache-2.0
"""Files and functions stay small enough to be read at once; whatever is larger is listed here, with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE_LINES = 400
FUNCTION_LINES = 60

LARGE_FILES: dict[str, str] = {}
LARGE_FUNCTIONS: dict[str, str] = {}


def sources() -> Iterator[Path]:
    for folder in ("src", "tests", "bench", "scripts"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def functions() -> Iterator[tuple[str, int]]:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield f"{path.relative_to(ROOT)}:{node.name}", node.end_lineno - node.lineno + 1


def test_files_are_short() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    large = {name for name, count in lines.items() if count > FILE_LINES}
    assert large == set(LARGE_FILES), {name: lines.get(name) for name in large ^ set(LARGE_FILES)}


def test_functions_are_short() -> None:
    large = {name for name, count in functions() if count > FUNCTION_LINES}
    assert large == set(LARGE_FUNCTIONS), large ^ set(LARGE_FUNCTIONS)


def test_every_file_names_its_licence() -> None:
    line = "# SPDX-License-Identifier: Apache-2.0"
    assert [str(path) for path in sources() if line not in path.read_text(encoding="utf-8").splitlines()[:2]] == []
