"""The log on the terminal, and the options that choose how much of it there is."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

LEVEL = "spikelab.level"  # of the log, in what a command keeps
Function = TypeVar("Function", bound="Callable[..., Any]")


def _log_option(*flags: str, level: int, about: str) -> Callable[[Function], Function]:
    def chosen(context: click.Context, _option: click.Parameter, given: bool) -> None:
        if given or context.parent is not None:  # before a command it is given, or the command chooses
            choose_log(context, level if given else None)

    return click.option(*flags, is_flag=True, expose_value=False, callback=chosen, help=about)


QUIET = _log_option("-q", "--quiet", level=logging.WARNING, about="Warnings and errors only.")
VERBOSE = _log_option(
    "-v",
    "--verbose",
    level=logging.DEBUG,
    about="Details too, with where each line comes from; of an error, the whole trace.",
)


def choose_log(context: click.Context, level: int | None) -> None:
    """Log to the terminal from `level`, which --quiet or --verbose ask for, or else from INFO."""
    chosen = context.meta.setdefault(LEVEL, logging.INFO) if level is None else level
    context.meta[LEVEL] = chosen
    log_to_terminal(chosen)


def log_to_terminal(level: int) -> None:
    """Write the log of the package as plain lines to stderr."""
    from spikelab.system.quoting import PrintableFormatter

    handler = logging.StreamHandler()
    place = "%(levelname)s %(name)s: " if level <= logging.DEBUG else "%(marked)s"
    handler.addFilter(_marked)
    handler.setFormatter(PrintableFormatter(f"%(asctime)s {place}%(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger("spikelab")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False
    if level <= logging.INFO:  # Python's warnings are in the log too
        warnings.simplefilter("ignore", UserWarning)
    else:
        warnings.showwarning = show_warning  # type: ignore[assignment]  # only the message is shown
    warnings.simplefilter("ignore", FutureWarning)  # libraries address developers with these


def _marked(record: logging.LogRecord) -> bool:
    """Mark what is a warning, so that it is not taken for what is done."""
    record.marked = "warning: " if record.levelno == logging.WARNING else ""
    return True


def show_warning(message: Warning | str, *_: object) -> None:
    """Show a warning without its place in the code."""
    click.echo(f"warning: {message}", err=True)
