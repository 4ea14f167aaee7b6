"""Room on the disks for what is about to be written: checked before hours of work, not after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikelab.spike_sorting._checks import RESULTS_BYTES, Needs, check_disk

if TYPE_CHECKING:
    from spikelab.spike_sorting.stages.context import Context


def require_room(context: Context, n_samples: int, n_channels: int, *, traces: bool) -> None:
    """Check both folders.

    Parameters
    ----------
    context : Context
    n_samples, n_channels : int
        Size of the recording.
    traces : bool
        Whether the binary recording is still to be written.

    Raises
    ------
    DiskExhaustionError
        If there is too little room; says where, how much is needed and how much there is.
    """
    scratch = 2 * n_samples * n_channels if traces else 0
    if context.sorts:
        scratch += context.backend.scratch_bytes(n_samples, n_channels)
    for finding in check_disk(Needs(folders={context.intermediate: scratch, context.results: RESULTS_BYTES})):
        if finding.failure is not None:
            raise finding.failure
