"""Compute a metric of another package, and check what comes out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data.spike_trains import MEASURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording
    from spikelab.spike_sorting.metrics.unit_metric import UnitMetric
    from spikelab.spikedata import SpikeData

NAME = re.compile(r"[a-z][a-z0-9_]*")
TAKEN_PREFIXES = ("si_", "failed_", "passed")
TAKEN = ("spike_count", "firing_rate", "isi_violation", "significance", *MEASURES, "merged_into", "sorter_unit_id",
         "group")  # fmt: skip


def measure(name: str, metric: UnitMetric, units: SpikeData, recording: BinaryRecording | None) -> NDArray[np.float64]:
    """Compute a metric of all units; the recording is given to a metric that needs the traces.

    Returns
    -------
    values : numpy.ndarray, shape (units,)
        NaN where the metric is not known.

    Raises
    ------
    ValueError
        For a name that another column has, or values that are not what the metric says.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> from spikelab.spike_sorting.metrics import measure, unit_metric
    >>> @unit_metric("Time of the first spike.", unit="ms", low=0)
    ... def first_ms(units):
    ...     return [train[0] for train in units.train]
    >>> measure("first_ms", first_ms, SpikeData([[3.0], [4.0, 9.0]], length=10.0), None)
    array([3., 4.])
    """
    _require_name(name, units)
    found = np.asarray(metric(units, recording) if metric.needs_traces else metric(units))
    if found.shape != (units.N,):
        raise ValueError(f"it gives an array of shape {found.shape} for {units.N} units, expected ({units.N},)")
    if not (np.issubdtype(found.dtype, np.number) or found.dtype == bool):
        raise ValueError(f"it gives values of type {found.dtype}, expected numbers")
    values = found.astype(np.float64)
    low, high = (-np.inf if metric.low is None else metric.low), (np.inf if metric.high is None else metric.high)
    outside = values[(values < low) | (values > high)]
    if len(outside):
        raise ValueError(f"it gives {outside[0]:g} for a unit, outside of its range from {low:g} to {high:g}")
    return values


def _require_name(name: str, units: SpikeData) -> None:
    attributes = units.unit_attributes[0] if units.N else {}
    if NAME.fullmatch(name) is None:
        raise ValueError("its name must be of small letters, digits and _, and begin with a letter")
    if name.startswith(TAKEN_PREFIXES) or name in TAKEN or name in attributes:
        raise ValueError("every unit has a column of this name already; the metric needs another one")
