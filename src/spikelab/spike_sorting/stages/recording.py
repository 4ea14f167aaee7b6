"""Recording: open, filter, cut and write the one binary that serves the sorter and the waveforms."""

from __future__ import annotations

import hashlib
import logging
import struct
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError
from spikelab.spike_sorting.data import BinaryRecording
from spikelab.spike_sorting.failures.classifier import cause_of, classify_outside_sorter
from spikelab.spike_sorting.settings.paths import file_of
from spikelab.spike_sorting.stages.checks import require_memory, require_room
from spikelab.spike_sorting.stages.context import Context, stage_seed, traces_path
from spikelab.spike_sorting.stages.manifest import STAGES_FOLDER, Key, Manifest
from spikelab.spike_sorting.stages.scratch import empty_folder, owner, set_owner
from spikelab.system.json_files import read_object, readable
from spikelab.system.runlog import logged_warnings, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.recording.motion import Movement
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
    from spikelab.spike_sorting.stages.store import StageResult

logger = logging.getLogger(__name__)

NAME = "recording"
DESCRIPTION, MOVEMENT_FOLDER = "recording.json", "motion"
FILES = "files"  # in the manifest: the names of the files that the settings named
ONLY_MEASURED = "estimate"  # of the setting `motion`: the traces are as without it
# Errors of readers on files that are damaged, or of another format than their name says.
WHILE_READING = (OSError, EOFError, struct.error, zlib.error, RuntimeError)
WHILE_OPENING = (*WHILE_READING, LookupError, AssertionError, AttributeError)
# Settings that do not change the traces.
NOT_KEYED = ("hdf5_plugin_path", "probe_path", "trust_input")


def recording_stage(context: Context) -> StageResult[BinaryRecording]:
    """Write the filtered recording as int16; its description is the artifact, the traces are heavy."""
    from spikelab.spike_sorting.recording.motion import save_movements

    def run(folder: Path, run_id: str) -> dict[str, Any]:
        binary, report, movements = _write_traces(context, run_id)
        save_movements(movements, folder / MOVEMENT_FOLDER)
        (folder / DESCRIPTION).write_text(readable(binary.to_dict()), encoding="utf-8")
        read = {name: path.name for name, path in named_files(context.config).items()}
        return {"report": report, "content": _content_digest(binary), **({FILES: read} if read else {})}

    def load(folder: Path) -> BinaryRecording:
        return BinaryRecording.from_dict(context.traces_path, read_object(folder / DESCRIPTION))

    retry_failure = context.config.execution.recompute_sorting
    for name, path in named_files(context.config).items():
        if not path.is_file() and _kept_digest(context.store.folder, name, path) is not None:
            warn(f"there is no file {path}: what was read of {path.name} before is kept")
    return context.store.load_or_run(recording_key(context), run=run, load=load, retry_failure=retry_failure)


def recording_key(context: Context) -> Key:
    """Return what the artifact depends on."""
    settings = {
        "input": context.fingerprint,
        "probe": None,
        **context.settings("recording", leave_out=NOT_KEYED),
    }
    for name, path in named_files(context.config).items():  # a name may stay while what is in the file changes
        digest = _digest(path) if path.is_file() else _kept_digest(context.store.folder, name, path)
        settings[name] = digest or settings[name]
    if settings["motion"] == ONLY_MEASURED:
        settings["motion"] = None
    return Key(NAME, settings, forced_by=context.forced_by("recompute_recording"))


def ensure_traces(context: Context, recording: StageResult[BinaryRecording]) -> BinaryRecording:
    """Return the recording with its traces in place: rewritten, the same to the byte, where they are gone."""
    binary = recording.value
    size = 2 * binary.n_samples * binary.n_channels
    path = context.traces_path
    if owner(path.parent) != recording.run_id or not path.exists() or path.stat().st_size != size:
        _write_traces(context, recording.run_id)
    return binary


def write_traces_to(context: Context, path: Path) -> bool:
    """Write the traces to another file; returns whether they equal the sorted ones."""
    binary, _, _ = _write(context, path)
    manifest = Manifest.read(context.store.folder / NAME)
    return manifest is not None and manifest.info.get("content") == _content_digest(binary)


def traces_in_place(results: Path, intermediate: Path) -> Path | None:
    """Return the binary file in `intermediate`, if it is complete and belongs to `results`."""
    manifest = Manifest.read(results / STAGES_FOLDER / NAME)
    path = traces_path(intermediate)
    if manifest is None or not path.is_file() or owner(path.parent) != manifest.run_id:
        return None
    return path


