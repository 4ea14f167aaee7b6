"""What the command line's exit code says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE, OTHER, USAGE, BAD_INPUT, BIOLOGY, ENVIRONMENT, RESOURCE, INTERRUPTED = 0, 1, 2, 3, 10, 11, 12, 130
# Of several failures the gravest decides; gravest first.
GRAVITY = (ENVIRONMENT, RESOURCE, OTHER, BAD_INPUT, BIOLOGY)


def code_for(error: BaseException) -> int:
    """Exit code of one failure, or the gravest of a batch."""
    from spikelab.spike_sorting._exceptions import (
        BiologicalSortFailure,
        EnvironmentSortFailure,
        ResourceSortFailure,
        SortBatchError,
    )

    if isinstance(error, SortBatchError):
        return gravest([code_for(single) for single in error.exceptions])
    for kind, code in (
        (BiologicalSortFailure, BIOLOGY),
        (EnvironmentSortFailure, ENVIRONMENT),
        (ResourceSortFailure, RESOURCE),
        (ValueError, BAD_INPUT),
        (FileNotFoundError, BAD_INPUT),
        (PermissionError, BAD_INPUT),
        (FileExistsError, BAD_INPUT),
    ):
        if isinstance(error, kind):
            return code
    return OTHER


def gravest(codes: Sequence[int]) -> int:
    """The gravest of several exit codes; 0 of none."""
    return min(codes, key=GRAVITY.index, default=DONE)


def message_for(error: BaseException) -> str:
    """Our own errors speak for themselves; of others the class is part of the message."""
    from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError
    from spikelab.system.quoting import printable_lines

    if isinstance(error, SpikeSortingClassifiedError | ValueError | TypeError | FileNotFoundError | FileExistsError):
        return printable_lines(str(error))
    return printable_lines(f"{type(error).__name__}: {error}")
