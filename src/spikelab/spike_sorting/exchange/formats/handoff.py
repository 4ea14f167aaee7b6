"""Input of the writers of all formats: units, their recording, their metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.decisions.history import ATTRIBUTES, DECISIONS, HISTORY
from spikelab.spikedata.curation import isi_violations

if TYPE_CHECKING:
    from spikelab.spike_sorting.data import BinaryRecording, FloatArray, IntArray
    from spikelab.spikedata import SpikeData


@dataclass(frozen=True)
class Handoff:
    """Units on the clock of their recording, as ``build_spikedata`` makes them, curated or not."""

    units: SpikeData
    recording: BinaryRecording
    has_traces: bool = False  # whether the file at `recording.path` is there
    # Standard deviation (samples, channels) of a unit's averaged spikes in uV, by unit id; units may lack one.
    template_stds: dict[int, FloatArray] = field(default_factory=dict, repr=False)
    # Row of a unit in ``CurationOutcome.unit_metrics``, by unit id.
    metrics: dict[int, dict[str, Any]] = field(default_factory=dict, repr=False)

    @cached_property
    def trains(self) -> SpikeTrains:
        """Spike frames of the units, in their order."""
        ids = np.array(self.units.unit_ids, dtype=np.int64)
        return SpikeTrains(
            ids, tuple(np.asarray(u["spike_train_samples"], np.int64) for u in self.units.unit_attributes)
        )

    @cached_property
    def templates(self) -> FloatArray:
        """Mean waveforms in microvolts, shape (units, samples, channels); NaN becomes 0."""
        shape = (self.units.N, 0, self.recording.n_channels)
        templates = [unit["template_full"] for unit in self.units.unit_attributes]
        return np.nan_to_num(np.array(templates, dtype=np.float32)) if templates else np.zeros(shape, np.float32)

    @property
    def n_before(self) -> int:
        """Sample of the spike in `templates`."""
        return int(self.units.metadata["template_full_peak_ind"])

    @property
    def main_channels(self) -> IntArray:
        """Index of each unit's main channel."""
        return np.array([unit["channel"] for unit in self.units.unit_attributes], dtype=np.int64)

    def columns(self) -> dict[str, list[Any]]:
        """List the scalar attributes of the units by name: metrics, positions, verdicts; None where one is not known.

        Columns without any known value are left out.
        """
        rates, violations = self.units.rates("Hz"), isi_violations(self.units)
        rows = [
            self._scalars(unit) | {"firing_rate": float(rate), "isi_violation": float(violation)}
            for unit, rate, violation in zip(self.units.unit_attributes, rates, violations, strict=True)
        ]
        rows = [row | said for row, said in zip(rows, self._decisions(), strict=True)]
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: [row.get(name) for row in rows] for name in names}
        return {name: values for name, values in columns.items() if not all(map(_is_unknown, values))}

    def _decisions(self) -> list[dict[str, str]]:
        """Write for each unit what a person's decisions gave it, as far as any unit has it; "" for none."""
        units = self.units.unit_attributes
        if DECISIONS not in self.units.metadata.get(HISTORY, {}):
            return [{} for _ in units]
        given = [name for name in ATTRIBUTES if any(unit.get(name) for unit in units)]
        return [{name: _text(unit.get(name)) for name in given} for unit in units]

    def _scalars(self, unit: dict[str, Any]) -> dict[str, Any]:
        """Select the scalar attributes of a unit, and the verdicts of curation on it."""
        verdicts = self.metrics.get(unit["unit_id"], {})
        scalars = {name: value for name, value in unit.items() if _is_single(value)}
        return scalars | {name: value for name, value in verdicts.items() if name in VERDICTS}


# Columns from the table of metrics; other values come from the units, which may have been merged since.
VERDICTS = ("passed", "failed_criterion", "merged_into")


def _text(value: Any) -> str:
    """Write what a decision gave a unit; "" where it gave nothing."""
    return "; ".join(map(str, value)) if isinstance(value, list) else value or ""


def _is_single(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | np.generic)


def _is_unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))
