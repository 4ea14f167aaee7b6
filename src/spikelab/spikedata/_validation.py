"""What the constructor and the selections of ``SpikeData`` accept."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FloatArray = NDArray[np.float64]


def finite_time(value: float, name: str) -> float:
    """Convert a time to a float; ValueError where it is not finite."""
    value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"{name!r} must be a finite time in ms, got {value}")
    return value


def sorted_trains(train: Sequence[ArrayLike], n_units: int | None) -> list[FloatArray]:
    """Copy the trains as sorted float64 arrays, and add empty trains up to `n_units`."""
    trains = [_sorted_train(times, unit) for unit, times in enumerate(train)]
    if n_units is None:
        return trains
    if n_units < len(trains):
        raise ValueError(f"N={n_units} is less than the {len(trains)} spike trains given")
    return trains + [np.empty(0) for _ in range(n_units - len(trains))]


def _sorted_train(times: ArrayLike, unit: int) -> FloatArray:
    array = np.array(times, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"unit {unit}: expected a one-dimensional sequence of spike times, got shape {array.shape}")
    if not (array[1:] >= array[:-1]).all():  # a third of the time of sorting what is sorted
        array.sort()  # NaN goes to the end
    if len(array) and not (math.isfinite(array[0]) and math.isfinite(array[-1])):
        odd = array[~np.isfinite(array)][0]
        raise ValueError(f"unit {unit}: spike time {'NaN' if odd != odd else odd} is not a finite number of ms")
    return array


def attributes(values: Sequence[Mapping[str, Any]] | None, n_units: int) -> list[dict[str, Any]] | None:
    """Copy the attributes: one dict per unit; None where there are none."""
    if values is None:
        return None
    if len(values) != n_units:
        raise ValueError(f"neuron_attributes has {len(values)} entries for {n_units} units; expected one per unit")
    return [dict(value) for value in values]


def raw_traces(
    raw_data: ArrayLike | None, raw_time: float | ArrayLike | None, start_time: float, fs_hz: float | None
) -> tuple[NDArray[Any], FloatArray]:
    """Return the traces (channels, samples) and the time of each sample in ms."""
    if raw_data is None:
        if raw_time is not None:
            raise ValueError("raw_time was given without raw_data")
        return np.empty((0, 0), dtype=np.float32), np.empty(0)
    traces = np.asarray(raw_data)
    if traces.ndim != 2:
        raise ValueError(f"raw_data must have shape (channels, samples), got {traces.shape}")
    if raw_time is None:
        if fs_hz is None:
            raise ValueError("raw_data needs raw_time: the time of each sample in ms, or the sampling rate in kHz")
        raw_time = fs_hz / 1000
    return traces, _sample_times(np.asarray(raw_time, dtype=np.float64), traces.shape[1], start_time)


def _sample_times(times: FloatArray, n_samples: int, start_time: float) -> FloatArray:
    """Check the time of each sample; compute the times from `start_time` on where `times` is a rate in kHz."""
    if times.ndim == 0:
        if not (math.isfinite(times) and times > 0):
            raise ValueError(f"raw_time as a sampling rate must be a positive number of kHz, got {times}")
        return start_time + np.arange(n_samples) / times
    if times.shape != (n_samples,):
        raise ValueError(f"raw_time has shape {times.shape} for {n_samples} samples of raw_data")
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError("raw_time must be finite and increasing, in ms")
    return times


def data_length(length: float | None, start: float, trains: Sequence[FloatArray], raw_time: FloatArray) -> float:
    """Return the length in ms: as given, else up to the last spike or the end of the raw data; check every spike."""
    if length is None:
        last = max([start, *(float(times[-1]) for times in trains if len(times)), _end_of_raw(raw_time, start)])
        length = span(start, last)
    length = finite_time(length, "length")
    if length < 0:
        raise ValueError(f"'length' must not be negative, got {length} ms")
    end = start + length
    for unit, times in enumerate(trains):
        if len(times) and (times[0] < start or times[-1] > end):
            outside, where = (times[-1], "exceeds end of time window")
            if times[0] < start:
                outside, where = times[0], "is before start_time"
            raise ValueError(
                f"unit {unit}: spike time {outside} ms is outside of the data, [{start}, {end}] ms: it {where}"
            )
    return length


def _end_of_raw(raw_time: FloatArray, start: float) -> float:
    if len(raw_time) < 2:
        return float(raw_time[-1]) if len(raw_time) else start
    return float(raw_time[-1] + (raw_time[-1] - raw_time[0]) / (len(raw_time) - 1))


def span(start: float, end: float) -> float:
    """Compute the length that reaches `end` from `start`; rounding up keeps a spike at `end` inside."""
    length = end - start
    while start + length < end:
        length = math.nextafter(length, math.inf)
    return length


def unit_index(
    units: ArrayLike | Iterable[Any], n_units: int, values: Sequence[Mapping[str, Any]], by: str | None
) -> list[int]:
    """Find the indices of the units that `units` names, in that order."""
    wanted = [units] if np.isscalar(units) else list(units)  # type: ignore[arg-type]
    if by is not None:
        return _index_by_attribute(wanted, values, by)
    selection = np.asarray(wanted) if wanted else np.empty(0, dtype=np.int64)
    if selection.dtype.kind == "b":
        if selection.shape != (n_units,):
            raise ValueError(f"a mask of units must have shape ({n_units},), got {selection.shape}")
        return [int(i) for i in np.flatnonzero(selection)]
    return [_index(value, n_units) for value in selection.tolist()]


def _index(value: Any, n_units: int) -> int:
    """Return an index of a unit as an integer; ValueError where there is no such unit."""
    if not isinstance(value, int | float) or not float(value).is_integer():
        raise ValueError(f"units are named by whole numbers from 0 to {n_units - 1}, got {value!r}")
    if not 0 <= value < n_units:
        raise ValueError(f"unit {value:g} is out of range: there are {n_units} units, counted from 0")
    return int(value)


def _index_by_attribute(wanted: Sequence[Any], values: Sequence[Mapping[str, Any]], by: str) -> list[int]:
    having = _units_by_value(values, by)
    if wanted and not having:
        known = list(dict.fromkeys(key for value in values for key in value))
        warnings.warn(
            f"no unit has the neuron attribute {by!r}, so that none is kept; known are {known}",
            UserWarning,
            stacklevel=4,
        )
        return []
    missing = [value for value in wanted if value not in having]
    if missing:
        raise ValueError(f"no unit has {by!r} in {missing}; there are {list(having)[:20]}")
    return [i for value in wanted for i in having[value]]


def _units_by_value(values: Sequence[Mapping[str, Any]], name: str) -> dict[Any, list[int]]:
    units: dict[Any, list[int]] = {}
    for i, value in enumerate(values):
        if name in value:
            units.setdefault(value[name], []).append(i)
    return units
