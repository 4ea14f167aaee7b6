"""Two objects as one: one after the other in time, or the units of one beside those of the other."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spikedata._attributes import unit_locations
from spikelab.spikedata._base import equal
from spikelab.spikedata._dead_time import DEAD_TIME_KEY, both
from spikelab.spikedata._epochs import (
    CLOCK_KEY,
    EPOCH_ATTRIBUTES,
    EPOCH_KEYS,
    FILES_KEY,
    SOURCES_KEY,
    TOLERANCE_MS,
    chunks_ms,
    frames_per_ms_of,
    subtime,
)
from spikelab.spikedata._pulses import STIM_SITES_KEY, STIM_TIMES_KEY, joined_pulses
from spikelab.spikedata._validation import span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spikelab.spikedata._base import BaseSpikeData, Data

    Attributes = list[dict[str, Any]]

RAW = ("raw_data", "raw_time")
SAMPLES = "spike_train_samples"
# What says when something was recorded: of two recordings that differ in it, none holds for both.
TIME_KEYS = (*EPOCH_KEYS, SOURCES_KEY, FILES_KEY, CLOCK_KEY, DEAD_TIME_KEY, STIM_TIMES_KEY, STIM_SITES_KEY)
OF_ONE_EPOCH = ("epoch_index", "epoch_name", "n_samples")


def append(sd: Data, other: BaseSpikeData, offset: float = 0.0) -> Data:
    """Join two recordings of the same units in time: `other` begins where `sd` ends.

    Parameters
    ----------
    sd, other : SpikeData
        Units are the same by their order.
    offset : float, default 0.0
        Time in ms between the end of `sd` and the beginning of `other`, in which nothing is known: it is dead time.

    Returns
    -------
    SpikeData
        On the clock of `sd`, with the raw data of both. Attributes are those of `sd`; what only one of the two has is
        kept, with a warning. Where the one does not go on where the other ends by the file's clock, the joint is a
        boundary of epochs (``rec_chunks_ms``): no interspike interval is counted across it, and ``split_epochs`` takes
        the two apart.

    Raises
    ------
    ValueError
        The two have a different number of units, or `offset` is negative.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> before, after = SpikeData([[10, 30]], length=50), SpikeData([[5]], length=50)
    >>> both = before.append(after)
    >>> both, both.train[0]
    (SpikeData(N=1, 3 spikes, [0, 100] ms), array([10., 30., 55.]))
    """
    if sd.N != other.N:
        raise ValueError(f"the two have a different N: {sd.N} and {other.N} units; only the same units can be appended")
    if not 0 <= offset < np.inf:
        raise ValueError(f"'offset' must be a time in ms from 0 on, got {offset}")
    start = sd.end_time + offset
    shift = start - other.start_time
    length = span(sd.start_time, start + other.length)
    moved = [np.clip(times + shift, start, sd.start_time + length) for times in other.train]
    metadata, is_one = _joined_metadata(sd, other, offset)
    raw_data, raw_time = _joined_raw(sd, other, shift)
    return sd.replace(
        train=[np.concatenate(pair) for pair in zip(sd.train, moved, strict=True)],
        length=length,
        neuron_attributes=_joined_attributes(sd, other, shift, is_one),
        metadata=metadata,
        raw_data=raw_data,
        raw_time=raw_time,
    )


def _joined_metadata(sd: BaseSpikeData, other: BaseSpikeData, offset: float) -> tuple[dict[str, Any], bool]:
    """Return the metadata of both, and whether the last epoch of the one and the first of the other are one."""
    start, rate = sd.end_time + offset, _common_rate(sd, other)
    table, goes_on = _joined_clock(sd, other, offset)
    first, second = _epochs_of(sd, 0.0), _epochs_of(other, start - other.start_time)
    is_one = goes_on and bool(abs(first[-1, 1] - second[0, 0]) <= TOLERANCE_MS)
    if is_one:
        second[0, 0] = first[-1, 0]
        first = first[:-1]
    metadata = _without({**other.metadata, **sd.metadata}, (*TIME_KEYS, *OF_ONE_EPOCH)) | table
    metadata |= joined_pulses(sd.metadata, other.metadata, start - other.start_time)
    metadata |= both(sd.metadata, other.metadata, start - other.start_time, (sd.end_time, start))
    if all("n_samples" in part.metadata for part in (sd, other)) and np.isfinite(rate):
        metadata["n_samples"] = sum(part.metadata["n_samples"] for part in (sd, other)) + round(offset * rate)
    chunks = np.concatenate([first, second])
    if len(chunks) > 1:
        metadata |= _epoch_table(sd, other, chunks, is_one, rate)
    return metadata, is_one


def _joined_clock(sd: BaseSpikeData, other: BaseSpikeData, offset: float) -> tuple[dict[str, Any], bool]:
    """Return the table of the file's clock, where one has it, and whether that clock goes on without a jump."""
    if not (sd.metadata.get(CLOCK_KEY) or other.metadata.get(CLOCK_KEY)):
        return {}, False
    start = sd.end_time + offset
    first, second = _clock_of(sd), _moved_clock(_clock_of(other), start - other.start_time, start)
    goes_on = offset == 0 and _goes_on(first[-1], second[0], start)
    return {CLOCK_KEY: first + second[goes_on:]}, goes_on


