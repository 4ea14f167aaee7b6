"""From spike trains to templates and metrics: find main channels, align, average, measure."""

from __future__ import annotations

import logging
import math
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.data import FloatArray, SpikeTrains, TraceSource, Waveforms
from spikelab.spike_sorting.data.epochs import MOST_MEASURED_EPOCHS, measured_epochs
from spikelab.spike_sorting.data.traces import scale_uv
from spikelab.spike_sorting.waveforms.alignment import AlignedSpikes, MainChannels, Spikes
from spikelab.spike_sorting.waveforms.chunks import CHUNK_BYTES, Chunk, UnitPool, iterate_chunks
from spikelab.spike_sorting.waveforms.metrics import peaks, polarity_and_channel, signal_to_noise, std_norms
from spikelab.spike_sorting.waveforms.noise import epoch_noise_levels, noise_levels, tally_bytes
from spikelab.spike_sorting.waveforms.significance import significances
from spikelab.spike_sorting.waveforms.templates import Accumulator, Averages, Workspace, running_sums
from spikelab.spike_sorting.waveforms.windows import FolderSink, MemorySink, Window, cut_windows, draw, fitting
from spikelab.system.memory import parse_memory
from spikelab.system.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.settings.schema import WaveformConfig

logger = logging.getLogger(__name__)

ESTIMATE_SPIKES = 100
FINDING_CHANNELS = 0.3  # of the time of both passes through the recording
MAX_BLOCK_BYTES = 128 * 2**20
SPIKE_BYTES = 150  # of a spike, in all arrays that hold one number per spike
COPIES_IN_FILES = 2  # of the templates, while the files are written
_ESTIMATE, _AVERAGE = 0, 1  # purpose of a unit's random numbers, part of their seed


def compute_waveforms(
    source: TraceSource,
    trains: SpikeTrains,
    config: WaveformConfig,
    *,
    seed: int,
    n_jobs: int,
    total_memory: str | int,
    waveforms_folder: Path | None = None,
    keep: dict[int, FloatArray] | None = None,
) -> Waveforms:
    """Align every spike and measure every unit.

    The recording is read in time order, chunk by chunk; memory holds one chunk, the results and, in what is left of
    `total_memory`, the running sums of as many units as fit, at least one. The result depends on the recording, the
    spikes, `config` and `seed` alone: units do not interact, and workers, memory and chunks change no bit of it.

    A unit without a spike whose window fits into its epoch has a template of zeros, SNR 0, std_norm infinity, main
    channel 0, and its spikes stay where they were. Spikes outside the recording are left out, with a warning.

    Parameters
    ----------
    source : TraceSource
        A ``BinaryRecording`` (read as int16) or any other source of microvolts.
    trains : SpikeTrains
        From the sorter.
    config : WaveformConfig
    seed : int
        For the choice of spikes and of the segments that noise is measured on.
    n_jobs : int
        Threads.
    total_memory : str or int
        Bytes, or a text such as "16G".
    waveforms_folder : Path, optional
        Where ``waveforms_{unit}.npy``, (n, samples, channels) float32 microvolts, are written; None writes none.
    keep : dict, optional
        Is filled with the averaged windows, unit id -> (n, samples, channels) float32 microvolts.

    Raises
    ------
    InsufficientActivityError
        There are no units.
    """
    require_units(trains)
    _say_what_is_not_measured(len(source.epochs))
    window = Window.from_ms(config.ms_before, config.ms_after, source.sampling_frequency)
    block_bytes = _running_sums_bytes(source, trains.n_units, window, parse_memory(total_memory))
    memory = running_sums(source, trains.n_units, window, block_bytes)
    trains = _inside(trains, source.n_samples)
    ids = trains.unit_ids.tolist()
    with UnitPool(n_jobs) as pool, ExitStack() as stack:
        work = Workspace(source, window, pool, memory)
        progress = Progress("waveforms", 1.0)
        with progress.step("finding main channels", FINDING_CHANNELS):
            main = find_main_channels(work, trains, config, seed)
        spikes = AlignedSpikes(source, trains.samples, main)
        picked = [
            draw(own, config.max_waveforms_per_unit, seed, unit, _AVERAGE)
            for unit, own in zip(ids, spikes.fitting(window), strict=True)
        ]
        shapes = {unit: (len(own), window.n_samples, source.n_channels) for unit, own in zip(ids, picked, strict=True)}
        sinks: list[FolderSink | MemorySink] = []
        if waveforms_folder is not None:
            sinks.append(stack.enter_context(FolderSink.into(Path(waveforms_folder), shapes)))
        if keep is not None:
            _warn_if_large(shapes, parse_memory(total_memory))
            sinks.append(MemorySink(shapes, keep))
        with progress.step("averaging waveforms", 1.0 - FINDING_CHANNELS):
            averages = average_windows(work, spikes, picked, main.channels, sinks)
    aligned = replace(trains, samples=tuple(spikes.trains))
    return measure(source, aligned, main, averages, config, n_before=window.n_before, seed=seed, n_jobs=n_jobs)


