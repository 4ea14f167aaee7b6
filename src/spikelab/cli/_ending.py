"""How a command ends: its text, or its error as one message, and an exit code."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

from spikelab.cli import _output
from spikelab.system.quoting import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


def finish(text: str, code: int) -> NoReturn:
    """End a command with the text that it made, and its exit code."""
    click.echo(text)
    sys.exit(code)


def one_by_one(folders: Sequence[Path], tell: Callable[[Path], str]) -> int:
    """Print what `tell` says of each folder as it comes; an error of one is told, and the others go on.

    Returns the exit code of the gravest error. The error of a single folder is raised.
    """
    failed: list[tuple[Path, Exception]] = []
    for folder in folders:
        try:
            click.echo(tell(folder))
        except Exception as error:
            if len(folders) == 1:
                raise
            failed.append((folder, error))
            click.echo(_reason(folder, error), err=True)
    if failed and len(folders) > 1:
        reasons = "\n".join(_reason(folder, error) for folder, error in failed)
        click.echo(f"error: {len(failed)} of {len(folders)} failed:\n{_output.indented(reasons)}", err=True)
    return _output.most_severe([_output.code_for(error) for _, error in failed])


def _reason(folder: Path, error: Exception) -> str:
    return f"{printable(str(folder))}: {_output.message_for(error)}"


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Turn what a command raises into one message and an exit code."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit):
        raise
    except KeyboardInterrupt as interrupt:
        click.echo("interrupted; the same command continues where it stopped", err=True)
        sys.exit(getattr(interrupt, "exit_code", _output.INTERRUPTED))
    except Exception as error:  # noqa: BLE001 - the last stop: every error becomes a message and a code
        click.echo(f"error: {_output.message_for(error)}", err=True)
        if logging.getLogger("spikelab").isEnabledFor(logging.DEBUG):
            click.echo("".join(traceback.format_exception(error)), err=True)
        sys.exit(_output.code_for(error))


class Terminated(KeyboardInterrupt):
    """Signal of a batch system, or of a closed terminal, that asks this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def end_in_order() -> None:
    """Treat SIGTERM and SIGHUP like Ctrl-C: the sorter is ended, and the folders are left in order."""

    def leave(number: int, _: object) -> None:
        raise Terminated(number)

    if threading.current_thread() is not threading.main_thread():  # signals can be handled in the main thread only
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP, which is kept
            signal.signal(number, leave)
