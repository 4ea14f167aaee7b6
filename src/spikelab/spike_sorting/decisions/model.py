"""List of decisions: steps, of which the first so many count."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.decisions.state import State, after, with_new_ids
from spikelab.spike_sorting.decisions.steps import Step, require_step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikelab.spike_sorting.data import SpikeTrains


@dataclass(frozen=True)
class Decisions:
    """Decisions on the units of one sort.

    Attributes
    ----------
    sort : str
        :func:`content_id` of the spike trains that they were made on.
    steps : tuple of dict
        As :func:`require_step` describes them, in the order in which they were made.
    done : int
        How many of the steps count. Those after it were undone, and can be done again.

    Examples
    --------
    >>> from spikelab.spike_sorting.data import SpikeTrains
    >>> from spikelab.spike_sorting.decisions import Decisions
    >>> Decisions.on(SpikeTrains.from_dict({1: [10, 500]}))
    Decisions(sort='...', steps=(), done=0)
    """

    sort: str
    steps: tuple[Step, ...] = ()
    done: int = 0

    @classmethod
    def on(cls, trains: SpikeTrains) -> Decisions:
        """Begin a list of decisions on the units of a sort."""
        return cls(content_id(trains))

    @property
    def counted(self) -> tuple[Step, ...]:
        """Steps that count."""
        return self.steps[: self.done]

    @property
    def regroups(self) -> bool:
        """Whether spikes go to other units: there is a merge or a split."""
        return any(step["do"] != "mark" for step in self.counted)

    def require_fit(self, trains: SpikeTrains) -> None:
        """Raise a ValueError where the decisions were made on other spike trains."""
        found = content_id(trains)
        if self.sort != found:
            raise ValueError(
                f"the decisions were made on other units or spikes (sort {self.sort:.40}); these results have sort "
                f"{found}, with {trains.n_units} units: the recording was sorted again since, or it is another one"
            )


def content_id(trains: SpikeTrains) -> str:
    """Compute the identity of spike trains: it depends on unit ids and frames, and on nothing else."""
    digest = hashlib.blake2b(digest_size=16)
    counts = [len(train) for train in trains.samples]
    for values in (trains.unit_ids, counts, *trains.samples):
        digest.update(np.ascontiguousarray(values, dtype="<i8").tobytes())
    return digest.hexdigest()


def with_step(decisions: Decisions, step: Mapping[str, Any], state: State) -> tuple[Decisions, State]:
    """Add a step to the decisions; steps that were undone are forgotten.

    Parameters
    ----------
    decisions : Decisions
    step : mapping of str to object
        As :func:`require_step` describes it. Without ``into``, new units get the next ids.
    state : State
        Of these decisions, as from :func:`state_of`.

    Returns
    -------
    Decisions, State
        With the step, and after it.

    Raises
    ------
    ValueError
        The step has another form, or does not fit the units as they are.

    Examples
    --------
    >>> from spikelab.spike_sorting.data import SpikeTrains
    >>> from spikelab.spike_sorting.decisions import Decisions, state_of, with_step
    >>> trains = SpikeTrains.from_dict({1: [10, 500], 2: [900]})
    >>> none = Decisions.on(trains)
    >>> one, state = with_step(none, {"do": "mark", "units": [2], "label": "good"}, state_of(none, trains, 20_000.0))
    >>> one.done, state.units[2].label
    (1, 'good')
    """
    complete = require_step(with_new_ids(state, step))
    return replace(decisions, steps=(*decisions.counted, complete), done=decisions.done + 1), after(state, complete)


def undone(decisions: Decisions, steps: int = 1) -> Decisions:
    """Take back the last steps that count, as far as there are any.

    Examples
    --------
    >>> from spikelab.spike_sorting.decisions import Decisions, redone, undone
    >>> decisions = Decisions("of some sort", ({"do": "mark", "units": [2], "label": "good"},), done=1)
    >>> undone(decisions).counted
    ()
    >>> redone(undone(decisions)) == decisions
    True
    """
    return replace(decisions, done=max(decisions.done - steps, 0))


def redone(decisions: Decisions, steps: int = 1) -> Decisions:
    """Do steps again that were undone, as far as there are any.

    Examples
    --------
    >>> from spikelab.spike_sorting.decisions import Decisions, redone
    >>> decisions = Decisions("of some sort", ({"do": "mark", "units": [2], "label": "good"},), done=0)
    >>> redone(decisions).done
    1
    """
    return replace(decisions, done=min(decisions.done + steps, len(decisions.steps)))
