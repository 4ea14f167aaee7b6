"""State of the units after decisions: the steps are replayed on the spike trains of the sort."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.decisions.steps import Step, unpacked
from spikelab.spikedata._merge import coincident

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.decisions.model import Decisions

DUPLICATE_MS = 0.4
"""Of two spikes this close that come from different units of the sort, a merged unit keeps one."""


@dataclass(frozen=True)
class DecidedUnit:
    """Unit as it is after decisions.

    Attributes
    ----------
    unit_id : int
    frames : numpy.ndarray of int64, shape (spikes,)
        Spikes in frames of the recording, ascending.
    sources : numpy.ndarray of int64, shape (spikes,)
        Unit of the sort that each spike comes from.
    verdict : str or None
        ``"keep"`` or ``"drop"``; None where the criteria of curation decide.
    label : str or None
        Name that a person gave the unit.
    removed : dict of int to int
        Spikes that merges left out as duplicates, by unit of the sort.
    """

    unit_id: int
    frames: IntArray = field(repr=False)
    sources: IntArray = field(repr=False)
    verdict: str | None = None
    label: str | None = None
    removed: dict[int, int] = field(default_factory=dict)

    @property
    def spikes_from(self) -> dict[int, int]:
        """Number of spikes by the unit of the sort that they come from, with those that merges left out."""
        units, counts = np.unique(self.sources, return_counts=True)
        found = dict(zip(units.tolist(), counts.tolist(), strict=True))
        return {unit: found.get(unit, 0) + self.removed.get(unit, 0) for unit in sorted({*found, *self.removed})}


@dataclass(frozen=True)
class State:
    """Units after decisions.

    Attributes
    ----------
    units : dict of int to DecidedUnit
        By id, ascending. Merged and split units of the sort are gone.
    sizes : dict of int to int
        Number of spikes of each unit of the sort.
    next_id : int
        Id that the next new unit gets: one above every id used so far.
    sampling_frequency : float
        In Hz.
    n_removed : int
        Number of spikes that merges left out as duplicates.
    """

    units: dict[int, DecidedUnit]
    sizes: dict[int, int] = field(repr=False)
    next_id: int
    sampling_frequency: float
    n_removed: int = 0

    @property
    def new(self) -> list[DecidedUnit]:
        """Units that the sort does not have."""
        return [unit for unit in self.units.values() if unit.unit_id not in self.sizes]

    def origin(self, unit_id: int) -> dict[str, list[int]]:
        """List the units of the sort that a new unit comes from.

        Returns
        -------
        dict of str to list of int
            ``merged_from``: all of them, where there are several; ``split_from``: those of which other units have
            spikes too. Without keys that would be empty.
        """
        if unit_id in self.sizes:
            return {}
        counts = self.units[unit_id].spikes_from
        split = [unit for unit, count in counts.items() if count < self.sizes[unit]]
        found = {"merged_from": list(counts) if len(counts) > 1 else [], "split_from": split}
        return {name: units for name, units in found.items() if units}

    def second_part(self, split: Step) -> NDArray[np.bool_]:
        """Mark the spikes of a unit, in time order, that a split gives to the second new unit."""
        frames = self.units[split["unit"]].frames
        if split["by"] == "time":
            return frames >= float(split["at_s"]) * self.sampling_frequency
        return unpacked(split["second"], len(frames))


def state_of(decisions: Decisions, trains: SpikeTrains, sampling_frequency: float) -> State:
    """Replay the steps that count on the spike trains of the sort.

    Parameters
    ----------
    decisions : Decisions
    trains : SpikeTrains
        Of the sort.
    sampling_frequency : float
        In Hz.

    Raises
    ------
    ValueError
        The decisions were made on other spikes, or a step does not fit the state before it.

    Examples
    --------
    >>> from spikelab.spike_sorting.data import SpikeTrains
    >>> from spikelab.spike_sorting.decisions import Decisions, state_of, with_step
    >>> trains = SpikeTrains.from_dict({1: [10, 500], 2: [11, 900]})
    >>> decisions = Decisions.on(trains)
    >>> decisions, state = with_step(
    ...     decisions, {"do": "merge", "units": [1, 2]}, state_of(decisions, trains, 20_000.0)
    ... )
    >>> state.units[3].frames, state.origin(3)
    (array([ 10, 500, 900]), {'merged_from': [1, 2]})
    """
    decisions.require_fit(trains)
    ids = trains.unit_ids.tolist()
    units = {
        unit: DecidedUnit(unit, frames, np.broadcast_to(np.int64(unit), len(frames)))
        for unit, frames in zip(ids, trains.samples, strict=True)
    }
    state = State(units, {unit: len(units[unit].frames) for unit in ids}, max(ids, default=-1) + 1, sampling_frequency)
    for number, step in enumerate(decisions.counted, 1):
        state = _replayed(state, step, number)
    return state


def _replayed(state: State, step: Step, number: int) -> State:
    try:
        return after(state, step)
    except ValueError as error:
        raise ValueError(f"step {number} ({step['do']}): {error}") from error


def regrouped(trains: SpikeTrains, state: State) -> SpikeTrains:
    """Give the spike trains of the sort to the units of a state.

    Units that nobody merged or split are as they were. New ones have the group of channels that most of their spikes
    were found on, and instead of the sorter's id those of the units that they come from; what the sorter measured or
    said of units is not known of them.
    """
    rows = {unit: row for row, unit in enumerate(trains.unit_ids.tolist())}
    units = list(state.units.values())
    largest = [rows[max(unit.spikes_from, key=unit.spikes_from.__getitem__, default=unit.unit_id)] for unit in units]
    is_new = [unit.unit_id not in state.sizes for unit in units]
    return SpikeTrains(
        np.array([unit.unit_id for unit in units], dtype=np.int64),
        tuple(unit.frames for unit in units),
        None if trains.groups is None else trains.groups[largest],
        _sorter_ids(units, trains.sorter_ids, rows),
        {name: np.where(is_new, np.nan, values[largest]) for name, values in trains.measures.items()},
        {name: _of_old(said, largest, is_new) for name, said in trains.told.items()},
    )


def _of_old(said: tuple[Any, ...], rows: list[int], is_new: list[bool]) -> tuple[Any, ...]:
    return tuple(None if new else said[row] for row, new in zip(rows, is_new, strict=True))


def _sorter_ids(
    units: list[DecidedUnit], names: tuple[str, ...] | None, rows: dict[int, int]
) -> tuple[str, ...] | None:
    if names is None:
        return None
    return tuple("+".join(names[rows[source]] for source in unit.spikes_from) for unit in units)


def require_redo(decisions: Decisions, state: State) -> None:
    """Check that the steps that were undone fit the state too; a ValueError names the one that does not."""
    for number, step in enumerate(decisions.steps[decisions.done :], decisions.done + 1):
        state = _replayed(state, step, number)


def after(state: State, step: Step) -> State:
    """Return the state after one more step, whose form :func:`require_step` has checked.

    Raises
    ------
    ValueError
        The step does not fit the state.
    """
    return {"mark": _mark, "merge": _merge, "split": _split}[step["do"]](state, step)


def with_new_ids(state: State, step: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a step with the ids of its new units, where it lacks them."""
    do = step.get("do") if isinstance(step, dict) and "into" not in step else None
    into = state.next_id if do == "merge" else [state.next_id, state.next_id + 1] if do == "split" else None
    return step if into is None else {**step, "into": into}


