"""Decisions of a person on the units of a sort: verdicts, labels, merges and splits, with undo and redo.

Pure functions on a list of steps; the state is the replay of the steps on the spike trains of the sort.
"""

from spikelab.spike_sorting.decisions.files import FILE, FORMAT, from_content, read, to_content, write
from spikelab.spike_sorting.decisions.history import ATTRIBUTES, record_of, with_decisions
from spikelab.spike_sorting.decisions.model import Decisions, content_id, redone, undone, with_step
from spikelab.spike_sorting.decisions.state import (
    DUPLICATE_MS,
    DecidedUnit,
    State,
    after,
    regrouped,
    require_redo,
    state_of,
)
from spikelab.spike_sorting.decisions.steps import BY_SPIKES, LONGEST_LABEL, VERDICTS, Step, packed, require_step

__all__ = [
    "ATTRIBUTES",
    "BY_SPIKES",
    "DUPLICATE_MS",
    "FILE",
    "FORMAT",
    "LONGEST_LABEL",
    "VERDICTS",
    "DecidedUnit",
    "Decisions",
    "State",
    "Step",
    "after",
    "content_id",
    "from_content",
    "packed",
    "read",
    "record_of",
    "redone",
    "regrouped",
    "require_redo",
    "require_step",
    "state_of",
    "to_content",
    "undone",
    "with_decisions",
    "with_step",
    "write",
]