def _common_rate(sd: BaseSpikeData, other: BaseSpikeData) -> float:
    """Return the sampling rate of both in kHz; NaN where it is not known, or not one."""
    rate = frames_per_ms_of(sd.metadata)
    return rate if rate == frames_per_ms_of(other.metadata) else np.nan


def _clock_of(sd: BaseSpikeData) -> list[dict[str, Any]]:
    """Return the table of the file's clock; one that knows nothing where there is none."""
    return list(sd.metadata.get(CLOCK_KEY) or [{"ms": sd.start_time, "clock_s": None, "zero": ""}])


def _moved_clock(table: list[dict[str, Any]], shift: float, start: float) -> list[dict[str, Any]]:
    """Move a table of the file's clock; the first stretch, which may begin before the data, begins at `start`."""
    first, *later = ({**entry, "ms": entry["ms"] + shift} for entry in table)
    if first["clock_s"] is not None:
        first["clock_s"] += first.get("scale", 1.0) * (start - first["ms"]) / 1000
    return [{**first, "ms": start}, *later]


def _goes_on(last: Mapping[str, Any], first: Mapping[str, Any], at: float) -> bool:
    """Tell whether the file's clock goes on without a jump from the stretch `last` to `first`."""
    if last["clock_s"] is None or first["clock_s"] is None:
        return False
    if any(last.get(key) != first.get(key) for key in ("zero", "scale")):
        return False
    ends, begins = (1000 * entry["clock_s"] + entry.get("scale", 1.0) * (at - entry["ms"]) for entry in (last, first))
    return bool(abs(ends - begins) < 1e-3)  # less than any sampling period, more than the rounding of a day


def _epochs_of(sd: BaseSpikeData, shift: float) -> NDArray[np.float64]:
    """Return the epochs, moved; the whole as one where there are none."""
    chunks = chunks_ms(sd.metadata)
    return (np.array([[sd.start_time, sd.end_time]]) if chunks is None else chunks) + shift


def _epoch_table(
    sd: BaseSpikeData, other: BaseSpikeData, chunks: NDArray[np.float64], is_one: bool, frames_per_ms: float
) -> dict[str, Any]:
    """Describe the epochs of both; names and files where every epoch has one."""
    table: dict[str, Any] = {"rec_chunks_ms": chunks.tolist()}
    if np.isfinite(frames_per_ms):
        table["rec_chunks_frames"] = np.rint(chunks * frames_per_ms).astype(np.int64).tolist()
    for key in ("rec_chunk_names", "rec_chunk_source_files"):
        first, second = (_of_each_epoch(part, key) for part in (sd, other))
        if first and second:
            table[key] = first + second[is_one:]
    return table


def _of_each_epoch(sd: BaseSpikeData, key: str) -> list[Any]:
    """Return an entry for each epoch; of a recording without epochs its own name or file."""
    chunks = chunks_ms(sd.metadata)
    if chunks is None:
        own = ("epoch_name", "source_file") if key == "rec_chunk_names" else ("source_file",)
        return [sd.metadata[name] for name in own if name in sd.metadata][:1]
    values = list(sd.metadata.get(key, ()))[: len(chunks)]
    return values if len(values) == len(chunks) else []


def _joined_attributes(sd: BaseSpikeData, other: BaseSpikeData, shift: float, is_one: bool) -> Attributes | None:
    if sd.neuron_attributes is None and other.neuron_attributes is None:
        return None
    pairs = list(zip(sd.unit_attributes, other.unit_attributes, strict=True))
    alone = sorted({str(key) for mine, others in pairs for key in mine.keys() ^ others.keys()})
    if alone:
        warnings.warn(
            f"only one of the two has the neuron attributes {', '.join(alone)}: kept from it", UserWarning, stacklevel=3
        )
    shift_frames = shift * _common_rate(sd, other)
    return [
        _joined_unit(mine, others, counts, shift_frames, is_one)
        for (mine, others), counts in zip(pairs, zip(sd.spike_counts, other.spike_counts, strict=True), strict=True)
    ]


