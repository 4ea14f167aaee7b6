"""Checks of the signal before it is sorted: flat or saturated channels, wrong unit, too short."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikelab.spike_sorting._exceptions import SaturatedSignalError
from spikelab.spike_sorting.data import dead_time_of
from spikelab.spike_sorting.data.dead_time import live_frames, of_live_time, union
from spikelab.spike_sorting.recording.across import INTERPOLATED
from spikelab.spike_sorting.recording.parts import FrameRange, read_parts, read_stored, stored_pieces
from spikelab.spike_sorting.recording.read_errors import list_some, origin_of, reading_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from spikeinterface import BaseRecording

BoolArray = NDArray[np.bool_]

N_BLOCKS, BLOCK_FRAMES = 20, 5_000
# Medians and counts of values are taken of every fifth frame, as neighbouring frames are alike.
STEP = 5
SATURATED_FRACTION = 0.5
VOLT_LIKE_UV = 1.0
IMPOSSIBLE_NOISE_UV = 1000.0
MIN_DURATION_S = 2.0


@dataclass(frozen=True)
class RecordingReport:
    """Findings of the checks while the binary was written, in plain values for JSON."""

    lsb_uv: float  # microvolts per count of the binary
    n_clipped: int  # samples that exceeded the binary's range
    max_abs_uv: float  # largest absolute value
    noise_uv: tuple[float, ...]  # of each channel: the median over sampled blocks of MAD / 0.6745
    flat_channels: tuple[str, ...] = ()  # ids of channels that never change
    saturated_channels: tuple[str, ...] = ()  # ids of channels on a rail for half of the sampled time or more
    warnings: tuple[str, ...] = ()  # as the user got them

    def to_dict(self) -> dict[str, Any]:
        """Describe the report for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class SignalCheck:
    """Statistics of sampled blocks; arrays have one value per channel."""

    max_abs_uv: float  # largest absolute value after filtering
    noise_uv: NDArray[np.float64]  # MAD / 0.6745 after filtering
    constant: BoolArray  # stored values do not change
    on_rail: BoolArray  # stored values are a rail of the converter half of the time or more


def sampled_ranges(n_frames: int, seed: int) -> list[FrameRange]:
    """Return up to 20 seeded blocks of 5 000 frames; all frames of a recording that is no longer than that."""
    if n_frames <= N_BLOCKS * BLOCK_FRAMES:
        return [(start, min(start + BLOCK_FRAMES, n_frames)) for start in range(0, n_frames, BLOCK_FRAMES)]
    starts = np.random.default_rng(seed).integers(0, n_frames - BLOCK_FRAMES + 1, N_BLOCKS)
    return [(int(start), int(start) + BLOCK_FRAMES) for start in np.sort(starts)]


def _sampled_blocks(recording: BaseRecording, seed: int) -> list[list[FrameRange]]:
    """Pick the blocks, each as its pieces of live time; of all frames where none is live."""
    n_frames, dead = int(recording.get_num_samples()), dead_time_of(recording)
    n_live = live_frames(dead, 0, n_frames)
    if not n_live:
        n_live, dead = n_frames, union()
    return of_live_time(dead, sampled_ranges(n_live, seed), 0, n_frames)


def check_signal(
    recording: BaseRecording,
    seed: int,
    run: Callable[[Callable[[list[FrameRange]], Any], Sequence[list[FrameRange]]], Iterable[Any]],
) -> SignalCheck:
    """Measure sampled blocks of `recording`, filtered and as stored; `seed` picks the blocks.

    `run` maps a function over the blocks and keeps their order, for example in threads. Dead time is left out of the
    blocks: what was bridged there is no noise, and what is on a rail there is known.
    """

    def measure(block: Sequence[FrameRange]) -> tuple[Any, ...]:
        stored = []
        for piece in block:
            with reading_frames(recording, *piece):
                stored.append(read_stored(recording, *piece)[::STEP])
        return *_filtered_statistics(recording, block), *_stored_statistics(np.concatenate(stored))

    results = list(run(measure, _sampled_blocks(recording, seed)))
    max_abs, noise, lowest, n_lowest, highest, n_highest, lengths = (
        np.stack(column) for column in zip(*results, strict=True)
    )
    low, high = lowest.min(axis=0), highest.max(axis=0)
    at_low = np.where(lowest == low, n_lowest, 0).sum(axis=0)
    at_high = np.where(highest == high, n_highest, 0).sum(axis=0)
    enough = SATURATED_FRACTION * lengths.sum()
    dtype = stored_pieces(recording)[0].get_dtype()
    return SignalCheck(
        max_abs_uv=float(max_abs.max()),
        noise_uv=np.median(noise, axis=0),
        constant=low == high,
        on_rail=((at_low >= enough) & is_rail(low, dtype)) | ((at_high >= enough) & is_rail(high, dtype)),
    )


