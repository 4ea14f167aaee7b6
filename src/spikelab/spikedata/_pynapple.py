"""Spike data as pynapple objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spikelab.spikedata import _clock
from spikelab.spikedata._attributes import get_neuron_attribute, unit_locations
from spikelab.spikedata._dead_time import dead_time_ms
from spikelab.spikedata._epochs import stretches_ms
from spikelab.system.extras import install_command

if TYPE_CHECKING:
    from spikelab.spikedata._base import BaseSpikeData


def to_pynapple(sd: BaseSpikeData, clock: Literal["recording", "file"] = "recording") -> Any:
    """Convert to a ``pynapple.TsGroup``: times in seconds, one entry per unit.

    Entries are named by ``unit_id`` where these are distinct integers. Its metadata are the attributes that are
    single values (channel, snr, amplitude, ...) and the units' places as x and y, whatever attribute has them; its
    ``time_support`` are the epochs, of which an end is half a sample earlier than the next one's start where they
    touch, for pynapple joins intervals that do.

    Parameters
    ----------
    sd : SpikeData
    clock : {"recording", "file"}, default "recording"
        Clock of the times, as in :meth:`.SpikeData.times`: "recording" is that of `train`, without gaps; "file" is
        that of the file, for what was recorded beside the spikes, and between its epochs are the gaps.

    Returns
    -------
    pynapple.TsGroup

    Raises
    ------
    ImportError
        pynapple is not installed.
    ValueError
        `clock` is "file", and the recording has no clock of its own, or files whose clocks overlap.
    """
    try:
        import pynapple
    except ModuleNotFoundError as error:
        if error.name != "pynapple":
            raise
        raise ImportError(
            f"to_pynapple needs the package pynapple, which is not installed: {install_command('pynapple')}"
        ) from error
    if clock not in ("recording", "file"):
        raise ValueError(f'clock must be "recording" or "file", not {clock!r}')
    support = _support(sd, pynapple, clock)
    times = [_clock.times(sd, unit, clock) / 1000 for unit in range(sd.N)]
    trains = [pynapple.Ts(seconds, time_units="s", time_support=support) for seconds in times]
    group = pynapple.TsGroup(dict(zip(_keys(sd), trains, strict=True)), time_support=support)
    group.set_info(**_columns(sd))
    return group


def _keys(sd: BaseSpikeData) -> list[int]:
    """Return the unit ids where these are distinct integers, else the positions."""
    ids = sd.unit_ids
    whole = all(isinstance(unit, int | np.integer) and not isinstance(unit, bool) for unit in ids)
    return [int(unit) for unit in ids] if whole and len(set(ids)) == len(ids) else list(range(sd.N))


def _support(sd: BaseSpikeData, pynapple: Any, clock: str) -> Any:
    """Return the epochs without dead time; each ends half a sample before the next, for those that touch are joined."""
    support = _support_of_epochs(sd, pynapple, clock)
    dead = dead_time_ms(sd.metadata)
    if not len(dead):
        return support
    if clock != "recording":
        dead = _clock.on_file(sd, dead)
    return support.set_diff(pynapple.IntervalSet(dead[:, 0] / 1000, dead[:, 1] / 1000))


def _support_of_epochs(sd: BaseSpikeData, pynapple: Any, clock: str) -> Any:
    chunks = stretches_ms(sd.metadata) if clock == "recording" else _clock.stretches_on_file(sd)
    if chunks is None or (clock == "recording" and len(chunks) < 2):
        return pynapple.IntervalSet(sd.start_time / 1000, sd.end_time / 1000)
    ends = chunks[:, 1].copy()
    period = 1000 / float(sd.metadata["fs_Hz"]) if "fs_Hz" in sd.metadata else 1e-3
    ends[:-1] = np.minimum(ends[:-1], chunks[1:, 0] - period / 2)
    return pynapple.IntervalSet(chunks[:, 0] / 1000, ends / 1000)


def _columns(sd: BaseSpikeData) -> dict[str, Any]:
    """Collect the attributes that are single values in every unit; where the units are, in any form, as x and y."""
    missing, single = object(), bool | int | float | str | np.generic
    names = list(sd.unit_attributes[0]) if sd.N else []
    found = {name: get_neuron_attribute(sd, name, missing) for name in names if name != "rate"}
    columns = {
        name: np.array(values) for name, values in found.items() if all(isinstance(value, single) for value in values)
    }
    places = unit_locations(sd)
    if places is None:
        return columns
    return columns | {axis: column for axis, column in zip("xyz", places.T, strict=False) if axis not in columns}