def _joined_unit(
    mine: Mapping[str, Any], others: Mapping[str, Any], counts: tuple[int, int], shift_frames: float, is_one: bool
) -> dict[str, Any]:
    """Join the attributes of one unit; those per spike and per epoch only where both have them."""
    joined = {**others, **mine}
    samples = joined.pop(SAMPLES, None)
    own = [np.asarray(values.get(SAMPLES, ())) for values in (mine, others)]
    if samples is not None and np.isfinite(shift_frames) and (len(own[0]), len(own[1])) == counts:
        joined[SAMPLES] = np.concatenate([own[0], own[1] + round(shift_frames)])
    for name in EPOCH_ATTRIBUTES:
        if joined.pop(name, None) is not None and name in mine and name in others:
            joined[name] = np.concatenate([mine[name], others[name][is_one:]])
    return joined


def _joined_raw(sd: BaseSpikeData, other: BaseSpikeData, shift: float) -> tuple[Any, Any]:
    """Join the traces; those of the one where the other has none, none where the channels differ."""
    moved = other.raw_time + shift
    if not sd.raw_data.size or not other.raw_data.size:
        return (sd.raw_data, sd.raw_time) if sd.raw_data.size else (other.raw_data, moved)
    if len(sd.raw_data) != len(other.raw_data):
        warnings.warn(
            f"raw_data are left out: {len(sd.raw_data)} and {len(other.raw_data)} channels cannot be joined in time",
            UserWarning,
            stacklevel=3,
        )
        return None, None
    return np.concatenate([sd.raw_data, other.raw_data], axis=1), np.concatenate([sd.raw_time, moved])


def concatenate_spike_data(sd: Data, other: BaseSpikeData) -> Data:
    """Add the units of another object, which was recorded at the same time.

    Parameters
    ----------
    sd, other : SpikeData
        On one clock. Both are cut to the time that both have.

    Returns
    -------
    SpikeData
        The units of `sd`, then those of `other`, with the metadata of `sd` and what only `other` has. What says when
        something was recorded (epochs, clock of the file) and the raw data stay where the two agree or only one has
        them. Positions that `other` has by channel become ``x`` and ``y``, for its channels may be others.

    Raises
    ------
    ValueError
        The two have no time in common.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> culture, probe = SpikeData([[10, 90]], length=100), SpikeData([[20], [35]], length=60)
    >>> culture.concatenate_spike_data(probe)
    SpikeData(N=3, 3 spikes, [0, 60] ms)
    """
    start, end = max(sd.start_time, other.start_time), min(sd.end_time, other.end_time)
    if not start < end:
        raise ValueError(f"the two have no time in common: {sd!r} and {other!r}")
    first, second = subtime(sd, start, end, shift_to=0), subtime(other, start, end, shift_to=0)
    differ = [key for key in TIME_KEYS if not _agree(key, first.metadata, second.metadata)]
    attributes = _side_by_side(first, second)
    if "rec_chunks_ms" in differ:
        attributes = attributes and [_without(values, EPOCH_ATTRIBUTES) for values in attributes]
    traces = _common_traces(first, second)
    left_out = [*differ, *(() if traces else ("raw_data",))]
    if left_out:
        warnings.warn(f"left out, because the two differ in it: {', '.join(left_out)}", UserWarning, stacklevel=2)
    _warn_of_equal_ids(attributes)
    return first.replace(
        train=[*first.train, *second.train],
        neuron_attributes=attributes,
        metadata=_without({**second.metadata, **first.metadata}, differ),
        **traces or dict.fromkeys(RAW),
    )


def _common_traces(first: BaseSpikeData, second: BaseSpikeData) -> dict[str, Any] | None:
    """Return the traces that hold for both; None where they have different ones."""
    traces = [{key: vars(part)[key] for key in RAW} for part in (first, second) if part.raw_data.size]
    if len(traces) == 2 and not equal(*traces):
        return None
    return traces[0] if traces else {key: vars(first)[key] for key in RAW}


def _agree(key: str, metadata: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    return key not in metadata or key not in others or equal(metadata[key], others[key])


def _without(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in names}


def _side_by_side(first: BaseSpikeData, second: BaseSpikeData) -> Attributes | None:
    """Return the attributes of the units of both; where the latter are, is told without their table of channels."""
    if first.neuron_attributes is None and second.neuron_attributes is None:
        return None
    places = unit_locations(second)
    others = second.unit_attributes
    if places is not None and not equal(*(part.metadata.get("channel_locations") for part in (first, second))):
        others = [
            values if {"x", "location", "position"} & values.keys() else {**values, "x": float(x), "y": float(y)}
            for values, (x, y) in zip(others, places[:, :2], strict=True)
        ]
    return [*first.unit_attributes, *others]


def _warn_of_equal_ids(units: Attributes | None) -> None:
    ids = [values["unit_id"] for values in units or [] if "unit_id" in values]
    twice = sorted({str(unit) for unit in ids if ids.count(unit) > 1})
    if twice:
        warnings.warn(
            f"two units each have the unit_id {', '.join(twice[:10])}; set_neuron_attribute('unit_id', range(N)) names "
            "all anew",
            UserWarning,
            stacklevel=3,
        )
