"""Curation: two rounds of criteria over the units; the decisions are the artifact."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.decisions import FILE, with_decisions, write
from spikelab.spike_sorting.stages.manifest import Key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains, Waveforms
    from spikelab.spike_sorting.stages.context import Context
    from spikelab.spike_sorting.stages.decisions import Decided
    from spikelab.spike_sorting.stages.store import StageResult
    from spikelab.spikedata import SpikeData

NAME = "curation"
NO_METRICS: Mapping[str, str] = MappingProxyType({})


def all_units(
    context: Context,
    recording: StageResult[BinaryRecording],
    sorting: StageResult[SpikeTrains],
    waveforms: StageResult[Waveforms],
    decided: Decided | None = None,
) -> SpikeData:
    """Build one ``SpikeData`` of all units from the artifacts; it is not stored."""
    from spikelab.spike_sorting.compilation import build_spikedata

    units = build_spikedata(recording.value, waveforms.value, context.config, sorting.value, context.metadata)
    return with_decisions(units, None if decided is None else decided.record)


def curation_stage(
    context: Context,
    units: SpikeData,
    waveforms: StageResult[Waveforms],
    metrics: Mapping[str, str] = NO_METRICS,
    decided: Decided | None = None,
) -> StageResult[CurationOutcome]:
    """Decide which units are kept, and record why the others are not.

    `metrics` are the run ids of the artifacts, by name, whose metrics have limits. What a person decided is in `units`,
    and is kept beside the outcome as it was `decided`.
    """
    from spikelab.spike_sorting.curation import CurationOutcome, curate_two_rounds

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        outcome = curate_two_rounds(units, context.config.curation)
        outcome.save(folder / "curation.json")
        if decided is not None:
            write(folder / FILE, decided.decisions)
        return {"n_units": outcome.sd_curated.N}

    forced_by = context.forced_by("recurate_first", "recurate_second")
    settings = context.settings("curation")
    if decided is not None:
        settings["decisions"] = decided.key
    return context.store.load_or_run(
        Key(NAME, settings, {"waveforms": waveforms.run_id, **metrics}, forced_by),
        run=run,
        load=lambda folder: CurationOutcome.load(folder / "curation.json", units),
    )