def _alive(state: State, units: list[int]) -> list[DecidedUnit]:
    missing = [unit for unit in units if unit not in state.units]
    if missing:
        raise ValueError(_missing(state, missing))
    return [state.units[unit] for unit in units]


def _missing(state: State, missing: list[int]) -> str:
    first_new = max(state.sizes, default=-1) + 1
    gone = [unit for unit in missing if unit in state.sizes or first_new <= unit < state.next_id]
    told = gone or missing
    found = f"unit {told[0]} is" if len(told) == 1 else f"units {', '.join(map(str, told))} are"
    return f"{found} {'not there any more: merged or split before' if gone else 'not there'}"


def _mark(state: State, step: Step) -> State:
    said = {name: step[name] for name in ("verdict", "label") if name in step}
    marked = {unit.unit_id: replace(unit, **said) for unit in _alive(state, step["units"])}
    return replace(state, units=state.units | marked)


def _merge(state: State, step: Step) -> State:
    units = _alive(state, step["units"])
    frames = np.concatenate([unit.frames for unit in units])
    sources = np.concatenate([unit.sources for unit in units])
    kept = _without_duplicates(frames, sources, state.sampling_frequency)
    labelled = [unit for unit in units if unit.label is not None]
    label = max(labelled, key=lambda unit: len(unit.frames)).label if labelled else None
    removed = _total([*(unit.removed for unit in units), _counts(np.delete(sources, kept))])
    merged = DecidedUnit(step["into"], frames[kept], sources[kept], None, label, removed)
    return replace(_exchanged(state, units, [merged]), n_removed=state.n_removed + len(frames) - len(kept))


def _split(state: State, step: Step) -> State:
    (unit,) = _alive(state, [step["unit"]])
    second = state.second_part(step)
    if second.all() or not second.any():
        n_first, n_second = int((~second).sum()), int(second.sum())
        raise ValueError(f"unit {unit.unit_id} would be split into {n_first} and {n_second} spikes")
    parts = [
        DecidedUnit(new, unit.frames[part], unit.sources[part], None, unit.label)
        for new, part in zip(step["into"], (~second, second), strict=True)
    ]
    return _exchanged(state, [unit], parts)


def _exchanged(state: State, gone: list[DecidedUnit], new: list[DecidedUnit]) -> State:
    """Put new units, which get the next ids, in the place of others."""
    left = {unit.unit_id for unit in gone}
    found, expected = [unit.unit_id for unit in new], [*range(state.next_id, state.next_id + len(new))]
    if found != expected:
        raise ValueError(f"into: found {found}, expected {expected}: ids above every one so far")
    units = {unit_id: unit for unit_id, unit in state.units.items() if unit_id not in left}
    return replace(state, units=units | {unit.unit_id: unit for unit in new}, next_id=state.next_id + len(new))


def _without_duplicates(frames: IntArray, sources: IntArray, sampling_frequency: float) -> IntArray:
    """Return the spikes to keep, in time order: those of smaller sources go where a larger one has a spike as well."""
    # In frames, for times in ms are rounded: 0.4 ms apart would be less or more.
    times, apart = frames.astype(np.float64), DUPLICATE_MS * sampling_frequency / 1000.0
    units, counts = np.unique(sources, return_counts=True)
    kept = np.empty(0, dtype=np.int64)
    for unit in units[np.argsort(-counts, kind="stable")]:
        own = np.flatnonzero(sources == unit)
        own = own[np.argsort(frames[own], kind="stable")]
        own = own[~coincident(times[own], times[kept], apart)]
        kept = np.concatenate([kept, own])
        kept = kept[np.argsort(frames[kept], kind="stable")]
    return kept


def _counts(sources: IntArray) -> dict[int, int]:
    units, counts = np.unique(sources, return_counts=True)
    return dict(zip(units.tolist(), counts.tolist(), strict=True))


def _total(each: list[dict[int, int]]) -> dict[int, int]:
    total: dict[int, int] = {}
    for counts in each:
        for unit, count in counts.items():
            total[unit] = total.get(unit, 0) + count
    return total
