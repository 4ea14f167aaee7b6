"""Report how a sorter's process failed: by its own account of an exception (``error.json``), or by exit code and log.

A crash or a kill leaves no account.
"""

from __future__ import annotations

import json
import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

KILLED = (-9, 137)  # exit codes: of a process, and of a shell or container that passes it on
SHOWN_LINES = 15
TAIL_BYTES = 4096


class SorterProcessError(RuntimeError):
    """Report that the sorter's process failed.

    Attributes
    ----------
    exit_code : int or None
        Negative: the signal that ended it.
    error_type : str or None
        Class of the exception in the child, where there was one.
    log_path : Path or None
        All output of the child.
    """

    def __init__(
        self, message: str, exit_code: int | None = None, error_type: str | None = None, log_path: Path | None = None
    ) -> None:
        super().__init__(message, exit_code, error_type, log_path)
        self.message, self.exit_code, self.error_type, self.log_path = message, exit_code, error_type, log_path

    def __str__(self) -> str:
        return self.message


def process_error(sorter: str, exit_code: int, error_path: Path, log_path: Path) -> SorterProcessError:
    """Describe a failed child from its own account, or else from its exit code and log."""
    if error_path.is_file():
        error = json.loads(error_path.read_text(encoding="utf-8"))
        logger.debug("%s", error["traceback"])
        message = f"{sorter} failed with {error['type']}: {error['message']}\nIts log is {log_path}"
        return SorterProcessError(message, exit_code, error["type"], log_path)
    end = "\n".join(tail(log_path).splitlines()[-SHOWN_LINES:])
    message = f"{sorter} {_reason(exit_code)}. Its log is {log_path} and ends with:\n{end}"
    return SorterProcessError(message, exit_code, None, log_path)


def _reason(exit_code: int) -> str:
    if exit_code in KILLED:
        return (
            f"was killed by SIGKILL (exit code {exit_code}); if nobody did that by hand, the operating system did "
            "because the host ran out of memory"
        )
    if exit_code < 0:
        try:
            name = signal.Signals(-exit_code).name
        except ValueError:
            name = f"signal {-exit_code}"
        return f"crashed with {name} (exit code {exit_code})"
    if exit_code == 0:
        return "ended without a result (exit code 0)"
    return f"ended with exit code {exit_code}"


def tail(log_path: Path) -> str:
    """Read the end of a log; "" where there is none."""
    try:
        with log_path.open("rb") as file:
            file.seek(max(0, log_path.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
