"""Reading of the units table of an NWB file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from spikelab.spike_sorting.backends.imported.spikeinterface_units import one_value_each, without_empty
from spikelab.spike_sorting.backends.imported.units import ImportedUnits, some
from spikelab.spike_sorting.recording.hdf5 import open_hdf5
from spikelab.spike_sorting.recording.read_errors import reading
from spikelab.spike_sorting.recording.trust import vet_links

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

KIND = "the units of an NWB file"
UNITS, TIMES = "units", "spike_times"
NAMES = ("unit_name", "id")  # columns that name units, the first that tells all apart


def is_nwb(path: Path) -> bool:
    """Whether a path is an NWB file."""
    return path.is_file() and path.suffix.lower() == ".nwb"


def read_nwb_units(path: Path, *, trust: bool = False) -> ImportedUnits:
    """Read the spikes of the units table, in seconds of the session, and its columns with one value for each unit."""
    if not trust:
        vet_links(path)
    with reading(path, "as NWB"), open_hdf5(path) as file:
        units = file.get(UNITS)
        if units is None or TIMES not in units or f"{TIMES}_index" not in units:
            held = "no units" if units is None else f"units without spike times, only {some(sorted(units))}"
            raise ValueError(f"{path} has {held}; expected a units table with {TIMES}")
        trains = _trains(path, units)
        columns = {name: values for name, values in _columns(units, len(trains)) if values is not None}
    return without_empty(ImportedUnits(KIND, path, _ids(columns, len(trains)), trains, columns=columns))


def _trains(path: Path, units: Any) -> tuple[NDArray[np.float64], ...]:
    """Read the spikes of each unit in seconds, ascending."""
    times, ends = units[TIMES][()].astype(np.float64), units[f"{TIMES}_index"][()].astype(np.int64)
    if len(ends) and (ends[-1] > len(times) or (np.diff(ends) < 0).any()):
        raise ValueError(f"{path}: {TIMES}_index leads to {ends[-1]} of {len(times)} spikes; the table is damaged")
    if not np.isfinite(times).all():
        raise ValueError(f"{path}: {int((~np.isfinite(times)).sum())} spike times are no numbers")
    return tuple(map(np.sort, np.split(times, ends)[: len(ends)]))


def _columns(units: Any, n_units: int) -> Iterator[tuple[str, tuple[Any, ...] | None]]:
    for name, item in units.items():
        plain = isinstance(item, h5py.Dataset) and item.shape == (n_units,) and f"{name}_index" not in units
        if plain and not name.endswith("_index") and not h5py.check_ref_dtype(item.dtype):
            yield name, one_value_each(_values(item))


def _values(item: Any) -> NDArray[Any]:
    return np.asarray(item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()])


def _ids(columns: dict[str, tuple[Any, ...]], n_units: int) -> tuple[str, ...]:
    """Name units by the first column that tells all of them apart."""
    for name in NAMES:
        names = tuple(map(str, columns.get(name, ())))
        if len(names) == n_units and len(set(names)) == n_units:
            return names
    return tuple(map(str, range(n_units)))
