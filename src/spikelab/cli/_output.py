"""What a command prints and returns: tables, messages of errors, exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikelab.system.quoting import printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE, OTHER, USAGE, BAD_INPUT, BIOLOGY, ENVIRONMENT, RESOURCE, INTERRUPTED = 0, 1, 2, 3, 10, 11, 12, 130
# The most severe of several failures decides; most severe first.
SEVERITY = (ENVIRONMENT, RESOURCE, OTHER, BAD_INPUT, BIOLOGY)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align the columns of the rows; the last column is not padded."""
    cells = [[printable(str(cell)) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def indented(lines: str) -> str:
    """Indent each of some lines."""
    return "\n".join(f"  {line}" for line in lines.splitlines())


def code_for(error: BaseException) -> int:
    """Return the exit code of a failure; of a batch, that of its most severe failure."""
    from spikelab.spike_sorting._exceptions import (
        BiologicalSortFailure,
        EnvironmentSortFailure,
        ResourceSortFailure,
        SortBatchError,
    )

    if isinstance(error, SortBatchError):
        return most_severe([code_for(single) for single in error.exceptions])
    for kind, code in (
        (BiologicalSortFailure, BIOLOGY),
        (EnvironmentSortFailure, ENVIRONMENT),
        (ResourceSortFailure, RESOURCE),
        ((ValueError, FileNotFoundError, PermissionError, FileExistsError), BAD_INPUT),
    ):
        if isinstance(error, kind):
            return code
    return OTHER


def most_severe(codes: Sequence[int]) -> int:
    """Return the most severe of several exit codes; 0 where there are none."""
    return min(codes, key=SEVERITY.index, default=DONE)


def message_for(error: BaseException) -> str:
    """Return the message of an error, with its class where the error is not one of this package or of bad input."""
    from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError

    if isinstance(error, SpikeSortingClassifiedError | ValueError | TypeError | FileNotFoundError | FileExistsError):
        return printable_lines(str(error))
    return printable_lines(f"{type(error).__name__}: {error}")