def require_units(trains: SpikeTrains, sorter: str = "") -> None:
    """Raise InsufficientActivityError, which names the `sorter`, for a sorting without units."""
    if trains.n_units == 0:
        raise InsufficientActivityError(
            "The sorting has no units, so there are no waveforms to extract. Look at the recording first (gain, dtype, "
            "filter, a silent culture), then at the sorter's detection threshold.",
            sorter=sorter,
        )


def find_main_channels(work: Workspace, trains: SpikeTrains, config: WaveformConfig, seed: int) -> MainChannels:
    """Estimate main channel and polarity of each unit from a template of at most 100 randomly drawn spikes."""
    source, window = work.source, work.window
    few = [
        draw(fitting(train, source, window), ESTIMATE_SPIKES, seed, unit, _ESTIMATE)
        for unit, train in zip(trains.unit_ids.tolist(), trains.samples, strict=True)
    ]
    spikes = Spikes(few)
    every = np.arange(len(spikes.frames))
    main = MainChannels(
        channels=np.zeros(trains.n_units, dtype=np.int64),
        positive=np.zeros(trains.n_units, dtype=np.bool_),
        known=np.array([len(train) > 0 for train in few]),
    )

    channels_of = _channels_of_units(source, trains)

    def add(block: Accumulator, chunk: Chunk, rows: slice) -> None:
        block.add(chunk.of(rows), spikes.frames, every, window.n_before)

    def estimate(block: Accumulator, rows: slice) -> None:
        for row in range(rows.start, rows.stop):
            if block.counts[row]:
                unit, template = block.units.start + row, block.sums[row] * (scale_uv(source) / int(block.counts[row]))
                own = channels_of[unit]
                main.positive[unit], channel = polarity_and_channel(template[:, own], config.pos_peak_thresh)
                main.channels[unit] = own[channel]

    for block in work.accumulators(trains.n_units, squares=False, by_epoch=False):
        for chunk in iterate_chunks(source, spikes, block.units, window, "finding main channels"):
            work.pool.run(block.n_units, partial(add, block, chunk), chunk.n_spikes)
        work.pool.run(block.n_units, partial(estimate, block))
    return main


def _channels_of_units(source: TraceSource, trains: SpikeTrains) -> list[IntArray]:
    """Return the channels that each unit was found on: those of its group, or all."""
    groups = getattr(source, "groups", None)
    if trains.groups is None or groups is None:
        return [np.arange(source.n_channels)] * trains.n_units
    of_group = {group: np.flatnonzero(groups == group) for group in np.unique(groups).tolist()}
    return [of_group[group] for group in trains.groups.tolist()]


