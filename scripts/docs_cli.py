# SPDX-License-Identifier: Apache-2.0
"""The page of all commands, from click; and the table of exit codes."""

from __future__ import annotations

import re
from typing import Any, Final

import click

from holdfast.cli.exits import EXITS, INTERRUPTED, PARTIAL, UNEXPECTED
from holdfast.cli.main import commands

_HEAD: Final = """\
# Commands

<!-- Made by `make docs` from src/holdfast/cli and src/holdfast/parts.py: change those. -->

`holdfast COMMAND --help` says the same. `make` installs the program as `.venv/bin/holdfast`.

Most commands talk to a running archive. It is where `HOLDFAST_URL` says, else where the file `url` of its data folder
(`--data`, or `HOLDFAST_DATA`) says. They show the token in `HOLDFAST_TOKEN`, else the one that `holdfast login` kept for this
address in `~/.config/holdfast/credentials`, else the administrator's, in the file `token` of the data folder, which no other host is shown. Paths given to
`archive` and `get` are paths on the server.

With `--json`, the last line of the output is one JSON object; errors are objects too, on standard output. Progress bars
are shown on a terminal only, on standard error.

## Exit codes

| code | when |
|---|---|
| 0 | done |
"""
_WHEN: Final = {
    "NotFound": "there is no such dataset, request, file or folder",
    "Conflict": "its state does not allow it; for example, files are added to a closed dataset",
    "UsageError": "the command line, a path or a setting is not acceptable",
    "NotAllowed": "you may not do that",
    "TransientError": "not possible now; it is, or can be, tried again",
    "IntegrityError": "bytes are not what they were, or a source changed or could not be read",
    "OperatorNeeded": "an operator has to do something",
}


def page() -> str:
    """Return the page as Markdown."""
    parts = [_HEAD, *_exit_rows(), "\n"]
    context = click.Context(commands, info_name="holdfast")
    parts.append(_sections(commands, context, "##"))
    return "".join(parts)


def _sections(group: click.Group, context: click.Context, mark: str) -> str:
    below = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    return "".join(_section(name, command, context, mark) for name, command in below if command)


def _exit_rows() -> list[str]:
    rows = {code: f"{_WHEN[family.__name__]} (`{family.code}`)" for family, code in EXITS}
    rows[UNEXPECTED] = "an unexpected error: a defect, or a server's answer that is not understood"
    rows[PARTIAL] = "some of what was asked for could not be done; the rest was"
    rows[INTERRUPTED] = "interrupted (Ctrl-C)"
    return [f"| {code} | {text} |\n" for code, text in sorted(rows.items())]


def _section(name: str, command: click.Command, parent: click.Context, mark: str) -> str:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    about = re.sub(r"[ \t]*\n[ \t]*", "\n", (command.help or "").strip())
    path = context.command_path
    text = f"{mark} {path}\n\n{about}\n\n"
    if isinstance(command, click.Group):
        return text + _sections(command, context, "###")
    text += f"    {path} {usage}\n\n| option | meaning |\n|---|---|\n"
    options = [item for item in command.get_params(context) if isinstance(item, click.Option) and item.name != "help"]
    return text + "".join(_row(item, context) for item in options) + "\n"


def _row(option: click.Option, context: click.Context) -> str:
    metavar = "" if option.is_flag else f" {option.make_metavar(context)}"
    notes = [part for part in ((option.help or "").strip(), *_notes(option)) if part]
    return f"| `{', '.join(option.opts)}{metavar}` | {' '.join(notes)} |\n".replace("  ", " ")


def _notes(option: click.Option) -> list[str]:
    default: Any = option.default
    notes = ["Required."] if option.required else []
    if isinstance(default, str | int) and not isinstance(default, bool) and option.show_default:
        notes.append(f"Default: `{default}`.")
    if option.multiple and "several" not in (option.help or ""):
        notes.append("May be given several times.")
    if option.envvar:
        notes.append(f"Variable: `{option.envvar}`.")
    return notes
