"""Input of the writers of all formats: units, their recording, their metrics."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spikedata.curation import isi_violations
from spikelab.system.extras import install_command

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting.data import BinaryRecording, FloatArray, IntArray
    from spikelab.spikedata import SpikeData


@dataclass(frozen=True)
class Handoff:
    """Units on the clock of their recording.

    Attributes
    ----------
    units : SpikeData
        As :func:`~spikelab.spike_sorting.compilation.build_spikedata` makes it, curated or not.
    recording : BinaryRecording
        Channels, epochs and gain; its file is at ``recording.path`` where `has_traces`.
    has_traces : bool
        Whether that file is there.
    template_stds : dict of int to numpy.ndarray
        Unit id -> standard deviation (samples, channels) of the averaged spikes, uV; not every unit need have one.
    metrics : dict of int to dict
        Unit id -> its row of ``CurationOutcome.unit_metrics``.
    """

    units: SpikeData
    recording: BinaryRecording
    has_traces: bool = False
    template_stds: dict[int, FloatArray] = field(default_factory=dict, repr=False)
    metrics: dict[int, dict[str, Any]] = field(default_factory=dict, repr=False)

    @cached_property
    def trains(self) -> SpikeTrains:
        """Spike frames of the units, in their order."""
        ids = np.array(self.units.unit_ids, dtype=np.int64)
        return SpikeTrains(
            ids, tuple(np.asarray(u["spike_train_samples"], np.int64) for u in self.units.neuron_attributes)
        )

    @cached_property
    def templates(self) -> FloatArray:
        """Mean waveforms in microvolts, shape (units, samples, channels); NaN becomes 0."""
        shape = (self.units.N, 0, self.recording.n_channels)
        templates = [unit["template_full"] for unit in self.units.neuron_attributes]
        return np.nan_to_num(np.array(templates, dtype=np.float32)) if templates else np.zeros(shape, np.float32)

    @property
    def n_before(self) -> int:
        """Sample of the spike in `templates`."""
        return int(self.units.metadata["template_full_peak_ind"])

    @property
    def main_channels(self) -> IntArray:
        """Index of each unit's main channel."""
        return np.array([unit["channel"] for unit in self.units.neuron_attributes], dtype=np.int64)

    def columns(self) -> dict[str, list[Any]]:
        """List the scalar attributes of the units by name: metrics, positions, verdicts.

        A column has one value per unit, None where it is not known. Columns without any known value are left out.
        """
        rates, violations = self.units.rates("Hz"), isi_violations(self.units)
        rows = [
            self._scalars(unit) | {"firing_rate": float(rate), "isi_violation": float(violation)}
            for unit, rate, violation in zip(self.units.neuron_attributes, rates, violations, strict=True)
        ]
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: [row.get(name) for row in rows] for name in names}
        return {name: values for name, values in columns.items() if not all(map(_is_unknown, values))}

    def _scalars(self, unit: dict[str, Any]) -> dict[str, Any]:
        """Select the scalar attributes of a unit, and the verdicts of curation on it."""
        verdicts = self.metrics.get(unit["unit_id"], {})
        scalars = {name: value for name, value in unit.items() if _is_single(value)}
        return scalars | {name: value for name, value in verdicts.items() if name in VERDICTS}


# Columns from the table of metrics; other values come from the units, which may have been merged since.
VERDICTS = ("passed", "failed_criterion", "merged_into")


def _is_single(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | np.generic)


def _is_unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def required(package: str, extra: str) -> Any:
    """Import a package that is an extra.

    Raises
    ------
    EnvironmentSortFailure
        If it is not installed, with what to do.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        raise EnvironmentSortFailure(
            f"this needs the package {error.name}, which is not installed: {install_command(extra)}"
        ) from error


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; on another disk, or where that is refused, copy it.

    A second name costs no space, and stays when the first one is deleted.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
