"""Check the numbers of a recording: impossible ones are refused, implausible ones warned about."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.parts import evenly_spaced
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

MOST_HZ = 1e7
PLAUSIBLE_HZ = 250e3
FARTHEST_UM = 1e7
NAMED = 5
# Blocks of a headerless file that its byte order is checked on.
N_BLOCKS, BLOCK_FRAMES = 8, 256
# Factor by which the other byte order has to be smoother. Neighbouring frames of a recording are alike; with swapped
# bytes, the low byte, which is noise, becomes the high byte.
SMOOTHER = 8
# Absolute values of floating-point traces in any unit lie in between, except zeros.
ORDINARY = (1e-9, 1e9)


def require_sane(recording: BaseRecording, where: str) -> None:
    """Check sampling rate, channel names, gains, offsets and type of the traces; `where` names the recording."""
    require_rate(recording.get_sampling_frequency(), where)
    if recording.get_num_channels() == 0:
        raise ValueError(f"{where} has no channels")
    twice = [str(name) for name, n in Counter(recording.channel_ids.tolist()).items() if n > 1]
    if twice:
        raise ValueError(f"{where} has channels of the same name: {', '.join(twice[:NAMED])}")
    for what, values in (("gains", recording.get_channel_gains()), ("offsets", recording.get_channel_offsets())):
        if values is not None and np.asarray(values).dtype.kind not in "iuf":
            raise ValueError(f"{where} has {what} that are not numbers: {np.asarray(values).tolist()[:NAMED]!a}")
    kind = recording.get_dtype().kind
    if kind not in "iuf":
        raise ValueError(f"{where} has traces of {recording.get_dtype()}, not numbers")


def require_rate(rate: Any, where: str) -> None:
    """Refuse a sampling rate that is none, and warn of one that no recording of electrodes has."""
    if not (np.isfinite(rate) and 0 < rate <= MOST_HZ):
        raise ValueError(f"{where} has a sampling rate of {rate} Hz, and needs one above 0 and below {MOST_HZ:g} Hz")
    if rate > PLAUSIBLE_HZ:
        warn(
            f"{where} has a sampling rate of {rate:g} Hz, as no recording of electrodes has: is it in Hz?",
        )


def require_distinct(places: NDArray[np.float64], channels: Sequence[Any], where: str) -> None:
    """Check places of electrodes, shape (channels, 2 or more); NaN stands for an unknown place.

    Two at the same place are refused, and one farther away than any.
    """
    far = np.abs(np.nan_to_num(places, nan=0.0)).max(axis=1) > FARTHEST_UM
    if far.any():
        first = int(np.argmax(far))
        raise ValueError(
            f"{where} has {int(far.sum())} electrodes farther away than {FARTHEST_UM:g} um, for example channel "
            f"{channels[first]} at {places[first].tolist()}: positions are expected in um. Set probe_path to a "
            "probe file"
        )
    seen: dict[tuple[float, ...], Any] = {}
    for place, channel in zip(map(tuple, places.tolist()), channels, strict=True):
        if place in seen:
            raise ValueError(
                f"{where} has two electrodes at the same place: channels {seen[place]} and {channel} at {list(place)}. "
                "If positions are relative to groups, shanks or sides, or unknown, set probe_path to a probe file with "
                "those of all of them"
            )
        seen[place] = channel


def doubt_channels(recording: BaseRecording, n_contacts: int, path: Path) -> None:
    """Warn if a headerless file is read with more channels than its probe has contacts."""
    n_channels, seconds = recording.get_num_channels(), recording.get_total_duration()
    if n_contacts >= n_channels:
        return
    warn(
        f"{path} is read with {n_channels} channels, as num_channels says, and lasts {seconds:.6g} s; its probe has "
        f"{n_contacts} contacts, and with as many channels it would last {seconds * n_channels / n_contacts:.6g} s. "
        f"The {n_channels - n_contacts} channels without a contact are left out: check num_channels unless they are "
        "inputs without an electrode",
    )


def doubt_byte_order(recording: BaseRecording, path: Path) -> None:
    """Warn if the samples of a headerless file are a signal only in the other byte order."""
    dtype, n_frames = np.dtype(recording.get_dtype()), int(recording.get_num_samples())
    if dtype.itemsize == 1 or n_frames < 2:
        return
    starts = evenly_spaced(n_frames, BLOCK_FRAMES, N_BLOCKS)
    blocks = [np.asarray(recording.get_traces(0, start, min(start + BLOCK_FRAMES, n_frames))) for start in starts]
    swapped = dtype.newbyteorder()
    others = [np.ascontiguousarray(block).view(swapped) for block in blocks]
    if dtype.kind == "f":
        wrong, found, swapped_found = _unlike_numbers(blocks, others), "are no ordinary numbers", "are"
    else:
        jump, swapped_jump = _roughness(blocks), _roughness(others)
        # Counts that are all multiples of 256 are small numbers in the other order, and right as they are.
        wrong = jump > SMOOTHER * swapped_jump and any((block % 256 != 0).any() for block in blocks)
        found, swapped_found = f"jump by {jump:.3g} counts from frame to frame", f"by {swapped_jump:.3g}"
    if wrong:
        warn(
            f"{path} is read as {dtype.str}, and its samples then {found}; in the other byte order, {swapped.str}, "
            f"{swapped_found}, as those of a recording are: check dtype",
        )


def _roughness(blocks: list[NDArray[Any]]) -> float:
    """Return the median step from frame to frame."""
    return float(np.median(np.concatenate([np.abs(np.diff(b.astype(np.float64), axis=0)).ravel() for b in blocks])))


def _unlike_numbers(blocks: list[NDArray[Any]], others: list[NDArray[Any]]) -> bool:
    """Return whether most values of `blocks`, and hardly any of `others`, are out of the ordinary range."""

    def ordinary(values: NDArray[Any]) -> float:
        with np.errstate(all="ignore"):
            sizes = np.abs(values.astype(np.float64))
        return float(np.mean((sizes == 0) | ((sizes > ORDINARY[0]) & (sizes < ORDINARY[1]))))

    return ordinary(np.concatenate(blocks)) < 0.5 and ordinary(np.concatenate(others)) > 0.99
