"""Room on the disks for what is about to be written: checked before hours of work, not after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikelab.spike_sorting.stages.checks import RESULTS_BYTES, Needs, check_disk

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains
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
    _require({context.intermediate: scratch, context.results: RESULTS_BYTES})


def require_waveform_room(context: Context, trains: SpikeTrains, binary: BinaryRecording) -> None:
    """Check that the files of single waveforms fit: only the sorted spikes tell how large they get.

    Raises
    ------
    DiskExhaustionError
        If there is too little room. The sorting is on disk by then and is not done again.
    """
    from spikelab.spike_sorting.waveforms.windows import Window

    config = context.config.waveform
    if not config.save_waveform_files:
        return
    window = Window.from_ms(config.ms_before, config.ms_after, binary.sampling_frequency)
    n_waveforms = sum(min(len(spikes), config.max_waveforms_per_unit) for spikes in trains.samples)
    _require({context.waveforms_folder: 4 * n_waveforms * window.n_samples * binary.n_channels})


def _require(folders: dict[Path, int]) -> None:
    for finding in check_disk(Needs(folders=folders)):
        if finding.failure is not None:
            raise finding.failure
