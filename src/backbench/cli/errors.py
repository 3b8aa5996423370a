"""What commands say when they cannot go on: one clear line, and the documented exit codes."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from backbench.core.cache import provide_home
from backbench.core.errors import BackbenchError
from backbench.core.formatting import printable

# What is wrong with a disk and not with this program.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

BAD_REQUEST, INCOMPLETE, INTERRUPTED = 2, 3, 130

# What is left when a command is stopped; the others leave nothing.
STOPPED = {
    "sweep_command": "what was finished is stored, the same command goes on from there",
    "fetch_command": "what was fetched stays, the same command goes on from there",
    "report_command": "the same command draws the page again",
}


def plainly(command: Callable[..., None]) -> Callable[..., None]:
    """Show errors that are meant for people as one line, and end with the documented exit codes."""

    @wraps(command)
    def wrapped(*args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        provide_home()
        os.environ["PYTHONSAFEPATH"] = "1"  # processes of ours take no module from the folder where the user is
        try:
            command(*args, **options)
        except BackbenchError as error:
            click.echo(f"backbench: {printable(str(error))}", err=True)
            sys.exit(BAD_REQUEST)
        except KeyboardInterrupt:
            click.echo(f"\nbackbench: stopped; {STOPPED.get(command.__name__, 'nothing was written')}", err=True)
            sys.stdout.flush()
            os._exit(INTERRUPTED)  # a download that is still running must not hold up the exit
        except BrokenPipeError:
            os._exit(1)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            what = printable(str(error.filename or "the disk"))
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            then = "make room and run the same command again" if full else "get the permission, or work on a copy"
            click.echo(f"backbench: cannot {_attempted(error)} {what} ({error.strerror}): {then}", err=True)
            sys.exit(BAD_REQUEST)

    return wrapped


def _attempted(error: OSError) -> str:
    """What failed, as far as an error and its file tell: both reading and writing may lack the permission."""
    if error.errno not in (errno.EACCES, errno.EPERM) or not error.filename:
        return "write to"
    path = Path(os.fsdecode(error.filename))
    if os.path.exists(path):  # and not Path.exists, which raises where a folder above is closed  # noqa: PTH110
        return "write to" if os.access(path, os.R_OK) else "read"
    return "write to" if os.access(path.parent, os.X_OK) else "open"


@contextmanager
def without_chatter() -> Iterator[None]:
    """What frameworks print below Python goes nowhere; what Python prints to stderr is still shown."""
    try:
        behind = sys.stderr.fileno()
    except (OSError, ValueError):  # somebody has put another stream there
        yield
        return
    shown, sys.stderr = sys.stderr, os.fdopen(os.dup(behind), "w", buffering=1, errors="backslashreplace")
    kept = os.dup(behind)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), behind)
    try:
        yield
    finally:
        os.dup2(kept, behind)
        os.close(kept)
        sys.stderr.close()
        sys.stderr = shown


class OneLine(click.Command):
    """A command whose usage errors are one line, as all others are."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run and exit with the documented codes."""
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help() if error.ctx else "")
            code = 0
        except click.ClickException as error:
            click.echo(f"backbench: {printable(error.format_message())} (--help lists the options)", err=True)
            code = BAD_REQUEST
        sys.exit(code or 0)


class OneLineGroup(OneLine, click.Group):
    """The same for the group of all commands."""

    command_class = OneLine
