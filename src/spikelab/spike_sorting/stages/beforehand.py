"""What can be known before anything is done: whether the sorter will run, and whether this machine can run it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spikelab.spike_sorting.stages import checks, recording, sorting
from spikelab.spike_sorting.waveforms.quality import require_pandas

if TYPE_CHECKING:
    from spikelab.spike_sorting.stages.context import Context


def will_sort(context: Context) -> bool:
    """Whether the sorter will run, rather than its spikes, or a remembered failure, be loaded."""
    flags = ("recompute_recording", "recompute_sorting")
    if context.forced_by(*flags) is not None:
        return True
    recorded = context.store.look(recording.NAME, recording.recording_settings(context), {})
    if recorded is None:
        return True
    if recorded.failure is not None:
        return False
    inputs = {recording.NAME: recorded.run_id}
    return context.store.look(sorting.NAME, sorting.sorting_settings(context), inputs) is None


def looked_at(context: Context) -> Context:
    """Check the machine if the sorter will run; returns the context that knows whether it will.

    Raises
    ------
    SpikeSortingClassifiedError
        If something is missing that the sort cannot do without.
    """
    sorts = will_sort(context)
    if sorts:
        needs = checks.Needs(
            backend=context.backend,
            folders={context.results: checks.RESULTS_BYTES, context.intermediate: 0},
            memory_bytes=context.backend.libraries_bytes,
        )
        checks.require(needs)
        if context.config.waveform.si_quality_metrics:
            require_pandas()
    return replace(context, sorts=sorts)
