"""A metric of units that a package brings along: one function, with its unit, range and description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class UnitMetric:
    """A metric of units, made with :func:`unit_metric`; calling it calls its function.

    Attributes
    ----------
    function : callable
        ``function(units)``, or ``function(units, recording)`` where `needs_traces`, returns one number per unit.
    description : str
        What the number is: the formula in a sentence.
    unit : str
        Unit of the values; "" for none.
    low, high : float or None
        Range of possible values; None where there is no end.
    version : str
        Another one makes resumed sorts compute the metric again.
    needs_traces : bool
        Whether the function reads the filtered traces.

    Examples
    --------
    >>> from spikelab.spike_sorting.metrics import UnitMetric
    >>> spikes = UnitMetric(lambda units: units.spike_counts, "Number of spikes.", unit="spikes", low=0)
    >>> spikes.unit, spikes.high
    ('spikes', None)
    """

    function: Callable[..., ArrayLike]
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    version: str = "1"
    needs_traces: bool = False

    def __call__(self, *args: Any) -> ArrayLike:
        """Call the function."""
        return self.function(*args)

    def about(self) -> dict[str, Any]:
        """Describe the metric in values of JSON."""
        names = ("description", "unit", "low", "high", "version")
        return {name: getattr(self, name) for name in names}


def unit_metric(
    description: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    version: str = "1",
    needs_traces: bool = False,
) -> Callable[[Callable[..., ArrayLike]], UnitMetric]:
    """Make a metric of a function; register it under the entry point group ``spikelab.metrics``.

    Parameters
    ----------
    description : str
        What the number is: the formula in a sentence. It goes into NWB files.
    unit : str
        Unit of the values, such as "Hz" or "um"; "" for none.
    low, high : float, optional
        Range of possible values. A value outside is an error of the function; NaN is allowed, for "not known".
    version : str
        Change it with the formula: resumed sorts then compute the metric again.
    needs_traces : bool
        The function takes the filtered recording, a :class:`~spikelab.spike_sorting.data.BinaryRecording`, after the
        units.

    Returns
    -------
    callable
        Decorator of ``function(units) -> array of shape (units,)``; `units` is a `SpikeData` of all units of a sort.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab import SpikeData
    >>> from spikelab.spike_sorting.metrics import unit_metric
    >>> @unit_metric("Share of the intervals below 10 ms.", low=0, high=1)
    ... def burst_share(units):
    ...     return [np.mean(intervals < 10) if len(intervals) else np.nan for intervals in units.interspike_intervals()]
    >>> burst_share(SpikeData([[0.0, 5.0, 105.0]], length=200.0))
    [np.float64(0.5)]
    """

    def made(function: Callable[..., ArrayLike]) -> UnitMetric:
        return UnitMetric(function, description, unit, low, high, version, needs_traces)

    return made