def _write_traces(context: Context, run_id: str) -> tuple[BinaryRecording, dict[str, Any], list[Movement]]:
    folder = context.traces_path.parent
    empty_folder(folder)
    binary, report, movements = _write(context, context.traces_path)
    set_owner(folder, run_id, [context.traces_path])
    return binary, report, movements


def _write(context: Context, path: Path) -> tuple[BinaryRecording, dict[str, Any], list[Movement]]:
    from spikelab.spike_sorting.recording import epochs_of, write_binary
    from spikelab.spike_sorting.recording.motion import movements_of

    execution = context.config.execution
    workers = execution.n_jobs if execution.use_parallel_processing_for_raw_conversion else 1
    with logged_warnings(logger):
        opened = open_input(context)
        if path == context.traces_path:
            n_samples, n_channels = int(opened.get_num_samples()), int(opened.get_num_channels())
            n_epochs = len(epochs_of(opened))
            largest = _largest_group(opened)
            rate = float(opened.get_sampling_frequency())
            require_memory(context, n_samples, n_channels, rate, n_epochs, largest)
            require_room(context, n_samples, n_channels, with_traces=True, largest_group=largest)
        with _errors_of_reading(context, WHILE_READING):
            binary, report = write_binary(
                opened,
                path,
                n_jobs=workers,
                total_memory=max(1, context.backend.for_work),
                seed=stage_seed(execution.random_seed, NAME, ""),
            )
    return binary, report.to_dict(), movements_of(opened)


def _largest_group(opened: BaseRecording) -> int:
    """Return the number of channels of the largest group that is sorted apart; 0 where all are sorted together."""
    from spikelab.spike_sorting.recording.geometry import geometry_of

    geometry = geometry_of(opened)
    return max(map(len, geometry.channels_of_groups())) if geometry.n_groups > 1 else 0


def open_input(context: Context) -> BaseRecording:
    """Open the recording lazily; ValueError or FileNotFoundError if it cannot be read, with the reader's as cause."""
    with _errors_of_reading(context, WHILE_OPENING):
        return context.backend.load_recording(context.recording_input)


@contextmanager
def _errors_of_reading(context: Context, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raise those of `errors` that come from damaged files as ValueError, and what this host lacks as its class."""
    try:
        yield
    except (FileNotFoundError, SpikeSortingClassifiedError):
        raise
    except Exception as error:
        meaning = _meaning(error, errors, context.recording_input)
        if meaning is None:
            raise
        raise meaning from cause_of(meaning, error)


def _meaning(error: Exception, errors: tuple[type[Exception], ...], recording_input: Any) -> Exception | None:
    """Return what an error means that was raised while a recording was read; None where its own words are clear."""
    if isinstance(error, ValueError):  # of a reader of files, which has turned one of `errors` into it
        met = error.__cause__
        return classify_outside_sorter(met) if isinstance(met, errors) else None
    if not isinstance(error, errors):
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return None  # of the operating system: its words are clear
    if isinstance(error, RuntimeError) and "decompress" not in str(error):
        return None  # it may be anything; what zarr's codecs raise has no class of its own
    what = recording_input if isinstance(recording_input, Path) else "the recording in memory"
    return classify_outside_sorter(error) or ValueError(
        f"{what} cannot be read: {type(error).__name__}: {error}. It is damaged, incomplete, or not what its name "
        "says; check first whether the program that wrote it still opens it, and compare its size with the original's"
    )


def named_files(config: SortingPipelineConfig) -> dict[str, Path]:
    """Return the files that the settings of a recording name, by their name in its key."""
    files = {"probe": file_of(config.recording.probe_path), "stim_times_s": file_of(config.recording.stim_times_s)}
    return {name: path for name, path in files.items() if path is not None}


def missing_files(config: SortingPipelineConfig, results: Path) -> list[Path]:
    """Return the files that the settings name and that are not there, but for those that were read before."""
    folder = results / STAGES_FOLDER
    return [
        path
        for name, path in named_files(config).items()
        if not path.exists() and _kept_digest(folder, name, path) is None
    ]


def _kept_digest(folder: Path, name: str, path: Path) -> str | None:
    """Return the digest of a file of this name, as it was when the recording in `folder` was made; None without."""
    manifest = Manifest.read(folder / NAME)
    if manifest is None or manifest.info.get(FILES, {}).get(name) != path.name:
        return None
    return manifest.settings.get(name)


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _content_digest(binary: BinaryRecording) -> str:
    """Compute a digest of blocks at the start, middle and end of the traces: seeds of later stages come from it."""
    digest = hashlib.blake2b(f"{binary.counts.shape}".encode(), digest_size=16)
    last = max(binary.n_samples - 1000, 0)
    for start in (0, last // 2, last):
        digest.update(binary.counts[start : start + 1000].tobytes())
    return digest.hexdigest()