def average_windows(
    work: Workspace,
    spikes: Spikes,
    picked: Sequence[IntArray],
    channels: IntArray,
    sinks: Sequence[FolderSink | MemorySink] = (),
) -> Averages:
    """Align `spikes` and average the windows of those that are `picked`, over all and epoch by epoch.

    Each block of units that fits into the memory of `work` is one pass through the recording. `picked` are ascending
    indices into each unit's train; once aligned, the whole window of each lies in one epoch. `channels` are the main
    channels; `sinks` receive the windows themselves.
    """
    source, window, scale = work.source, work.window, scale_uv(work.source)
    averages, averaged = Averages.empty(source, len(picked), window), spikes.indices(picked)
    by_epoch = averages.epoch_templates is not None

    def align_and_add(block: Accumulator, chunk: Chunk, rows: slice) -> None:
        part = chunk.of(rows)
        spikes.align(part)
        part = part.among(averaged)
        block.add(part, spikes.frames, averaged, window.n_before)
        for unit, windows in cut_windows(part, spikes.frames, averaged, window, scale) if sinks else ():
            for sink in sinks:
                sink.add(unit, windows)

    for block in work.accumulators(len(picked), squares=True, by_epoch=by_epoch):
        chunks = iterate_chunks(source, spikes, block.units, window, "averaging waveforms")
        for epoch, chunks_of_epoch in groupby(chunks, attrgetter("epoch")):
            before = block.snapshot(channels) if by_epoch else None
            for chunk in chunks_of_epoch:
                work.pool.run(block.n_units, partial(align_and_add, block, chunk), chunk.n_spikes)
            if before is not None:
                averages.fill_epoch(epoch, block, before, scale)
        work.pool.run(block.n_units, partial(averages.fill, block, scale))
    return averages


def averaged_spikes(
    spikes: IntArray, unit_id: int, source: TraceSource, window: Window, limit: int, seed: int
) -> IntArray:
    """Draw the aligned spikes of a unit that are averaged, of those whose window fits, ascending."""
    return draw(fitting(spikes, source, window), limit, seed, unit_id, _AVERAGE)


def measure(
    source: TraceSource,
    trains: SpikeTrains,
    main: MainChannels,
    averages: Averages,
    config: WaveformConfig,
    *,
    n_before: int,
    seed: int,
    n_jobs: int,
) -> Waveforms:
    """Derive the metrics of every unit, with aligned `trains`, from template, std and noise, also epoch by epoch."""
    noise, epoch_noise = noise_levels(source, seed, n_jobs=n_jobs), epoch_noise_levels(source, seed, n_jobs=n_jobs)
    shape = (trains.n_units, source.n_channels)
    amplitudes, ratios = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    peak_inds = np.zeros(shape, dtype=np.int64)
    spread = None
    if not config.std_at_peak:
        window_ms = config.std_over_window_ms_before, config.std_over_window_ms_after
        spread = Window.from_ms(*window_ms, source.sampling_frequency)

    def measure_units(part: slice) -> None:
        for unit in range(part.start, part.stop):
            amplitudes[unit], peak_inds[unit] = peaks(averages.templates[unit])
            ratios[unit] = std_norms(averages.stds[unit], amplitudes[unit], peak_inds[unit], spread)

    with UnitPool(n_jobs) as pool:
        pool.run(shape[0], measure_units)
    rows = np.arange(shape[0])
    epoch_snr, epoch_std_norm = _epoch_metrics(averages, main.channels, epoch_noise, spread)
    return Waveforms(
        unit_ids=trains.unit_ids,
        spikes=trains.samples,
        n_before=n_before,
        templates=averages.templates,
        template_stds=averages.stds,
        main_channels=main.channels,
        has_pos_peak=main.positive,
        amplitudes=amplitudes,
        peak_inds=peak_inds,
        std_norms_all=ratios,
        noise=noise,
        snr=signal_to_noise(amplitudes[rows, main.channels], noise[main.channels]),
        std_norm=ratios[rows, main.channels],
        n_averaged=averages.counts,
        significance=significances(
            source, trains.samples, amplitudes, noise, unit_ids=trains.unit_ids, seed=seed, n_jobs=n_jobs
        ),
        epoch_templates=averages.epoch_templates,
        epoch_snr=epoch_snr,
        epoch_std_norm=epoch_std_norm,
    )


