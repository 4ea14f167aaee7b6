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

if TYPE_CHECKING:
    from collections.abc import Iterator


def finish(text: str, code: int) -> NoReturn:
    """End a command with the text that it made, and its exit code."""
    click.echo(text)
    sys.exit(code)


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
