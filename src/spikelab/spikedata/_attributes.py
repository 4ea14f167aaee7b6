"""Attributes of units by name, and where the units are."""

from __future__ import annotations

import difflib
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spikelab.spikedata._base import BaseSpikeData

    FloatArray = NDArray[np.float64]

logger = logging.getLogger(__name__)


def get_neuron_attribute(sd: BaseSpikeData, key: str, default: Any = None) -> list[Any]:
    """Return one attribute of every unit.

    Parameters
    ----------
    sd : SpikeData
    key : str
        Name of the attribute, for example ``"snr"``.
    default : optional
        What stands for a unit without it.

    Returns
    -------
    list
        One value per unit. A name that no unit has is a warning in the log, unless there is a `default`.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> SpikeData([[10], [35]], neuron_attributes=[{"snr": 8.0}, {}]).get_neuron_attribute("snr")
    [8.0, None]
    """
    found = _values(sd, key, default)
    if default is None and found and not any(key in values for values in sd.unit_attributes):
        names = dict.fromkeys(name for values in sd.unit_attributes for name in values)
        near = difflib.get_close_matches(str(key), names, n=2)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {', '.join(names) or 'none'}"
        logger.warning("no unit has the attribute %r, so that each gives None; %s", key, hint)
    return found


def _values(sd: BaseSpikeData, key: str, default: Any = None) -> list[Any]:
    return [values.get(key, default) for values in sd.unit_attributes]


def set_neuron_attribute(sd: BaseSpikeData, key: str, values: Any) -> None:
    """Store one attribute of every unit in the object itself.

    Parameters
    ----------
    sd : SpikeData
        `neuron_attributes` becomes a list of dicts where it was None.
    key : str
        Name of the attribute.
    values : sequence or single value
        One value per unit; a single one (a number, a text, None, a dict) is stored for all.

    Raises
    ------
    TypeError
        `key` is no text.
    ValueError
        There are more or fewer values than units.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> sd = SpikeData([[10], [35]])
    >>> sd.set_neuron_attribute("region", ["CA1", "CA3"])
    >>> sd.neuron_attributes
    [{'region': 'CA1'}, {'region': 'CA3'}]
    """
    if not isinstance(key, str):
        raise TypeError(f"the name of a neuron attribute must be a text, got {key!r}")
    is_single = values is None or isinstance(values, str | bytes | dict) or np.isscalar(values) or np.ndim(values) == 0
    each = [values] * sd.N if is_single else list(values)
    if len(each) != sd.N:
        raise ValueError(f"{key!r} has {len(each)} values for {sd.N} units; expected one per unit, or a single value")
    store(sd, [{key: value} for value in each])


def store(sd: BaseSpikeData, updates: Sequence[Mapping[str, Any]]) -> None:
    """Store attributes of each unit in the object itself."""
    sd.neuron_attributes = [{**values, **more} for values, more in zip(sd.unit_attributes, updates, strict=True)]


def unit_locations(sd: BaseSpikeData) -> FloatArray | None:
    """Positions of the units in micrometres, shape (N, 2) or, where all have a third coordinate, (N, 3).

    From the attributes ``x`` and ``y`` (and ``z``), ``location`` or ``position``, or ``channel`` and
    ``metadata["channel_locations"]``; NaN for a unit without any, None where no unit has one.

    Raises
    ------
    ValueError
        A position has fewer than two coordinates.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> SpikeData([[10], [35]], neuron_attributes=[{"x": 3, "y": 4}, {"location": [20, 0]}]).unit_locations
    array([[ 3.,  4.],
           [20.,  0.]])
    """
    found = [_place(values, sd.metadata.get("channel_locations")) for values in sd.unit_attributes]
    known = [len(place) for place in found if place is not None]
    if not known:
        return None
    n = min(known)
    return np.array([np.full(n, np.nan) if place is None else place[:n] for place in found], dtype=np.float64)


def _place(values: Mapping[str, Any], channels: Any) -> FloatArray | None:
    """Return the coordinates of one unit; None where the attributes do not say them."""
    place: Any = values.get("location", values.get("position"))
    if values.get("x") is not None and values.get("y") is not None:
        place = [values[axis] for axis in "xyz" if values.get(axis) is not None]
    elif place is None and values.get("channel") is not None and channels is not None:
        place = np.asarray(channels)[int(values["channel"])]
    if place is None:
        return None
    coordinates = np.asarray(place, dtype=np.float64).ravel()
    if len(coordinates) < 2:
        raise ValueError(f"the position of a unit must be 2 or 3 coordinates in micrometres, got {place!r}")
    return coordinates[:3]


def electrodes(sd: BaseSpikeData) -> NDArray[Any] | None:
    """Attribute ``electrode`` of the units, shape (N,); None where no unit has one.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> SpikeData([[10], [35]], neuron_attributes=[{"electrode": 110}, {"electrode": 7}]).electrodes
    array([110,   7])
    """
    found = _values(sd, "electrode")
    return None if all(value is None for value in found) else np.array(found)