def _filtered_statistics(recording: BaseRecording, block: Sequence[FrameRange]) -> tuple[float, NDArray[np.float64]]:
    """Return the largest absolute value, and the noise of each channel on every `STEP`-th frame of each piece."""
    lengths = [-(-(end - start) // STEP) for start, end in block]
    sampled = np.empty((recording.get_num_channels(), sum(lengths)), dtype=np.float32)
    max_abs, passed = 0.0, 0
    for piece, length in zip(block, lengths, strict=True):
        for frames, channels, traces in read_parts(recording, *piece):
            max_abs = max(max_abs, float(traces.max()), -float(traces.min()))
            skipped = -frames.start % STEP
            few = traces[skipped::STEP].T
            place = passed + (frames.start + skipped) // STEP
            sampled[channels, place : place + few.shape[1]] = few
        passed += length
    sampled -= _medians(sampled)[:, np.newaxis]
    return max_abs, _medians(np.abs(sampled, out=sampled)).astype(np.float64) / 0.6745


def _medians(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (upper) median of each row, many times faster than `numpy.median`; the rows are reordered."""
    middle = rows.shape[1] // 2
    rows.partition(middle, axis=1)
    return rows[:, middle].copy()


def _stored_statistics(traces: NDArray[Any]) -> tuple[Any, ...]:
    low, high = traces.min(axis=0), traces.max(axis=0)
    return low, (traces == low).sum(axis=0), high, (traces == high).sum(axis=0), len(traces)


def is_rail(values: NDArray[Any], dtype: np.dtype[Any]) -> BoolArray:
    """Return whether `values` are ends of the range of a converter of 8 bits or more.

    Signed counts end at ``-2**b`` and ``2**b - 1``, unsigned ones at 0 and ``2**b - 1``. The rails of
    floating-point values are unknown.
    """
    if dtype.kind not in "iu":
        return np.zeros(len(values), dtype=bool)
    bits = np.arange(7 if dtype.kind == "i" else 8, dtype.itemsize * 8 + (dtype.kind == "u"))
    powers = 2.0**bits
    rails = np.concatenate([powers - 1, -powers if dtype.kind == "i" else [0.0]])
    return np.isin(values.astype(np.float64), rails)


def refuse_non_finite(recording: BaseRecording, start: int, end: int) -> None:
    """Raise the ValueError for a chunk with NaN or infinite values, with their places."""
    # Non-finite samples in the margins of the chunk spread into the chunk through the filter.
    margin = int(recording.get_sampling_frequency())
    first, last = max(0, start - margin), min(int(recording.get_num_samples()), end + margin)
    bad = ~np.isfinite(read_stored(recording, first, last))
    if not bad.any():
        raise ValueError(
            f"frames {start} to {end} are NaN or infinite after filtering: such samples lie within a second of what is "
            "kept, or values are too large. Leave out more with rec_chunks, or repair the file"
        )
    frames, channels = np.nonzero(bad)
    names = _list_channels(recording, np.isin(np.arange(bad.shape[1]), channels))
    raise ValueError(
        f"{len(frames)} samples between frames {first} and {last} are NaN or infinite, on {names}; the first is "
        f"{_origin(recording, first + int(frames[0]))}. Leave them out with rec_chunks or "
        "bad_channels, or repair the file"
    )


def _origin(recording: BaseRecording, frame: int) -> str:
    """Name a frame by its number in the recording and in its file."""
    file, number = origin_of(recording, frame)
    return f"frame {frame} (frame {number} of {file})" if file else f"frame {frame}"


def evaluate(
    recording: BaseRecording, check: SignalCheck, silent: BoolArray, n_clipped: int
) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """Return the names of flat and of saturated channels, and the warnings.

    `silent` are the channels whose counts in the binary are all zero. If all channels are flat or on a rail, a
    :class:`.SaturatedSignalError` is raised.
    """
    flat = check.constant & silent
    # A dead channel that was re-referenced is not silent: the stored values decide.
    flat |= _constant_throughout(recording, check.constant & ~silent)
    # What is interpolated is not as it was stored.
    interpolated = recording.get_property(INTERPOLATED)
    if interpolated is not None:
        flat, check = flat & ~interpolated, replace(check, on_rail=check.on_rail & ~interpolated)
    dead = flat | check.on_rail
    if dead.all():
        raise SaturatedSignalError(
            f"all {len(dead)} channels are flat or saturated: {int(flat.sum())} never change, "
            f"{int(check.on_rail.sum())} sit on a rail of the converter. Check first that the file is read with the "
            "right type, gain and channels; "
            "then look for lost fluid contact, a disconnected array or an amplifier that was off",
            channels_saturated=int(dead.sum()),
            total_channels=len(dead),
        )
    messages = doubts_about_the_unit(check.max_abs_uv, check.noise_uv[~dead])
    if dead.any():
        names = _list_channels(recording, dead)
        messages.append(
            f"{int(dead.sum())} of {len(dead)} channels are flat or saturated ({names}); bad_channels leaves them out"
        )
    if n_clipped:
        messages.append(
            f"{n_clipped} samples were too large for the binary and were clipped; check gain_to_uv, unless these are "
            "artefacts of stimulation"
        )
    duration = recording.get_num_samples() / recording.get_sampling_frequency()
    if duration < MIN_DURATION_S:
        messages.append(
            f"the recording is only {duration:.3g} s long, too short for most sorters; check first_n_mins, "
            "start_time_s and end_time_s"
        )
    return _names(recording, flat), _names(recording, check.on_rail & ~flat), messages


def _constant_throughout(recording: BaseRecording, candidates: BoolArray) -> BoolArray:
    """Return the candidate channels whose stored values never change; nothing is read where there are none."""
    constant, n_frames = candidates.copy(), int(recording.get_num_samples())
    values: NDArray[Any] | None = None
    for start in range(0, n_frames, BLOCK_FRAMES):
        if not constant.any():
            break
        with reading_frames(recording, start, min(start + BLOCK_FRAMES, n_frames)):
            traces = read_stored(recording, start, min(start + BLOCK_FRAMES, n_frames))
        values = traces[0] if values is None else values
        constant &= (traces == values).all(axis=0)
    return constant


def doubts_about_the_unit(max_abs_uv: float, noise_uv: NDArray[np.float64]) -> list[str]:
    """Return why values cannot be microvolts, if so; `noise_uv` is the noise of the channels that are not dead."""
    if max_abs_uv < VOLT_LIKE_UV:
        message = (
            f"the largest value is {max_abs_uv:.3g} uV: the traces look like volts or millivolts. Check the gain, "
            "and set gain_to_uv (1e6 for volts, 1e3 for millivolts)"
        )
        return [message]
    noise = float(np.median(noise_uv)) if noise_uv.size else 0.0
    if noise > IMPOSSIBLE_NOISE_UV:
        message = (
            f"the noise is {noise:.3g} uV, which no electrode has: check gain_to_uv and, for a binary file, dtype and "
            "num_channels"
        )
        return [message]
    return []


def _names(recording: BaseRecording, chosen: BoolArray) -> tuple[str, ...]:
    return tuple(str(channel) for channel in recording.channel_ids[chosen])


def _list_channels(recording: BaseRecording, chosen: BoolArray) -> str:
    return f"channels {list_some(_names(recording, chosen))}"
