"""Preprocessing steps: gain, band-pass, bad channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data.dead_time import live_frames, of_live_time
from spikelab.spike_sorting.recording.geometry import geometry_of
from spikelab.spike_sorting.recording.parts import evenly_spaced
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import IntArray

MIN_FILTER_FRAMES = 100
# Range around the gains in use, 0.05 (simulations) to 12 uV per 16-bit count; outside, the unit is probably wrong.
PLAUSIBLE_GAIN_UV = (1e-3, 1e3)
# Gains of traces in any unit, from attovolts to gigavolts per count.
POSSIBLE_GAIN_UV = (1e-12, 1e15)
FARTHEST_OFFSET_UV = 1e15
# Random chunks of 0.3 s in which bad channels are searched.
N_CHUNKS, CHUNK_S = 40, 0.3
NOISY_FACTOR, CHANNELS_FOR_MEDIAN = 5.0, 4


def to_microvolts(
    recording: BaseRecording,
    gain_to_uv: float | None,
    offset_to_uv: float | None,
    where: str,
    stored: np.dtype[Any] | None = None,
) -> BaseRecording:
    """Convert `recording` to float32 microvolts: gain and offset are applied, and reset to 1 and 0.

    `gain_to_uv` and `offset_to_uv` override those of the file. Floating-point traces without a gain are taken to be
    microvolts; counts without one, and gains or offsets that are not finite or zero, are refused. `where` names the
    recording in messages; `stored` is the number type of the file where a step before has changed it.
    """
    from spikeinterface.preprocessing import scale

    gains = _per_channel(recording, gain_to_uv, recording.get_channel_gains())
    offsets = _per_channel(recording, offset_to_uv, recording.get_channel_offsets())
    stored = recording.get_dtype() if stored is None else stored
    if gains is None:
        if stored.kind != "f":
            raise ValueError(f"{where} has {stored} counts and no gain: set gain_to_uv (microvolts per count)")
        gains = np.ones(recording.get_num_channels())
    if offsets is None:
        offsets = np.zeros(recording.get_num_channels())
    if not (np.isfinite(gains).all() and np.isfinite(offsets).all() and (gains != 0).all()):
        raise ValueError(
            f"{where} has channels whose gain or offset is zero or not a number: set gain_to_uv and offset_to_uv"
        )
    _check_scale(gains, offsets, stored, where)
    scaled = scale(recording, gain=gains, offset=offsets, dtype="float32")
    scaled.set_channel_gains(1.0)
    scaled.set_channel_offsets(0.0)
    return scaled


def _check_scale(gains: NDArray[np.float64], offsets: NDArray[np.float64], dtype: np.dtype[Any], where: str) -> None:
    """Refuse gains and offsets that no amplifier has, and warn of odd ones."""
    sizes = np.abs(gains)
    low, high = POSSIBLE_GAIN_UV
    if not ((sizes >= low) & (sizes <= high) & (np.abs(offsets) <= FARTHEST_OFFSET_UV)).all():
        raise ValueError(
            f"{where} has gains from {gains.min():g} to {gains.max():g} uV per count and offsets from "
            f"{offsets.min():g} to {offsets.max():g} uV, which no amplifier has: set gain_to_uv and "
            "offset_to_uv, or repair the file"
        )
    if (gains < 0).any():
        warn(
            f"{where} has {int((gains < 0).sum())} channels with a negative gain ({gains.min():g} uV per count), which "
            "turns their spikes upside down. Check gain_to_uv unless the amplifier inverts"
        )
    low, high = PLAUSIBLE_GAIN_UV
    if dtype.itemsize == 2 and not ((sizes >= low) & (sizes <= high)).all():
        warn(f"{where} has a gain of {gains[0]:g} uV per count, as no amplifier has: is it in volts? Check gain_to_uv")


def _per_channel(recording: BaseRecording, override: float | None, own: Any) -> NDArray[np.float64] | None:
    if override is not None:
        return np.full(recording.get_num_channels(), override, dtype=np.float64)
    return None if own is None else np.asarray(own, dtype=np.float64)


def band_pass(
    recording: BaseRecording,
    freq_min: float,
    freq_max: float,
    where: str,
    sample_shifts: NDArray[np.float64] | None = None,
) -> BaseRecording:
    """Apply a zero-phase Butterworth band-pass of order 5, in Hz; segments are filtered each on its own.

    With `sample_shifts`, in samples, channels that were sampled later than their frame are brought to its time. A
    ValueError says that `freq_max` is not below half the sampling rate, or a segment is too short to filter.
    """
    from spikeinterface.preprocessing.normalize_scale import ScaleRecording

    from spikelab.spike_sorting.filters.bandpass import BandPassRecording

    fs = recording.get_sampling_frequency()
    if freq_max >= fs / 2:
        raise ValueError(
            f"freq_max={freq_max:g} Hz is not below half the sampling rate of {where} ({fs:g} Hz): "
            f"set freq_max={int(0.45 * fs)} or lower"
        )
    for segment in range(recording.get_num_segments()):
        n_frames = recording.get_num_samples(segment)
        if 0 < n_frames < MIN_FILTER_FRAMES:
            raise ValueError(f"{where} has {n_frames} frames in segment {segment}, too few to filter")
    if isinstance(recording, ScaleRecording) and recording.get_dtype() == "float32":
        # The filter is linear and removes offsets: it takes counts and gains, which saves passes over memory.
        gains = np.ravel(recording.to_dict()["kwargs"]["gain"])
        return BandPassRecording(recording.get_parent(), freq_min, freq_max, gains, sample_shifts)
    return BandPassRecording(recording, freq_min, freq_max, sample_shifts=sample_shifts)


def find_bad_channels(filtered: BaseRecording, dead_time: Sequence[IntArray] = ()) -> set[str]:
    """Find channels that are dead or much noisier than the others of their group.

    Noisy is SpikeInterface's rule: the median absolute deviation is over five times that of the median channel. Dead
    is a channel that never changes. SpikeInterface's rule for linear probes is not used: it takes stripes, which the
    spatial filter removes, for noise of the channels (84 of 96 in a generated recording), and channels outside of the
    brain, which it finds as well, do no harm. `dead_time`, periods of each segment, is left out: it was bridged.
    """
    from scipy.stats import median_abs_deviation

    chunk = min(
        int(CHUNK_S * filtered.get_sampling_frequency()),
        *(s.get_num_samples() for s in filtered.segments if s.get_num_samples()),
    )
    traces = _some_live_traces(filtered, dead_time, chunk)
    noise = median_abs_deviation(traces, axis=0)
    usual = np.full(len(noise), np.median(noise))
    for channels in geometry_of(filtered).channels_of_groups():
        if len(channels) >= CHANNELS_FOR_MEDIAN:  # the median of fewer may be that of a noisy one
            usual[channels] = np.median(noise[channels])
    # A filtered constant has rounding errors of less than a thousandth of a microvolt.
    bad = (noise > NOISY_FACTOR * usual) | (np.ptp(traces, axis=0) < 1e-3)
    return {str(channel) for channel in filtered.channel_ids[bad]}


def _some_live_traces(filtered: BaseRecording, dead_time: Sequence[IntArray], chunk: int) -> NDArray[Any]:
    """Read chunks throughout each segment, without dead time unless nothing else is there."""
    from spikeinterface import get_random_data_chunks

    live = []
    for segment, periods in enumerate(dead_time):
        n_frames = int(filtered.get_num_samples(segment))
        n_live = live_frames(periods, 0, n_frames)
        length = min(chunk, n_live)
        chunks = [(start, start + length) for start in evenly_spaced(n_live, length, N_CHUNKS)]
        pieces = [piece for of_chunk in of_live_time(periods, chunks, 0, n_frames) for piece in of_chunk]
        live += [filtered.get_traces(segment, *piece) for piece in pieces]
    if live:
        return np.concatenate(live)
    traces: NDArray[Any] = np.asarray(
        get_random_data_chunks(filtered, num_chunks_per_segment=N_CHUNKS, chunk_size=chunk, seed=0)
    )
    return traces


def require_channels(recording: BaseRecording, bad: Collection[str], where: str) -> None:
    """Refuse ids in `bad` that are no channel of `recording`, and to lose every channel."""
    names = [str(channel) for channel in recording.channel_ids]
    unknown = sorted(set(bad) - set(names))
    if unknown:
        raise ValueError(
            f"bad_channels: {where} has no channel {', '.join(unknown)}; its channels are {', '.join(names)}"
        )
    if set(names) <= set(bad):
        raise ValueError(f"bad_channels: none of the {len(names)} channels of {where} is left")


def drop_channels(recording: BaseRecording, bad: Collection[str], where: str) -> BaseRecording:
    """Leave out the channels whose ids are in `bad`; unknown ids are refused, and leaving out every channel is."""
    if not bad:
        return recording
    require_channels(recording, bad, where)
    return recording.select_channels([channel for channel in recording.channel_ids if str(channel) not in bad])