def _epoch_metrics(
    averages: Averages, channels: IntArray, noise: FloatArray | None, spread: Window | None
) -> tuple[FloatArray | None, FloatArray | None]:
    """Measure SNR and std_norm on each unit's main channel, both of shape (epochs, units); None with one epoch."""
    if averages.epoch_templates is None or averages.epoch_stds is None or noise is None:
        return None, None
    snr, ratios = np.zeros((2, len(noise), len(channels)), dtype=np.float32)
    for epoch, (templates, stds) in enumerate(zip(averages.epoch_templates, averages.epoch_stds, strict=True)):
        # The units' main channels lie side by side, like channels of one unit. A unit without a spike has zeros here,
        # and so SNR 0 and std_norm infinity.
        main = np.nan_to_num(templates[np.arange(len(channels)), :, channels].T)
        amplitudes, peak_inds = peaks(main)
        snr[epoch] = signal_to_noise(amplitudes, noise[epoch, channels])
        ratios[epoch] = std_norms(stds.T, amplitudes, peak_inds, spread)
    return snr, ratios


def least_bytes(
    spike_counts: Sequence[int], n_channels: int, sampling_frequency: float, config: WaveformConfig, n_epochs: int = 1
) -> int:
    """Return the bytes that units with these spike counts take, from their waveforms to the files of the results."""
    window = Window.from_ms(config.ms_before, config.ms_after, sampling_frequency)
    unit_bytes = 4 * window.n_samples * n_channels
    n_epoch_templates = measured_epochs(n_epochs)
    results = len(spike_counts) * unit_bytes * (2 + n_epoch_templates) + SPIKE_BYTES * sum(spike_counts)
    if not config.streaming:
        results += unit_bytes * sum(min(count, config.max_waveforms_per_unit) for count in spike_counts)
    sums = 2 * unit_bytes * (3 if n_epoch_templates else 2)
    files = COPIES_IN_FILES * len(spike_counts) * unit_bytes
    return results + max(sums + tally_bytes(n_channels), files)


def _running_sums_bytes(source: TraceSource, n_units: int, window: Window, total_memory: int) -> int:
    """Return what one chunk and the results leave of `total_memory`, at most `MAX_BLOCK_BYTES`."""
    n_epoch_templates = measured_epochs(len(source.epochs))
    results = 4 * n_units * window.n_samples * source.n_channels * (2 + n_epoch_templates)
    return min(MAX_BLOCK_BYTES, max(0, total_memory - results - CHUNK_BYTES))


def _say_what_is_not_measured(n_epochs: int) -> None:
    if n_epochs > MOST_MEASURED_EPOCHS:
        logger.warning(
            "the recording has %d epochs: templates, SNR and std_norm of single epochs are measured, and folders "
            "chunk0, chunk1, ... written, for at most %d. All epochs have those of the whole recording",
            n_epochs,
            MOST_MEASURED_EPOCHS,
        )


def _warn_if_large(shapes: Mapping[int, tuple[int, int, int]], allowed: int) -> None:
    needed = 4 * sum(math.prod(shape) for shape in shapes.values())
    if needed > allowed:
        logger.warning(
            "The waveforms take %.1f GB in memory, total_memory is %.1f GB: streaming=True holds none of them",
            needed / 1e9,
            allowed / 1e9,
        )


def _inside(trains: SpikeTrains, n_samples: int) -> SpikeTrains:
    """Leave out the spikes outside the recording, which some sorters report."""
    inside = trains.inside(n_samples)
    lost = sum(map(len, trains.samples)) - sum(map(len, inside.samples))
    if lost:
        logger.warning("%d spikes lie outside the %d frames of the recording and were left out", lost, n_samples)
    return inside
