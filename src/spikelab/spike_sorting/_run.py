"""One recording through the six stages, with its log, its record and its clean-up."""

from __future__ import annotations

import errno
import json
import logging
import platform
import shutil
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting import stages
from spikelab.spike_sorting._exceptions import (
    BiologicalSortFailure,
    DiskExhaustionError,
    EnvironmentSortFailure,
    HostOutOfMemoryError,
    ResourceSortFailure,
)
from spikelab.spike_sorting._resources import available_cores
from spikelab.spike_sorting._runlog import run_log
from spikelab.spike_sorting.stages import Context, Done, StageStore
from spikelab.spike_sorting.stages.store import now, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spikelab.spike_sorting._inputs import Job
    from spikelab.spike_sorting._types import BinaryRecording, SpikeTrains
    from spikelab.spike_sorting.backends.base import SorterBackend
    from spikelab.spike_sorting.config import SortingPipelineConfig
    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spikedata import SpikeData

logger = logging.getLogger(__name__)

RUN_RECORD = "run.json"
MIN_BATCH = 2
# No permission, a read-only disk, a file where a folder should be.
CANNOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)
HEAVY_FOLDERS = ("recording", "sorting", "waveforms")


@dataclass(frozen=True)
class Sorted:
    """What one recording gave.

    Attributes
    ----------
    results : list of SpikeData
        Curated units, one entry per original file.
    n_units : int
        Units before curation.
    n_curated : int
        Units after it.
    figure_data : (SpikeData, CurationOutcome) or None
        All units and what became of them; kept only where figures are wanted, for it is large.
    """

    results: list[SpikeData]
    n_units: int
    n_curated: int
    figure_data: tuple[SpikeData, CurationOutcome] | None = None


def sort_one(job: Job) -> Sorted:
    """Sort one recording, or load what is there of it."""
    _require_input(job)
    record: dict[str, Any] = {"status": "running", "name": job.name, "started": now(), "attempts": [], "stages": {}}
    with _known_errors(job):
        job.results.mkdir(parents=True, exist_ok=True)
        with run_log(job.results / job.config.execution.out_file) as warnings:
            try:
                results = _sort(job, record)
            except BaseException as error:
                record |= {"status": _status_of(error), "error": {"class": type(error).__name__, "message": str(error)}}
                _log_failure(job, error)
                raise
            else:
                record["status"] = "done"
            finally:
                record |= {"finished": now(), "warnings": list(dict.fromkeys(warnings))}
                _write_record(job.results, record)
    return results


def _require_input(job: Job) -> None:
    """Refuse a path that is not there, before a folder is made for it."""
    if isinstance(job.recording_input, Path) and not job.recording_input.exists():
        error = FileNotFoundError(f"there is no file or folder {job.recording_input}")
        logger.error("%s failed: %s", job.name, error)
        raise error


def _sort(job: Job, record: dict[str, Any]) -> Sorted:
    from spikelab.spike_sorting.compilation import split_by_file

    versions = _versions(job.config)
    record |= {"sorter": job.config.sorter.sorter_name, "versions": versions, "host": _host()}
    logger.info("sorting %s with %s; results go to %s", job.name, job.config.sorter.sorter_name, job.results)
    context = _context(job, versions)
    recording = _note(record, "recording", stages.recording_stage(context))
    sorting = _note(record, "sorting", _sorting_with_smaller_batches(context, recording, record["attempts"]))
    waveforms = _note(record, "waveforms", stages.waveforms_stage(context, recording, sorting))
    units = stages.all_units(context, recording, waveforms)
    curation = _note(record, "curation", stages.curation_stage(context, units, waveforms))
    files = stages.ensure_waveform_files(context, recording, sorting, waveforms)
    compilation = stages.compilation_stage(context, recording, units, curation, files)
    _note(record, "compilation", compilation)
    if job.config.figures.create_figures or job.config.figures.create_unit_figures:
        _note(record, "figures", stages.figures_stage(context, recording, units, curation, files))
    record["units"] = {"sorted": units.N, "curated": curation.value.sd_curated.N}
    _write_extras(job)
    if job.config.execution.delete_inter:
        _delete_intermediate(job)
    if all(stage["loaded"] for stage in record["stages"].values()):
        logger.info("nothing to do: every stage is up to date")
    logger.info(
        "%s: %d of %d units kept; results are in %s", job.name, curation.value.sd_curated.N, units.N, job.results
    )
    curated = curation.value.sd_curated
    figure_data = (units, curation.value) if job.config.figures.create_figures else None
    return Sorted(split_by_file(curated), units.N, curated.N, figure_data)


def _context(job: Job, versions: Mapping[str, str]) -> Context:
    from spikelab.spike_sorting.backends import get_backend_class
    from spikelab.spike_sorting.recording import fingerprint, set_plugin_path

    if job.config.recording.hdf5_plugin_path is not None:
        set_plugin_path(job.config.recording.hdf5_plugin_path)
    config = _effective(job.config)
    return Context(
        recording_input=job.recording_input,
        name=job.name,
        config=config,
        backend=get_backend_class(config.sorter.sorter_name)(config),
        store=StageStore(job.results, versions, _log_start),
        results=job.results,
        intermediate=job.intermediate,
        fingerprint=fingerprint(job.recording_input),
    )


def _log_start(stage: str, reason: str) -> None:
    number = stages.STAGES.index(stage) + 1
    logger.info("stage %d of %d, %s: runs (%s)", number, len(stages.STAGES), stage, reason)


