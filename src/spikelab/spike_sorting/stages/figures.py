"""Figures of the units, and of the criteria by which they were kept or not."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.stages.checksums import checks_of, damage, is_checks, recorded_files
from spikelab.spike_sorting.stages.manifest import STAGES_FOLDER, Key, Manifest
from spikelab.spike_sorting.stages.outdated import record_files, set_aside
from spikelab.system import files as _files
from spikelab.system.json_files import read_sealed, readable, sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.data import BinaryRecording
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
    from spikelab.spike_sorting.stages.context import Context
    from spikelab.spike_sorting.stages.store import StageResult
    from spikelab.spikedata import SpikeData

    Drawn = tuple[str, SpikeData, CurationOutcome]

NAME = "figures"
FOLDER = "figures"
# In the overview folder: the run ids that its figures were drawn from.
OVERVIEW_RECORD = "overview.json"
# Settings of the window in which templates are drawn.
WINDOW = ("compiled_ms_before", "compiled_ms_after")


def figures_stage(
    context: Context,
    recording: StageResult[BinaryRecording],
    units: SpikeData,
    curation: StageResult[CurationOutcome],
    waveforms_folder: Callable[[], Path | None],
) -> StageResult[list[Path]]:
    """Draw the figures into ``<results>/figures``; the artifact is the list of files."""
    target = context.results / FOLDER

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        files = waveforms_folder() if context.config.figures.create_unit_figures else None
        written = _draw([(context.name, units, curation.value)], context.config, target, files)
        record_files(folder, context.store.folder / NAME, written, target, context.results)
        return {"files": len(written)}

    settings = context.settings("figures") | context.settings("curation") | context.settings("waveform", only=WINDOW)
    inputs = {"recording": recording.run_id, "curation": curation.run_id}
    return context.store.load_or_run(
        Key(NAME, settings, inputs, context.forced_by("recompile_single_recording")),
        run=run,
        load=lambda folder: recorded_files(folder, target),
        writes_outside=True,
    )


def set_outdated_aside(context: Context, curation: StageResult[CurationOutcome]) -> None:
    """Move figures of an earlier run that show another outcome out of the way, where no new ones are wanted."""
    folder = context.store.folder / NAME
    manifest = Manifest.read(folder)
    if manifest is not None and not context.store.read_only and manifest.inputs.get("curation") != curation.run_id:
        record_files(folder, folder, [], context.results / FOLDER, context.results)
        shutil.rmtree(folder)


def draw_overview(
    recordings: Sequence[Drawn], run_ids: Sequence[str], config: SortingPipelineConfig, target: Path
) -> bool:
    """Draw all recordings together into `target`, unless that was done from the same runs; returns whether it drew.

    `run_ids` are the runs of their figures stages.
    """
    record = target / OVERVIEW_RECORD
    if _is_overview_of(record, run_ids):
        return False
    files = checks_of(_draw(recordings, config, target, None), target)
    _files.write_text(record, readable(sealed({"run_ids": list(run_ids), "files": files})))
    return True


def set_outdated_overview_aside(results: Sequence[Path], target: Path) -> None:
    """Move figures of several recordings in `target` out of the way, where those of one of them are others now."""
    record = target / OVERVIEW_RECORD
    manifests = [Manifest.read(folder / STAGES_FOLDER / NAME) for folder in results]
    try:
        drawn = read_sealed(record)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return  # none, or nothing is known of them
    if drawn.get("run_ids") != [manifest.run_id for manifest in manifests if manifest is not None]:
        set_aside(drawn.get("files", {}), (), target, target)
        record.unlink()


def _is_overview_of(record: Path, run_ids: Sequence[str]) -> bool:
    """Whether the figures beside `record` are of these runs, and undamaged."""
    try:
        content = read_sealed(record)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    files = content.get("files")
    return content.get("run_ids") == list(run_ids) and is_checks(files) and damage(record.parent, files) is None


def _draw(
    recordings: Sequence[Drawn], config: SortingPipelineConfig, target: Path, waveforms_folder: Path | None
) -> list[Path]:
    from spikelab.spike_sorting.figures import make_figures

    target.mkdir(parents=True, exist_ok=True)
    with _files.folder_beside(target / FOLDER) as temporary:
        make_figures(recordings, config, temporary, waveforms_folder=waveforms_folder)
        return [_moved(path, temporary, target) for path in sorted(temporary.rglob("*")) if path.is_file()]


def _moved(path: Path, folder: Path, target: Path) -> Path:
    """Move a file from below `folder` to the same place below `target`; return where it is now."""
    destination = target / path.relative_to(folder)
    destination.parent.mkdir(parents=True, exist_ok=True)
    return path.replace(destination)
