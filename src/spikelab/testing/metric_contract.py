"""Check that a metric of a package keeps the contract that the pipeline relies on.

For the tests of a package with a metric of its own::

    def test_contract(tmp_path):
        check_metric("burst_share", burst_share, tmp_path)
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.compilation import build_spikedata
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.metrics import UnitMetric, measure
from spikelab.spike_sorting.waveforms import compute_waveforms
from spikelab.testing.backend_contract import synthetic_recording

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording
    from spikelab.spikedata import SpikeData


def check_metric(name: str, metric: UnitMetric, folder: Path) -> NDArray[np.float64]:
    """Compute a metric of three units on 16 channels, and of units with few spikes; takes a second.

    Parameters
    ----------
    name : str
        The name of the entry point, which becomes the name of the column.
    metric : UnitMetric
    folder : Path
        For a recording of 8 MB.

    Returns
    -------
    values : numpy.ndarray, shape (units,)
        Of the three units.

    Raises
    ------
    AssertionError
        With what is wrong with the metric.

    Examples
    --------
    >>> import tempfile
    >>> from spikelab.spike_sorting.metrics import unit_metric
    >>> @unit_metric("Number of spikes.", unit="spikes", low=0)
    ... def spikes_of(units):
    ...     return units.spike_counts
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(check_metric("spikes_of", spikes_of, Path(folder)))
    3
    """
    _require(isinstance(metric, UnitMetric), "it is no UnitMetric: make it with @unit_metric")
    _require(bool(metric.description.strip()), "its description is empty: it says what the number is")
    _require(isinstance(metric.version, str), f"its version must be a text, got {metric.version!r}")
    ends = (metric.low, metric.high)
    _require(None in ends or metric.low < metric.high, f"its range is empty: {ends}")  # type: ignore[operator]
    recording = synthetic_recording(Path(folder) / "traces.dat")
    return check_values(name, metric, synthetic_units(recording), recording)


def check_values(name: str, metric: UnitMetric, units: SpikeData, recording: BinaryRecording) -> NDArray[np.float64]:
    """Check the values of a metric of the units of :func:`synthetic_units`; see :func:`check_metric`."""
    values = _measured(name, metric, units, recording)
    again = _measured(name, metric, units, recording)
    _require(np.array_equal(values, again, equal_nan=True), "two calls give different values: seed what is random")
    backwards = _measured(name, metric, units.subset([2, 1, 0], preserve_order=True), recording)
    _require(np.allclose(values, backwards[::-1], equal_nan=True), "the value of a unit depends on the order of units")
    few = units.replace(
        train=[units.train[0][:1], units.train[1][:2], units.train[2]],
        neuron_attributes=[
            unit | {"spike_train_samples": unit["spike_train_samples"][:n]}
            for unit, n in zip(units.unit_attributes, (1, 2, None), strict=True)
        ],
    )
    _measured(name, metric, few, recording)
    return values


def _measured(name: str, metric: UnitMetric, units: SpikeData, recording: BinaryRecording) -> NDArray[np.float64]:
    before = copy.deepcopy((units.train, units.unit_attributes))
    try:
        values = measure(name, metric, units, recording)
    except Exception as error:
        n_spikes = units.spike_counts.tolist()
        raise AssertionError(f"{name}, of units with {n_spikes} spikes: {type(error).__name__}: {error}") from error
    same = _same(before, (units.train, units.unit_attributes))
    _require(same, "it changes the units that it is given: copy what it changes")
    return values


def synthetic_units(recording: BinaryRecording) -> SpikeData:
    """Build the three units of :func:`~.backend_contract.synthetic_recording` as the pipeline does."""
    traces = recording.read_uv(0, recording.n_samples)
    trains = []
    for channel in (0, 6, 15):
        below = np.flatnonzero(traces[:, channel] < -90)
        trains.append(below[np.concatenate([[True], np.diff(below) > 40])])
    found = SpikeTrains(np.arange(3), tuple(trains))
    config = SortingPipelineConfig()
    waveforms = compute_waveforms(recording, found, config.waveform, seed=0, n_jobs=1, total_memory="1G")
    return build_spikedata(recording, waveforms, config, found)


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(_same(before[name], after[name]) for name in before)
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(_same, before, after))
    return bool(np.array_equal(before, after, equal_nan=isinstance(before, float)))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
