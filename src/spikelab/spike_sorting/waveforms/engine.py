"""From spike times to templates and metrics: look, centre, average, measure."""

from __future__ import annotations

import logging
import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.data import Epoch, FloatArray, IntArray, SpikeTrains, TraceSource, Waveforms
from spikelab.spike_sorting.data.traces import scale_uv
from spikelab.spike_sorting.waveforms.centring import Centring
from spikelab.spike_sorting.waveforms.chunks import CHUNK_BYTES, UnitPool
from spikelab.spike_sorting.waveforms.metrics import peaks, polarity_and_channel, signal_to_noise, std_norms
from spikelab.spike_sorting.waveforms.noise import epoch_noise_levels, noise_levels, tally_bytes
from spikelab.spike_sorting.waveforms.sinks import FolderSink, MemorySink
from spikelab.spike_sorting.waveforms.templates import (
    Averages,
    SumArray,
    Window,
    WindowSink,
    average_windows,
    draw,
    fitting,
    running_sums,
    unit_sums,
)
from spikelab.system.memory import parse_memory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.settings.schema import WaveformConfig

logger = logging.getLogger(__name__)

LOOK_SPIKES = 100
MAX_BLOCK_BYTES = 128 * 2**20
SPIKE_BYTES = 150  # of a spike, in all arrays that hold one number of each
COPIES_IN_FILES = 2  # of the templates, in what is about to be written
_LOOK, _AVERAGE = 0, 1  # what a unit's random numbers are for


@dataclass(frozen=True)
class CentredUnits:
    """Where and how each unit fires.

    Attributes
    ----------
    unit_ids : numpy.ndarray of int64, shape (units,)
    spikes : tuple of numpy.ndarray of int64
        Centred frames per unit.
    channels : numpy.ndarray of int64, shape (units,)
        Main channel.
    positive : numpy.ndarray of bool, shape (units,)
        Polarity of the peak.
    """

    unit_ids: IntArray
    spikes: tuple[IntArray, ...]
    channels: IntArray
    positive: NDArray[np.bool_]


def compute_waveforms(
    source: TraceSource,
    trains: SpikeTrains,
    config: WaveformConfig,
    *,
    seed: int,
    n_jobs: int,
    total_memory: str | int,
    waveforms_folder: Path | None = None,
    sorter: str = "",
    keep: dict[int, FloatArray] | None = None,
) -> Waveforms:
    """Centre every spike and measure every unit.

    The recording is read in time order, chunk by chunk; memory holds one chunk, the results and, in what is left of
    `total_memory`, the running sums of as many units as fit, at least one. The result depends on the recording, the
    spikes, `config` and `seed` alone: units do not interact, and workers, memory and chunks change no bit of it.

    A unit without a spike whose window fits into its epoch has a template of zeros, SNR 0, std_norm infinity, main
    channel 0, and its spikes stay where they were. Spikes outside the recording are left out, with a warning.

    Parameters
    ----------
    source : TraceSource
        A ``BinaryRecording`` (read as int16) or anything that reads microvolts.
    trains : SpikeTrains
        From the sorter.
    config : WaveformConfig
    seed : int
        For the choice of spikes and of the stretches that noise is measured on.
    n_jobs : int
        Threads.
    total_memory : str or int
        Bytes, or a text such as "16G".
    waveforms_folder : Path, optional
        Where ``waveforms_{unit}.npy``, (n, samples, channels) float32 microvolts, are written; None writes none.
    sorter : str
        Named in the error.
    keep : dict, optional
        Is filled with the averaged windows, unit id -> (n, samples, channels) float32 microvolts.

    Raises
    ------
    InsufficientActivityError
        There are no units.
    """
    if trains.n_units == 0:
        raise InsufficientActivityError(
            "The sorting has no units, so there are no waveforms to extract. Look at the recording first (gain, dtype, "
            "filter, a silent culture), then at the sorter's detection threshold.",
            sorter=sorter,
        )
    window = Window.from_ms(config.ms_before, config.ms_after, source.sampling_frequency)
    block_bytes = _running_sums_bytes(source, trains.n_units, window, parse_memory(total_memory))
    memory = running_sums(source, trains.n_units, window, block_bytes)
    trains = _inside(trains, source.n_samples)
    with UnitPool(n_jobs) as pool, ExitStack() as stack:
        channels, positive, known = find_main_channels(source, trains, window, config, seed, pool, memory)
        centring = Centring(source, trains.samples, channels, positive, known)
        fitting = zip(trains.unit_ids.tolist(), centring.fitting(window.n_before, window.n_after), strict=True)
        chosen = {unit: draw(fits, config.max_waveforms_per_unit, seed, unit, _AVERAGE) for unit, fits in fitting}
        shapes = {unit: (len(spikes), window.n_samples, source.n_channels) for unit, spikes in chosen.items()}
        sinks: list[FolderSink | MemorySink] = []
        if waveforms_folder is not None:
            sinks.append(stack.enter_context(FolderSink(Path(waveforms_folder), shapes)))
        if keep is not None:
            _warn_if_large(shapes, parse_memory(total_memory))
            sinks.append(MemorySink(shapes, keep))
        averages = average_windows(
            source,
            trains.samples,
            channels,
            window,
            pool,
            memory,
            picked=list(chosen.values()),
            centring=centring,
            sink=_fan_out(list(shapes), sinks),
        )
    return measure(
        CentredUnits(trains.unit_ids, centring.trains, channels, positive),
        averages,
        noise_levels(source, seed, n_jobs=n_jobs),
        epoch_noise_levels(source, seed, n_jobs=n_jobs),
        config,
        n_before=window.n_before,
        n_averaged=[len(spikes) for spikes in chosen.values()],
        sampling_frequency=source.sampling_frequency,
        n_jobs=n_jobs,
    )


