"""Requirements of a sort: a machine that can run it, and memory and room once sizes are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikelab.spike_sorting._exceptions import HostOutOfMemoryError
from spikelab.spike_sorting.stages.checks import RESULTS_BYTES, Needs, check_disk, require
from spikelab.spike_sorting.waveforms.quality import require_pandas
from spikelab.system.memory import format_memory, parse_memory, too_little

if TYPE_CHECKING:
    from spikelab.spike_sorting.backends.base import SorterBackend
    from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains
    from spikelab.spike_sorting.stages.context import Context


def require_machine(context: Context) -> None:
    """Check the machine if the sorter will run; the failure of what is missing is raised."""
    if context.sorts:
        folders = {context.results: RESULTS_BYTES, context.intermediate: 0}
        require(Needs(context.backend, folders, context.backend.libraries_bytes))
        if context.config.waveform.si_quality_metrics:
            require_pandas()


def least_memory(
    backend: SorterBackend,
    n_samples: int,
    n_channels: int,
    sampling_frequency: float,
    *,
    n_epochs: int = 1,
    spike_counts: tuple[int, ...] | None = None,
) -> int:
    """Compute the smallest ``total_memory`` that a sort of a recording can keep, in bytes.

    Without `spike_counts`, the spikes of each unit, the sorter is still to run, and its units are taken for one spike.
    """
    from spikelab.spike_sorting.recording.binary import least_bytes as recording_bytes
    from spikelab.spike_sorting.waveforms.engine import least_bytes as waveform_bytes

    works = [recording_bytes(n_samples, n_channels, sampling_frequency)]
    if spike_counts is None:
        works.append(backend.least_bytes(n_samples, n_channels, sampling_frequency))
    counts = (1,) if spike_counts is None else spike_counts
    works.append(waveform_bytes(counts, n_channels, sampling_frequency, backend.config.waveform, n_epochs))
    return backend.libraries_bytes + max(works)


def require_memory(context: Context, n_samples: int, n_channels: int, sampling_frequency: float, n_epochs: int) -> None:
    """Check ``total_memory`` before anything is filtered.

    ValueError if it is less than the least that the recording takes; HostOutOfMemoryError if the machine has less.
    """
    least = least_memory(
        context.backend, n_samples, n_channels, sampling_frequency, n_epochs=n_epochs,
        spike_counts=None if context.sorts else (),
    )  # fmt: skip
    _require_memory(context, least, f"{n_channels} channels with {context.backend.sorter_label}", "")


def require_waveform_memory(context: Context, trains: SpikeTrains, binary: BinaryRecording) -> None:
    """Check ``total_memory`` once the units are known; the sorting is on disk by then, and is not done again."""
    counts = tuple(map(len, trains.samples))
    size = (binary.n_samples, binary.n_channels, binary.sampling_frequency)
    least = least_memory(context.backend, *size, n_epochs=len(binary.epochs), spike_counts=counts)
    what = f"the waveforms of {trains.n_units} units on {binary.n_channels} channels"
    _require_memory(context, least, what, "; what was sorted is kept, and the same call goes on from there")


def _require_memory(context: Context, least: int, what: str, kept: str) -> None:
    allowed = parse_memory(context.config.execution.total_memory)
    wanted = max(context.wanted_memory, allowed)
    if wanted < least:
        raise ValueError(too_little(wanted, least, what) + kept)
    if allowed < least:
        raise HostOutOfMemoryError(
            f"There is too little memory: {what} take at least {format_memory(least)}, and of what this machine has "
            f"available a sort uses {format_memory(allowed)}. Check first what other processes use, and which limit "
            f"the job or container has{kept}.",
            sorter=context.backend.sorter_label,
        )


def require_room(context: Context, n_samples: int, n_channels: int, *, with_traces: bool) -> None:
    """Check that both folders have room for a sort, `with_traces` for the binary recording too."""
    scratch = 2 * n_samples * n_channels if with_traces else 0
    if context.sorts:
        scratch += context.backend.scratch_bytes(n_samples, n_channels)
    require(Needs(folders={context.intermediate: scratch, context.results: RESULTS_BYTES}), (check_disk,))


def require_waveform_room(context: Context, trains: SpikeTrains, binary: BinaryRecording) -> None:
    """Check room for the files of single waveforms once the spikes are known; the sorting is on disk by then."""
    from spikelab.spike_sorting.waveforms.windows import Window

    config = context.config.waveform
    if not config.save_waveform_files:
        return
    window = Window.from_ms(config.ms_before, config.ms_after, binary.sampling_frequency)
    n_waveforms = sum(min(len(spikes), config.max_waveforms_per_unit) for spikes in trains.samples)
    n_bytes = 4 * n_waveforms * window.n_samples * binary.n_channels
    require(Needs(folders={context.waveforms_folder: n_bytes}), (check_disk,))
