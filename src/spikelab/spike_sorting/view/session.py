"""Results that are open in the page: the decisions on them, in memory and on disk, and what the page asks of them.

The revision of the decisions is a hash of their file. A change names the revision that it is based on, and the file is
looked at before every change: neither a second window nor another program overwrites what it has not seen.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting import decisions as deciding
from spikelab.spike_sorting.decisions import Decisions, State
from spikelab.spike_sorting.report import counted
from spikelab.spike_sorting.run.results import Results
from spikelab.spike_sorting.view.server import StaleError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from spikelab.spike_sorting.data import SpikeTrains

logger = logging.getLogger(__name__)

SORTING, MANIFEST = "sorting", "manifest.json"
MOST_STEPS = 100_000
HIDDEN = ("second", "points")  # of a step: one bit for each spike, which the page has no use for


class Session:
    """Decisions on the results of one folder."""

    def __init__(self, results: Results, *, read_only: bool = False) -> None:
        self.results, self.read_only = results, read_only
        self.path = results.folder / deciding.FILE
        self.busy = ""  # why nothing can be changed now
        self._lock = threading.RLock()
        self._trains = results.trains
        self._sorted = _stamp(results.stage(SORTING) / MANIFEST)
        self._stamp: tuple[int, ...] | None = None
        self._decisions, self._revision = Decisions.on(self._trains), ""
        self._states: list[State] = []  # after none, one, two, ... of the steps, as far as they were needed

    @property
    def trains(self) -> SpikeTrains:
        """Spike trains of the sort."""
        return self._trains

    def current(self) -> tuple[Decisions, State, str]:
        """Return decisions, the units after them, and the revision, read anew where the file has changed."""
        with self._lock:
            self._require_same_sort()
            stamp = _stamp(self.path)
            if not self._states or stamp != self._stamp:
                self._take(self._read())
                self._stamp, self._revision = stamp, _revision(self.path)
            return self._decisions, self._states[self._decisions.done], self._revision

    def state(self, _: object = None) -> dict[str, Any]:
        """Describe decisions and units for the page."""
        found, state, revision = self.current()
        return {
            "revision": revision,
            "sort": found.sort,
            "done": found.done,
            "steps": [{key: value for key, value in step.items() if key not in HIDDEN} for step in found.steps],
            "counted": counted(found),
            "next_id": state.next_id,
            "units": [{**_described(unit, state), "made": self._made(unit, state)} for unit in state.units.values()],
            "read_only": self.read_only,
            "busy": self.busy,
        }

    def _made(self, unit: deciding.DecidedUnit, state: State) -> str:
        """Tell units of one id apart, as after an undo: by their spikes; "" for those that the page was made with."""
        there = unit if unit.unit_id in state.sizes else self.results.state.units.get(unit.unit_id)
        if there is not None and np.array_equal(there.frames, unit.frames):
            return ""
        return hashlib.blake2b(unit.frames.tobytes(), digest_size=8).hexdigest()

    def unit(self, unit_id: Any) -> deciding.DecidedUnit:
        """Return a unit that is alive; ValueError for another one."""
        units = self.current()[1].units
        number = _whole(unit_id, "id")
        if number not in units:
            raise ValueError(f"there is no unit {number} now: it was merged or split, or was never there")
        return units[number]

    def act(self, step: dict[str, Any], revision: Any) -> dict[str, Any]:
        """Add a step; StaleError where the decisions are not those of `revision` any more."""
        return self._change(revision, lambda found, state: deciding.with_step(found, step, state)[0])

    def undo(self, values: dict[str, Any]) -> dict[str, Any]:
        """Take back the last step, or as many as `values` say."""
        return self._change(values["revision"], lambda found, _: deciding.undone(found, _count(values)))

    def redo(self, values: dict[str, Any]) -> dict[str, Any]:
        """Do the next step again, or as many as `values` say."""
        return self._change(values["revision"], lambda found, _: deciding.redone(found, _count(values)))

    def hold(self, revision: Any, why: str) -> None:
        """Refuse changes from now on, if the decisions are still those of `revision`; :meth:`release` ends that."""
        with self._lock:
            self._require_writable()
            if revision != self.current()[2]:
                raise StaleError(self.state())
            self.busy = why

    def release(self) -> None:
        """Allow changes again."""
        self.busy = ""

    def reload(self, results: Results) -> None:
        """Take up results that were written anew; ValueError where the recording was sorted again meanwhile."""
        with self._lock:
            self._decisions.require_fit(results.trains)
            self.results = results

    def _change(self, revision: Any, change: Callable[[Decisions, State], Decisions]) -> dict[str, Any]:
        with self._lock:
            self._require_writable()
            found, state, now = self.current()
            if revision != now:
                raise StaleError(self.state())
            changed = change(found, state)
            if len(changed.steps) > MOST_STEPS:
                raise ValueError(f"there are {MOST_STEPS} steps already: apply them first")
            if changed != found:
                states = self._replayed(changed)  # before anything is on disk
                deciding.write(self.path, changed)
                self._decisions, self._states = changed, states
                self._stamp, self._revision = _stamp(self.path), _revision(self.path)
            return self.state()

    def _require_writable(self) -> None:
        if self.read_only:
            raise ValueError(f"{self.results.folder} cannot be written to: decisions are not kept")
        if self.busy:
            raise ValueError(self.busy)

    def _require_same_sort(self) -> None:
        """Raise ValueError where the recording was sorted again, with other spikes, since the page was opened."""
        stamp = _stamp(self.results.stage(SORTING) / MANIFEST)
        if stamp != self._sorted:
            Decisions.on(self._trains).require_fit(Results.open(self.results.folder).trains)
            self._sorted = stamp

    def _read(self) -> Decisions:
        try:
            found = deciding.read(self.path)
        except FileNotFoundError:
            return Decisions.on(self._trains)
        found.require_fit(self._trains)
        return found

    def _take(self, found: Decisions) -> None:
        """Take up decisions that another program wrote."""
        none = deciding.state_of(Decisions(found.sort), self._trains, self.results.recording.sampling_frequency)
        self._decisions, self._states = Decisions(found.sort), [none]
        self._decisions, self._states = found, self._replayed(found)

    def _replayed(self, found: Decisions) -> list[State]:
        """Return the states after the steps that count; those before the first new step are known."""
        same = 0
        for now, new in zip(self._decisions.steps, found.counted, strict=False):
            if now is not new and now != new:
                break
            same += 1
        states = self._states[: same + 1]
        for step in found.steps[len(states) - 1 : found.done]:
            states.append(deciding.after(states[-1], step))
        return states


def _described(unit: deciding.DecidedUnit, state: State) -> dict[str, Any]:
    is_new = unit.unit_id not in state.sizes
    counts = unit.spikes_from if is_new else {unit.unit_id: len(unit.frames)}  # of those of the sort it is known
    return {
        "id": unit.unit_id,
        "n": len(unit.frames),
        "verdict": unit.verdict,
        "label": unit.label,
        "from": {str(source): count for source, count in counts.items()},
    }


def _revision(path: Path) -> str:
    """Hash the file of decisions; "" where there is none."""
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=12).hexdigest()
    except FileNotFoundError:
        return ""


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _count(values: dict[str, Any]) -> int:
    steps = _whole(values.get("steps", 1), "steps")
    if steps < 1:
        raise ValueError(f"steps: found {steps}, expected 1 or more")
    return steps


def _whole(value: Any, name: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: found {value!r:.80}, expected a whole number") from error