def _effective(config: SortingPipelineConfig) -> SortingPipelineConfig:
    """What this host can do and what somebody will see; nothing of it changes a result.

    There are no more workers than cores. Per-unit waveform files that would be deleted unseen are not written; those
    that are to be compiled are.
    """
    files = config.compilation.compile_waveforms or (
        config.waveform.save_waveform_files and not config.execution.delete_inter
    )
    return config.override(save_waveform_files=files, n_jobs=min(config.execution.n_jobs, available_cores()))


def _sorting_with_smaller_batches(
    context: Context, recording: Done[BinaryRecording], attempts: list[dict[str, Any]]
) -> Done[SpikeTrains]:
    """Run the sorter; when a resource runs out, again with its batch halved, never the same command twice."""
    retries = context.config.execution.resource_retries
    for retry in range(retries + 1):
        try:
            done = stages.sorting_stage(context, recording)
        except ResourceSortFailure as error:
            attempts.append({"sorter_params": context.backend.config.sorter.sorter_params, "error": str(error)})
            smaller = smaller_batch(context.backend)
            if smaller is None or retry == retries or isinstance(error, DiskExhaustionError):
                raise
            logger.warning("%s", error)
            logger.warning("trying again with %s = %d", *smaller)
            context = replace(context, backend=_with_batch(context.backend, *smaller))
        else:
            attempts.append({"sorter_params": context.backend.config.sorter.sorter_params, "error": None})
            return done
    raise AssertionError("unreachable")


def smaller_batch(backend: SorterBackend) -> tuple[str, int] | None:
    """Name and halved value of the sorter's batch setting; None where it has none, or cannot go lower."""
    name = backend.batch_parameter
    if name is None:
        return None
    batch = (backend.config.sorter.sorter_params or {}).get(name, backend.batch_default)
    return (name, int(batch) // 2) if batch and int(batch) >= MIN_BATCH else None


def _with_batch(backend: SorterBackend, name: str, batch: int) -> SorterBackend:
    params = {**(backend.config.sorter.sorter_params or {}), name: batch}
    return type(backend)(backend.config.override(sorter_params=params))


@contextmanager
def _known_errors(job: Job) -> Iterator[None]:
    """Give what the operating system refuses its class: a full disk, no memory, no permission to write."""
    try:
        yield
    except MemoryError as error:
        message = f"{job.name}: this machine's memory ran out ({error}); lower total_memory or n_jobs"
        raise HostOutOfMemoryError(message) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskExhaustionError(
                f"{job.name}: the disk is full; free space where {job.intermediate} and {job.results} are"
            ) from error
        if error.errno in CANNOT_WRITE and _is_ours(error, job):
            raise EnvironmentSortFailure(
                f"{job.name}: cannot write to {error.filename} ({error.strerror}); give folders that can be written as "
                "results_folders and intermediate_folders"
            ) from error
        raise


def _is_ours(error: OSError, job: Job) -> bool:
    if error.filename is None:
        return False
    path = Path(error.filename)
    return any(folder.is_relative_to(path) or path.is_relative_to(folder) for folder in (job.results, job.intermediate))


def _note(record: dict[str, Any], stage: str, done: Done[Any]) -> Done[Any]:
    record["stages"][stage] = {
        "loaded": done.loaded,
        "reason": done.reason,
        "run_id": done.run_id,
        **done.usage,
        **done.info,
    }
    return done


def _status_of(error: BaseException) -> str:
    for kind, status in (
        (BiologicalSortFailure, "biological failure"),
        (EnvironmentSortFailure, "environment failure"),
        (ResourceSortFailure, "resource failure"),
        (KeyboardInterrupt, "interrupted"),
    ):
        if isinstance(error, kind):
            return status
    return "failed"


def _log_failure(job: Job, error: BaseException) -> None:
    logger.error("%s failed: %s: %s", job.name, type(error).__name__, error)
    trace = "".join(traceback.format_exception(error))
    logger.debug(trace)
    with (job.results / job.config.execution.out_file).open("a", encoding="utf-8") as log:
        log.write(trace)


def _write_record(results: Path, record: Mapping[str, Any]) -> None:
    write_atomically(results / RUN_RECORD, json.dumps(record, indent=1, default=str))


def _write_extras(job: Job) -> None:
    from spikelab.spike_sorting._script import repeat_script
    from spikelab.spike_sorting._toml import config_to_toml

    write_atomically(job.results / "config_used.toml", config_to_toml(job.config))
    if job.config.execution.save_script:
        write_atomically(job.results / "sort_again.py", repeat_script(job))


def _delete_intermediate(job: Job) -> None:
    """Remove what this run wrote into the intermediate folder, and the folder itself where nothing else is in it."""
    for name in HEAVY_FOLDERS:
        shutil.rmtree(job.intermediate / name, ignore_errors=True)
    if job.intermediate.is_dir() and not any(job.intermediate.iterdir()):
        job.intermediate.rmdir()


def _versions(config: SortingPipelineConfig) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    from spikelab import __version__

    versions = {"spikelab": __version__, "python": platform.python_version()}
    names = ["spikeinterface", "numpy", "scipy", "numba"]
    if config.sorter.sorter_name == "kilosort4":
        names += ["kilosort", "torch"]
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _host() -> dict[str, str]:
    return {"system": platform.platform(), "machine": platform.machine(), "node": platform.node()}
