"""What evidence is made from: all units of a sort, their curation, and the measured spikes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spikedata._epochs import starts_ms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.data import Evidence, Validation
    from spikelab.spike_sorting.settings.schema import CurationConfig
    from spikelab.spikedata import SpikeData

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

SPIKES_OF_A_PAGE, FEWEST_DRAWN, MOST_DRAWN = 200_000, 320, 3000


@dataclass(frozen=True)
class EvidenceSource:
    """Units of a sort with all that is known of them.

    Attributes
    ----------
    units : SpikeData
        All units of the sort, as the pipeline builds them.
    outcome : CurationOutcome
    curation : CurationConfig
        The settings that `outcome` was made with.
    measured : Evidence or None
        Size and place of every spike; without it amplitudes and places over time are not shown.
    channel_ids : tuple of str
        Names of the channels; without them they are numbered.
    validation : Validation or None
        What known neurons that were put into the recording tell of the units.
    """

    units: SpikeData = field(repr=False)
    outcome: CurationOutcome = field(repr=False)
    curation: CurationConfig = field(repr=False)
    measured: Evidence | None = field(default=None, repr=False)
    channel_ids: tuple[str, ...] = ()
    validation: Validation | None = field(default=None, repr=False)

    @cached_property
    def fs(self) -> float:
        """Sampling rate in Hz."""
        return float(self.units.metadata["fs_Hz"])

    @cached_property
    def n_samples(self) -> int:
        """Length of the recording in frames."""
        return int(self.units.metadata.get("n_samples") or np.ceil(self.units.length * self.fs / 1000))

    @cached_property
    def locations(self) -> FloatArray:
        """Places of the electrodes in um, shape (channels, 2)."""
        return np.asarray(self.units.metadata["channel_locations"], dtype=np.float64).reshape(-1, 2)

    @cached_property
    def attributes(self) -> list[dict[str, Any]]:
        """Attributes of each unit."""
        return list(self.units.unit_attributes)

    @cached_property
    def unit_ids(self) -> list[int]:
        """Ids of the units."""
        return [int(unit) for unit in self.units.unit_ids]

    @cached_property
    def groups(self) -> list[Any]:
        """Group of channels of each unit; None where there is one."""
        return [unit.get("group") for unit in self.attributes]

    @cached_property
    def rows(self) -> dict[int, int]:
        """Row of each unit, by its id."""
        return {unit: row for row, unit in enumerate(self.unit_ids)}

    @cached_property
    def metrics(self) -> dict[int, dict[str, Any]]:
        """Rows of the table of curation, by unit id."""
        return {row["unit_id"]: row for row in self.outcome.unit_metrics}

    @cached_property
    def frames(self) -> list[IntArray]:
        """Aligned frames of each unit, ascending."""
        return [np.asarray(unit["spike_train_samples"], dtype=np.int64) for unit in self.attributes]

    @cached_property
    def offsets(self) -> IntArray:
        """First spike of each unit, and the end, where all spikes lie unit after unit."""
        return np.cumsum([0, *map(len, self.frames)])

    @cached_property
    def starts(self) -> IntArray | None:
        """Frames where a new epoch starts, or dead time begins or ends; None where nothing does."""
        starts = starts_ms(self.units.metadata)
        return None if starts is None else np.rint(starts * self.fs / 1000).astype(np.int64)

    @cached_property
    def amplitudes(self) -> FloatArray:
        """Amplitude of each unit on all channels, in uV, shape (units, channels); zero where it is not known."""
        every = [np.asarray(unit["amplitudes"], dtype=np.float64) for unit in self.attributes]
        return np.nan_to_num(np.stack(every)) if every else np.empty((0, len(self.locations)))

    @cached_property
    def directions(self) -> FloatArray:
        """Amplitudes as vectors of length 1, shape (units, channels); zero where there are none."""
        lengths = np.linalg.norm(self.amplitudes, axis=1, keepdims=True)
        ones: FloatArray = self.amplitudes / np.where(lengths > 0, lengths, 1.0)
        return ones

    @property
    def most_drawn(self) -> int:
        """Number of spikes that are drawn of a unit at most: fewer where there are many units."""
        return int(np.clip(SPIKES_OF_A_PAGE // max(self.units.N, 1), FEWEST_DRAWN, MOST_DRAWN))