def find_main_channels(
    source: TraceSource,
    trains: SpikeTrains,
    window: Window,
    config: WaveformConfig,
    seed: int,
    pool: UnitPool,
    memory: SumArray,
) -> tuple[IntArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """Look at a template of at most 100 seeded spikes of each unit.

    Returns
    -------
    channels : numpy.ndarray of int64, shape (units,)
        Main channel.
    positive : numpy.ndarray of bool, shape (units,)
        Polarity.
    known : numpy.ndarray of bool, shape (units,)
        False for a unit without a spike whose window fits, of which nothing is known.
    """
    few = [
        draw(fitting(spikes, source.epochs, window), LOOK_SPIKES, seed, unit, _LOOK)
        for unit, spikes in zip(trains.unit_ids.tolist(), trains.samples, strict=True)
    ]
    channels = np.zeros(trains.n_units, dtype=np.int64)
    positive = np.zeros(trains.n_units, dtype=np.bool_)
    label = "finding main channels"
    for block, sums, _ in unit_sums(source, few, window, pool, memory, label=label, squares=False):

        def look(rows: slice, first: int = block.start, sums: NDArray[np.float64] = sums) -> None:
            for unit, total in enumerate(sums[rows], first + rows.start):
                if len(few[unit]):
                    template = total * (scale_uv(source) / len(few[unit]))
                    positive[unit], channels[unit] = polarity_and_channel(template, config.pos_peak_thresh)

        pool.run(len(sums), look)
    return channels, positive, np.array([len(frames) > 0 for frames in few])


def averaged_spikes(
    spikes: IntArray, unit_id: int, epochs: Sequence[Epoch], window: Window, limit: int, seed: int
) -> IntArray:
    """Which of a unit's centred spikes are averaged: a seeded draw of those whose window fits, ascending."""
    return draw(fitting(spikes, epochs, window), limit, seed, unit_id, _AVERAGE)


def measure(
    units: CentredUnits,
    averages: Averages,
    noise: FloatArray,
    epoch_noise: FloatArray | None,
    config: WaveformConfig,
    *,
    n_before: int,
    n_averaged: Sequence[int],
    sampling_frequency: float,
    n_jobs: int,
) -> Waveforms:
    """Derive the metrics of every unit from its template, its std and the noise, over all and epoch by epoch."""
    shape = (len(units.unit_ids), len(noise))
    amplitudes, ratios = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    peak_inds = np.zeros(shape, dtype=np.int64)
    spread = Window.from_ms(config.std_over_window_ms_before, config.std_over_window_ms_after, sampling_frequency)

    def measure_units(part: slice) -> None:
        for unit in range(part.start, part.stop):
            amplitudes[unit], peak_inds[unit] = peaks(averages.templates[unit])
            ratios[unit] = std_norms(
                averages.stds[unit],
                amplitudes[unit],
                peak_inds[unit],
                at_peak=config.std_at_peak,
                n_before=spread.n_before,
                n_after=spread.n_after,
            )

    with UnitPool(n_jobs) as pool:
        pool.run(shape[0], measure_units)
    rows = np.arange(shape[0])
    epoch_snr, epoch_std_norm = _epoch_metrics(averages, units.channels, epoch_noise, config, spread)
    return Waveforms(
        unit_ids=units.unit_ids,
        spikes=units.spikes,
        n_before=n_before,
        templates=averages.templates,
        template_stds=averages.stds,
        main_channels=units.channels,
        has_pos_peak=units.positive,
        amplitudes=amplitudes,
        peak_inds=peak_inds,
        std_norms_all=ratios,
        noise=noise,
        snr=signal_to_noise(amplitudes[rows, units.channels], noise[units.channels]),
        std_norm=ratios[rows, units.channels],
        n_averaged=np.array(n_averaged, dtype=np.int64),
        epoch_templates=averages.epoch_templates,
        epoch_snr=epoch_snr,
        epoch_std_norm=epoch_std_norm,
    )


def _epoch_metrics(
    averages: Averages, channels: IntArray, noise: FloatArray | None, config: WaveformConfig, spread: Window
) -> tuple[FloatArray | None, FloatArray | None]:
    """SNR and std_norm on each unit's main channel, both of shape (epochs, units); None with a single epoch."""
    if averages.epoch_templates is None or averages.epoch_stds is None or noise is None:
        return None, None
    snr, ratios = np.zeros((2, len(noise), len(channels)), dtype=np.float32)
    for epoch, (templates, stds) in enumerate(zip(averages.epoch_templates, averages.epoch_stds, strict=True)):
        # Side by side, as if the units were channels; zeros, where there is no spike, have SNR 0 and std_norm infinity.
        main = np.nan_to_num(templates[np.arange(len(channels)), :, channels].T)
        amplitudes, peak_inds = peaks(main)
        snr[epoch] = signal_to_noise(amplitudes, noise[epoch, channels])
        ratios[epoch] = std_norms(
            stds.T,
            amplitudes,
            peak_inds,
            at_peak=config.std_at_peak,
            n_before=spread.n_before,
            n_after=spread.n_after,
        )
    return snr, ratios


def least_bytes(
    spike_counts: Sequence[int], n_channels: int, sampling_frequency: float, config: WaveformConfig, n_epochs: int = 1
) -> int:
    """Bytes that units with so many spikes take, from their waveforms to the files of the results."""
    window = Window.from_ms(config.ms_before, config.ms_after, sampling_frequency)
    unit_bytes = 4 * window.n_samples * n_channels
    n_epoch_templates = n_epochs if n_epochs > 1 else 0
    results = len(spike_counts) * unit_bytes * (2 + n_epoch_templates) + SPIKE_BYTES * sum(spike_counts)
    if not config.streaming:
        results += unit_bytes * sum(min(count, config.max_waveforms_per_unit) for count in spike_counts)
    sums = 2 * unit_bytes * (2 if n_epochs == 1 else 3)
    files = COPIES_IN_FILES * len(spike_counts) * unit_bytes
    return results + max(sums + tally_bytes(n_channels), files)


def _running_sums_bytes(source: TraceSource, n_units: int, window: Window, total_memory: int) -> int:
    """What is left of `total_memory` beside one chunk and the results, up to where more is of no use."""
    n_epoch_templates = len(source.epochs) if len(source.epochs) > 1 else 0
    results = 4 * n_units * window.n_samples * source.n_channels * (2 + n_epoch_templates)
    return min(MAX_BLOCK_BYTES, max(0, total_memory - results - CHUNK_BYTES))


def _warn_if_large(shapes: Mapping[int, tuple[int, int, int]], allowed: int) -> None:
    needed = 4 * sum(math.prod(shape) for shape in shapes.values())
    if needed > allowed:
        logger.warning(
            "The waveforms take %.1f GB in memory, total_memory is %.1f GB: streaming=True holds none of them",
            needed / 1e9,
            allowed / 1e9,
        )


def _inside(trains: SpikeTrains, n_samples: int) -> SpikeTrains:
    """Without the spikes that lie outside the recording, which some sorters report."""
    kept = tuple(spikes[np.searchsorted(spikes, 0) : np.searchsorted(spikes, n_samples)] for spikes in trains.samples)
    lost = sum(map(len, trains.samples)) - sum(map(len, kept))
    if lost:
        logger.warning("%d spikes lie outside the %d frames of the recording and were left out", lost, n_samples)
    return SpikeTrains(trains.unit_ids, kept)


def _fan_out(unit_ids: Sequence[int], sinks: Sequence[FolderSink | MemorySink]) -> WindowSink | None:
    def add(unit: int, windows: FloatArray) -> None:
        for sink in sinks:
            sink.add(unit_ids[unit], windows)

    return add if sinks else None
