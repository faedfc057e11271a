# SPDX-License-Identifier: Apache-2.0
"""Make the reference pages that are generated from the code; with `--check`, tell which are not current."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import docs_cli
import docs_errors
import docs_rest
import docs_rights
import docs_settings

_REFERENCE: Final = Path(__file__).parents[1] / "docs" / "reference"


def pages() -> dict[str, str]:
    """Return the text of each generated page by its name below `docs/reference`."""
    return {
        "cli.md": docs_cli.page(),
        "errors.md": docs_errors.page(),
        "rest.md": docs_rest.page(),
        "rights.md": docs_rights.page(),
        "settings.md": docs_settings.page(),
    }


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them."""
    made = pages()
    stale = [name for name, text in made.items() if _read(_REFERENCE / name) != text]
    if "--check" in arguments:
        for name in stale:
            print(f"docs/reference/{name} is not current: run make docs")
        return 1 if stale else 0
    _REFERENCE.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (_REFERENCE / name).write_text(made[name], encoding="utf-8")
    return 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
