"""Recording: open, filter, cut and write the one binary that serves the sorter and the waveforms."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._runlog import logged_warnings
from spikelab.spike_sorting._types import BinaryRecording
from spikelab.spike_sorting.stages.context import Context, stage_seed
from spikelab.spike_sorting.stages.scratch import empty_folder, owner, set_owner

if TYPE_CHECKING:
    from spikelab.spike_sorting.stages.store import Done

logger = logging.getLogger(__name__)

NAME = "recording"
# Settings that say where and how, not what.
NOT_KEYED = ("hdf5_plugin_path", "probe_path")


def recording_stage(context: Context) -> Done[BinaryRecording]:
    """The filtered recording as int16 on disk; its description is the artifact, the traces are heavy."""

    def run(folder: Path, run_id: str) -> dict[str, Any]:
        binary, report = _write_traces(context, run_id)
        (folder / "recording.json").write_text(json.dumps(binary.to_dict(), indent=1), encoding="utf-8")
        return {"report": report, "content": _content_digest(binary)}

    def load(folder: Path) -> BinaryRecording:
        values = json.loads((folder / "recording.json").read_text(encoding="utf-8"))
        return BinaryRecording.from_dict(context.traces_path, values)

    return context.store.load_or_run(
        NAME,
        settings={
            "input": context.fingerprint,
            "probe": _probe_digest(context),
            **context.settings("recording", leave_out=NOT_KEYED),
        },
        inputs={},
        run=run,
        load=load,
        forced_by=context.forced_by("recompute_recording"),
        retry_failure=context.config.execution.recompute_sorting,
    )


def ensure_traces(context: Context, recording: Done[BinaryRecording]) -> BinaryRecording:
    """The recording with its heavy file in place: rewritten, the same to the byte, where it is gone."""
    binary = recording.value
    size = 2 * binary.n_samples * binary.n_channels
    path = context.traces_path
    if owner(path.parent) != recording.run_id or not path.exists() or path.stat().st_size != size:
        _write_traces(context, recording.run_id)
    return binary


def _write_traces(context: Context, run_id: str) -> tuple[BinaryRecording, dict[str, Any]]:
    from spikelab.spike_sorting.recording import write_binary

    execution = context.config.execution
    folder = context.traces_path.parent
    empty_folder(folder)
    workers = execution.n_jobs if execution.use_parallel_processing_for_raw_conversion else 1
    with logged_warnings(logger):
        binary, report = write_binary(
            context.backend.load_recording(context.recording_input),
            context.traces_path,
            n_jobs=workers,
            total_memory=execution.total_memory,
            seed=stage_seed(execution.random_seed, NAME, ""),
        )
    set_owner(folder, run_id)
    return binary, report.to_dict()


def _probe_digest(context: Context) -> str | None:
    """Content of the probe file, for its name may stay while the probe changes."""
    path = context.config.recording.probe_path
    if path is None or not Path(path).is_file():
        return None
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()


def _content_digest(binary: BinaryRecording) -> str:
    """Identity of the traces from blocks at the start, the middle and the end: seeds of later stages come from it."""
    digest = hashlib.blake2b(f"{binary.counts.shape}".encode(), digest_size=16)
    last = max(binary.n_samples - 1000, 0)
    for start in (0, last // 2, last):
        digest.update(binary.counts[start : start + 1000].tobytes())
    return digest.hexdigest()
