"""What a validation tells: known neurons that were put into the recording, and what to expect of the units."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spikelab.system.json_files import finite_or_text, plain, read_object, readable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

FILE = "validation.json"
FOUND = 0.8  # accuracy of an injected neuron that counts as found
ABOUT = {
    "expected_accuracy": "Expected accuracy: spikes in common with the neuron, over all spikes of either, as known "
    "neurons that were put into the recording, the unit's own features and its stability tell.",
    "expected_accuracy_low": "Lower end of the 90 % interval of the accuracy.",
    "expected_accuracy_high": "Upper end of the 90 % interval of the accuracy.",
    "expected_recall": "Expected share of the neuron's spikes that the unit has.",
    "expected_precision": "Expected share of the unit's spikes that are the neuron's.",
    "stability": "Agreement with the same unit of a sort of the recording with known neurons in it: spikes in common, "
    "over all spikes of either.",
}
"""Metrics of units that a validation brings along, and what they are; all lie from 0 to 1, NaN is "not known"."""
INJECTED = (
    "round", "donor", "channel", "x", "y", "snr", "rate", "n_spikes", "accuracy", "recall", "precision",
)  # fmt: skip
"""Columns of the table of injected neurons."""


@dataclass(frozen=True)
class Validation:
    """What a validation tells of a sort.

    Attributes
    ----------
    injected : list of dict
        Each injected neuron: the ``round`` of the validation, the unit that lent its footprint (``donor``), ``channel``
        and place (``x``, ``y``, um) of its largest amplitude, ``snr``, ``rate`` (Hz) and ``n_spikes``, and accuracy,
        recall and precision of the unit that was found for it; 0 where none was.
    units : dict of int to dict
        Unit id -> the metrics in :data:`ABOUT`, and how many injected neurons ``alike`` they are from.
    summary : dict
        Of the recording as a whole; see :func:`~spikelab.spike_sorting.validation.summary_of`.

    Examples
    --------
    >>> from spikelab.spike_sorting.data import Validation
    >>> found = Validation(units={3: {"expected_accuracy": 0.97, "stability": 1.0}})
    >>> found.metric("expected_accuracy")
    {3: 0.97}
    """

    injected: list[dict[str, Any]] = field(default_factory=list, repr=False)
    units: dict[int, dict[str, float]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)

    def metric(self, name: str) -> dict[int, float]:
        """Return a metric by unit id; units that it is not known of are left out."""
        return {unit: values[name] for unit, values in self.units.items() if name in values}

    def mean(self, name: str, units: Collection[int] | None = None) -> tuple[float, int]:
        """Return the mean of a metric over the units that it is known of, and their number; NaN and 0 of none.

        `units` are those that count, such as the ones that curation kept; None for all.

        Examples
        --------
        >>> from spikelab.spike_sorting.data import Validation
        >>> found = Validation(units={3: {"stability": 1.0}, 4: {"stability": 0.5}})
        >>> found.mean("stability"), found.mean("stability", {3})
        ((0.75, 2), (1.0, 1))
        """
        values = [
            value
            for unit, value in self.metric(name).items()
            if math.isfinite(value) and (units is None or unit in units)
        ]
        return (math.fsum(values) / len(values) if values else math.nan), len(values)

    def why_no_smallest(self) -> str:
        """Say why it is not known from which SNR on 80 % are found."""
        reasons = {self.summary["n_injected"]: "all of them were", 0: "none of them was"}
        return reasons.get(self.summary["n_found"], "those that were are not larger than those that were not")

    def save(self, folder: Path) -> None:
        """Write ``validation.json``."""
        content = {"injected": self.injected, "units": self.units, "summary": self.summary}
        text = readable(plain(content, number=finite_or_text), allow_nan=False)
        (folder / FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Validation:
        """Read the file that :meth:`save` wrote."""
        content = read_object(folder / FILE)
        units = {int(unit): _numbers(values) for unit, values in content["units"].items()}
        return cls([_numbers(row) for row in content["injected"]], units, content["summary"])


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Read numbers that JSON cannot hold from their names; of all columns, the channel's alone is a text."""
    return {
        name: float(value) if isinstance(value, str) and name != "channel" else value for name, value in values.items()
    }
