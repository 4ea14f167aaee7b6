"""Evidence: amplitude and place of every spike, and traces to look at, for the report and for curation by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.data import Evidence
from spikelab.spike_sorting.stages.manifest import Key
from spikelab.spike_sorting.stages.recording import ensure_traces

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting.data import BinaryRecording, Waveforms
    from spikelab.spike_sorting.stages.context import Context
    from spikelab.spike_sorting.stages.store import StageResult

NAME = "evidence"


def evidence_stage(
    context: Context, recording: StageResult[BinaryRecording], waveforms: StageResult[Waveforms]
) -> StageResult[Evidence] | None:
    """Measure every spike; None where that was not done and the results folder cannot be written to.

    An artifact of its own, which nothing but the report depends on.
    """

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        from spikelab.spike_sorting.waveforms.evidence import measure_evidence

        found = measure_evidence(ensure_traces(context, recording), waveforms.value, context.config.execution.n_jobs)
        found.save(folder)
        return {"n_spikes": len(found.amplitudes)}

    key = Key(NAME, {}, {"recording": recording.run_id, "waveforms": waveforms.run_id})
    if context.store.read_only and context.store.find(key) is None:
        return None
    return context.store.load_or_run(key, run=run, load=Evidence.load)
