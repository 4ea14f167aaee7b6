"""Compilation: the files of the results folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting._types import BinaryRecording
    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.stages.context import Context
    from spikelab.spike_sorting.stages.store import Done
    from spikelab.spikedata import SpikeData

NAME = "compilation"
# Of the waveform group, what shapes the compiled files.
WAVEFORM_SETTINGS = ("compiled_ms_before", "compiled_ms_after", "scale_compiled_waveforms")


def compilation_stage(
    context: Context,
    recording: Done[BinaryRecording],
    units: SpikeData,
    curation: Done[CurationOutcome],
    waveforms_folder: Path | None,
) -> Done[list[Path]]:
    """Write the results; the artifact is the list of files, each of which is replaced atomically."""
    from spikelab.spike_sorting.compilation import compile_results

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        written = compile_results(
            curation.value.sd_curated,
            units,
            recording.value,
            context.config,
            context.results,
            waveforms_folder=waveforms_folder,
        )
        names = [path.relative_to(context.results).as_posix() for path in written]
        _remove_stale(context, names)
        (folder / "files.json").write_text(json.dumps(names, indent=1), encoding="utf-8")
        return {"files": len(names)}

    def load(folder: Path) -> list[Path]:
        paths = [context.results / name for name in _names(folder)]
        for path in paths:
            if not path.exists():
                raise FileNotFoundError(path)
        return paths

    waveform = context.settings("waveform")
    return context.store.load_or_run(
        NAME,
        settings=context.settings("compilation") | {name: waveform[name] for name in WAVEFORM_SETTINGS},
        inputs={"curation": curation.run_id},
        run=run,
        load=load,
        forced_by=context.forced_by("recompile_single_recording"),
    )


def _names(folder: Path) -> list[str]:
    names: list[str] = json.loads((folder / "files.json").read_text(encoding="utf-8"))
    return names


def _remove_stale(context: Context, written: list[str]) -> None:
    """Files of the run before that this one no longer writes would lie about it."""
    folder = context.store.folder / NAME
    if not (folder / "files.json").exists():
        return
    for name in set(_names(folder)) - set(written):
        (context.results / name).unlink(missing_ok=True)
