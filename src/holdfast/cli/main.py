# SPDX-License-Identifier: Apache-2.0
"""`holdfast`: the commands, their common options, and how errors leave the program."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Final, NoReturn

import click
from pydantic import ValidationError

from holdfast import __version__
from holdfast.cli.exits import INTERRUPTED, exit_code
from holdfast.cli.lazy import LazyGroup
from holdfast.cli.output import complain
from holdfast.errors import HoldfastError, InvalidInput, UsageError
from holdfast.wire.model import wrong

# Command -> its module, by name: this layer need not know the one above it, which starts the processes of a site.
_COMMANDS: Final = {
    "up": "holdfast.parts",
    "archive": "holdfast.cli.make",
    "create": "holdfast.cli.deposit",
    "add": "holdfast.cli.deposit",
    "fetch": "holdfast.cli.deposit",
    "remove": "holdfast.cli.deposit",
    "close": "holdfast.cli.deposit",
    "ls": "holdfast.cli.look",
    "show": "holdfast.cli.look",
    "find": "holdfast.cli.look",
    "search": "holdfast.cli.search",
    "meta": "holdfast.cli.search",
    "get": "holdfast.cli.get",
    "download": "holdfast.cli.download",
    "checksums": "holdfast.cli.download",
    "link": "holdfast.cli.links",
    "stage": "holdfast.cli.stage",
    "keep": "holdfast.cli.stage",
    "unstage": "holdfast.cli.stage",
    "requests": "holdfast.cli.get",
    "cancel": "holdfast.cli.get",
    "verify": "holdfast.cli.make",
    "release": "holdfast.cli.make",
    "who": "holdfast.cli.share",
    "share": "holdfast.cli.share",
    "unshare": "holdfast.cli.share",
    "give": "holdfast.cli.share",
    "delete": "holdfast.cli.deletion",
    "events": "holdfast.cli.look",
    "login": "holdfast.cli.people",
    "logout": "holdfast.cli.people",
    "whoami": "holdfast.cli.people",
    "password": "holdfast.cli.people",
    "apply": "holdfast.cli.people",
    "group": "holdfast.cli.groups",
    "token": "holdfast.cli.tokens",
    "status": "holdfast.cli.look",
    "inspect": "holdfast.cli.inspect",
    "config": "holdfast.cli.site",
    "migrate": "holdfast.cli.site",
    "rebuild": "holdfast.cli.site",
    "simulate": "holdfast.cli.simulate",
    "admin": "holdfast.cli.admin",
    "web": "holdfast.parts",
    "worker": "holdfast.parts",
    "planner": "holdfast.parts",
}


@click.group(
    cls=LazyGroup, modules=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="holdfast")
def commands() -> None:
    """Holdfast keeps scientific data: on two tapes, proven, and found again.

    Start an archive with `holdfast up`, then use the other commands in a second terminal.
    """


def main() -> None:
    """Run a command; errors become a sentence and an exit code."""
    try:
        # Click hands the code of an Exit back instead of leaving with it.
        sys.exit(commands(standalone_mode=False) or 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _leave()
    except click.ClickException as error:
        if _as_json():
            _end(UsageError(what=error.format_message()))
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except ValidationError as error:  # of what was asked for; of an answer, the client says so itself
        _end(InvalidInput(what=wrong(error)))
    except HoldfastError as error:
        _end(error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _end(InvalidInput(what=f"{where}{error.strerror or error}."))


def _as_json() -> bool:
    """Say whether a program listens, also to a command line that could not be read."""
    return "--json" in sys.argv[1:]


def _end(error: HoldfastError) -> NoReturn:
    with suppress(OSError):  # that nothing can be written may be what went wrong
        complain(error, as_json=_as_json())
    sys.exit(exit_code(error))


def _leave() -> NoReturn:
    """End at once: threads that are in the midst of a large file can be cut off anywhere, and are not waited for."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(INTERRUPTED)
