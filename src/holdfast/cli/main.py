# SPDX-License-Identifier: Apache-2.0
"""`holdfast`: the commands, their common options, and how errors leave the program."""

from __future__ import annotations

import sys

import click

from holdfast import __version__
from holdfast.cli import get, look, make, site
from holdfast.cli.exits import INTERRUPTED, exit_code
from holdfast.cli.output import complain
from holdfast.errors import HoldfastError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="holdfast")
def commands() -> None:
    """Holdfast keeps scientific data: on two tapes, proven, and found again.

    Start an archive with `holdfast up`, then use the other commands in a second terminal.
    """


for command in (*site.COMMANDS, *make.COMMANDS, *get.COMMANDS, *look.COMMANDS):
    commands.add_command(command)


def main() -> None:
    """Run a command; errors become a sentence and an exit code."""
    try:
        commands(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as wish:
        sys.exit(wish.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except HoldfastError as error:
        complain(error, as_json="--json" in sys.argv[1:])
        sys.exit(exit_code(error))
