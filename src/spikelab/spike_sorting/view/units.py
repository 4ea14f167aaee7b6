"""Units that the page was not made with, put together from the measured spikes of those that it was made with."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import Evidence
from spikelab.spike_sorting.report.evidence import EvidenceSource, evidence_of
from spikelab.spike_sorting.stages.evidence import NAME as EVIDENCE

if TYPE_CHECKING:
    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.decisions import DecidedUnit, State
    from spikelab.spike_sorting.run.results import Results


class PageUnits:
    """Evidence and main channels of units, also of merged and split ones."""

    def __init__(self, results: Results) -> None:
        self.results = results

    def evidence(self, unit: DecidedUnit, state: State) -> dict[str, Any]:
        """Gather what the panel shows of a unit."""
        if unit.unit_id in self.source.rows and unit.unit_id in state.sizes:
            return evidence_of(self.source, unit.unit_id).to_dict()
        attributes = {"label": unit.label, **state.origin(unit.unit_id)}
        return evidence_of(self.source, unit.unit_id, self._places(unit), attributes=attributes).to_dict()

    def main_channel(self, unit: DecidedUnit) -> int | None:
        """Return the main channel of a unit; of a new one, that of the unit which most of its spikes are from."""
        own = self._main.get(unit.unit_id)
        if own is not None or not len(unit.sources):
            return own
        sources, counts = np.unique(unit.sources, return_counts=True)
        return self._main.get(self._made_of.get(int(sources[counts.argmax()]), -1))

    @cached_property
    def source(self) -> EvidenceSource:
        """What the page was made from."""
        results = self.results
        folder = results.stage(EVIDENCE)
        measured = Evidence.load(folder) if (folder / "evidence.npz").is_file() else None
        channels = results.recording.channel_ids
        return EvidenceSource(
            results.units, results.curation, results.config.curation, measured, channels, results.validation
        )

    @cached_property
    def _main(self) -> dict[int, int]:
        waveforms = self.results.waveforms
        return dict(zip(waveforms.unit_ids.tolist(), waveforms.main_channels.tolist(), strict=True))

    @cached_property
    def _made_of(self) -> dict[int, int]:
        """Return the unit of the page that has most spikes of each unit of the sort."""
        found: dict[int, tuple[int, int]] = {}
        for unit in self.results.state.units.values():
            sources, counts = np.unique(unit.sources, return_counts=True)
            for source, count in zip(sources.tolist(), counts.tolist(), strict=True):
                found[source] = max(found.get(source, (0, 0)), (count, unit.unit_id))
        return {source: unit for source, (_, unit) in found.items()}

    @cached_property
    def _order(self) -> tuple[IntArray, IntArray, IntArray]:
        """Unit of the sort, frame, and place of all spikes of the page, by the first and then by the second."""
        units = [self.results.state.units[unit] for unit in self.source.units.unit_ids]
        none = np.empty(0, dtype=np.int64)
        sources = np.concatenate([none, *(unit.sources for unit in units)])
        frames = np.concatenate([none, *(unit.frames for unit in units)])
        if len(frames) != self.source.offsets[-1]:
            raise ValueError("the measured spikes are not those of the sort: apply the decisions to see these units")
        order = np.lexsort((frames, sources))
        return sources[order], frames[order], order

    def _places(self, unit: DecidedUnit) -> IntArray:
        """Find the spikes of a unit among all of the page; what an applied merge left out is not found."""
        sources, frames, places = self._order
        found = []
        for source in np.unique(unit.sources):
            first, last = np.searchsorted(sources, [source, source + 1])
            wanted = unit.frames[unit.sources == source]
            at = np.searchsorted(frames[first:last], wanted)
            at = at[(at < last - first)]
            hits = np.isin(frames[first:last][at], wanted)
            found.append(places[first:last][at[hits]])
        return np.concatenate(found)
