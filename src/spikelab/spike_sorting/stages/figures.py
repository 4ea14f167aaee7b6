"""Figures: what the units look like and why they were kept or not."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.stages.store import Done, replace_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spikelab.spike_sorting._types import BinaryRecording
    from spikelab.spike_sorting.config import SortingPipelineConfig
    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.stages.context import Context
    from spikelab.spikedata import SpikeData

NAME = "figures"
FOLDER = "figures"


def figures_stage(
    context: Context,
    recording: Done[BinaryRecording],
    units: SpikeData,
    curation: Done[CurationOutcome],
    waveforms_folder: Path | None,
) -> Done[Path]:
    """Draw ``<results>/figures``; the artifact is the note that it was done."""
    target = context.results / FOLDER

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        n_figures = draw([(context.name, units, curation.value)], context.config, target, waveforms_folder)
        return {"files": n_figures}

    def load(folder: Path) -> Path:  # noqa: ARG001 - the harness's signature
        if not target.is_dir():
            raise FileNotFoundError(target)
        return target

    return context.store.load_or_run(
        NAME,
        settings=context.settings("figures") | context.settings("curation") | _windows(context),
        inputs={"recording": recording.run_id, "curation": curation.run_id},
        run=run,
        load=load,
        forced_by=context.forced_by("recompile_single_recording"),
    )


def _windows(context: Context) -> dict[str, Any]:
    """The compiled window, which the templates are drawn in."""
    waveform = context.settings("waveform")
    return {name: waveform[name] for name in ("compiled_ms_before", "compiled_ms_after")}


def draw(
    recordings: Sequence[tuple[str, SpikeData, CurationOutcome]],
    config: SortingPipelineConfig,
    target: Path,
    waveforms_folder: Path | None = None,
) -> int:
    """Draw all figures of one or several recordings into `target`, which is replaced as a whole; returns how many."""
    from spikelab.spike_sorting.figures import make_figures

    temporary = target.with_name(f".{target.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    written = make_figures(recordings, config, temporary, waveforms_folder=waveforms_folder)
    replace_folder(temporary, target)
    return len(written)
