"""Validation of a sort on its own recording: known neurons are put into it, and it is sorted again.

::

    donors -> plan -> inject -> (the sorter) -> score -> predict

``donors`` takes footprints, their drift, sizes and trains from the units of the sort; ``places`` moves a footprint
over the array; ``plan`` chooses which neurons are put where, how large, and when they fire; ``inject`` writes the
traces with them; ``score`` compares; ``predict`` tells what to expect of the units of the sort. ``rounds`` puts these
together: pure functions on arrays, between which the stage ``stages/validation.py`` runs the sorter.
"""

from spikelab.spike_sorting.validation.inject import write_injected
from spikelab.spike_sorting.validation.predict import model_digest
from spikelab.spike_sorting.validation.rounds import (
    CannotValidateError,
    Round,
    conclude,
    injections_for,
    round_of,
    summary_of,
)

__all__ = [
    "CannotValidateError",
    "Round",
    "conclude",
    "injections_for",
    "model_digest",
    "round_of",
    "summary_of",
    "write_injected",
]
