"""One recording through the six stages, with its log, its record and its clean-up."""

from __future__ import annotations

import logging
import os
import platform
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting import stages
from spikelab.spike_sorting._exceptions import (
    BiologicalSortFailure,
    EnvironmentSortFailure,
    ResourceSortFailure,
)
from spikelab.spike_sorting.failures.system_errors import known_errors
from spikelab.spike_sorting.run.lock import locked
from spikelab.spike_sorting.run.record import RUN_RECORD, read_record
from spikelab.spike_sorting.stages import Context, Done, StageStore
from spikelab.spike_sorting.stages.store import is_read_only, now
from spikelab.system import files as _files
from spikelab.system.host import available_memory
from spikelab.system.json_files import readable
from spikelab.system.memory import USABLE_SHARE, parse_memory, release
from spikelab.system.process import exit_codes_are_kept, this_process
from spikelab.system.resources import available_cores
from spikelab.system.runlog import run_log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.data import BinaryRecording
    from spikelab.spike_sorting.report import Shown, Summary
    from spikelab.spike_sorting.run.jobs import Job
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
    from spikelab.spikedata import SpikeData

logger = logging.getLogger(__name__)

# How a run can end for good; after anything else the same call needs the intermediate files again.
FINAL = ("done", "biological failure")
SORTED = "sorted"  # the rest of the stages is another task's
EARLIER_RUNS = 20


@dataclass(frozen=True)
class Sorted:
    """What one recording gave.

    Attributes
    ----------
    results : list of SpikeData or None
        Curated units, one entry per original file; None where they were left on disk.
    n_units : int
        Units before curation.
    n_curated : int
        Units after it.
    figure_data : FigureData or None
        Kept only where figures are wanted, for it is large.
    summary : Summary or None
        What the page of a batch shows of it.
    wall_s : float or None
        What its stages took, wherever they ran.
    """

    results: list[SpikeData] | None
    n_units: int
    n_curated: int
    figure_data: FigureData | None = None
    summary: Summary | None = None
    wall_s: float | None = None


@dataclass(frozen=True)
class FigureData:
    """What figures of several recordings are drawn from: all units, what became of them, and the run they are of."""

    run_id: str
    units: SpikeData
    curation: CurationOutcome


@dataclass(frozen=True)
class Limits:
    """What a run may use of its host, where it is not alone there; None for all of it. No result depends on it."""

    cores: int | None = None
    memory: int | None = None


def sort_one(job: Job, limits: Limits | None = None) -> Sorted:
    """Sort one recording, or load what is there of it; a failure is logged and raised."""
    done = _sort_with_record(job, limits or Limits())
    assert done is not None
    return done


def run_the_sorter(job: Job, limits: Limits | None = None) -> None:
    """The first two stages of `job`, which are all that a GPU is good for; :func:`sort_one` goes on from there."""
    _sort_with_record(job, limits or Limits(), only_sorter=True)


def load_results(job: Job) -> list[SpikeData]:
    """What a finished job left in its results folder: curated units, one entry per original file."""
    from spikelab.spike_sorting.compilation import split_by_file
    from spikelab.spikedata import SpikeData

    return split_by_file(SpikeData.load(job.results / "sorted_spikedata_curated.npz"))


def _sort_with_record(job: Job, limits: Limits, *, only_sorter: bool = False) -> Sorted | None:
    try:
        _require_input(job)
        with exit_codes_are_kept():
            return _recorded(job, limits, only_sorter=only_sorter)
    except Exception as error:
        logger.error("%s failed: %s: %s", job.name, type(error).__name__, error)  # noqa: TRY400 - its trace is in the log
        raise


def _from(results: Path, path: Any) -> str | None:
    """`path` relative to the results folder, so that both can be moved; None of a recording in memory."""
    if not isinstance(path, Path):
        return None
    try:
        return Path(os.path.relpath(path, results)).as_posix()
    except ValueError:  # another drive
        return path.absolute().as_posix()


def _require_input(job: Job) -> None:
    """Refuse a path that is not there, before a folder is made for it."""
    if isinstance(job.recording_input, Path) and not job.recording_input.exists():
        raise FileNotFoundError(f"there is no file or folder {job.recording_input}")


def _recorded(job: Job, limits: Limits, *, only_sorter: bool) -> Sorted | None:
    from spikelab.spike_sorting.report import Shown

    shown = Shown()
    if is_read_only(job.results):
        logger.info("%s cannot be written to: what is finished there is loaded", job.results)
        with known_errors(job.name, job.results, job.intermediate):
            return _sort(job, {"attempts": [], "stages": {}}, shown, limits, only_sorter=only_sorter)
    record: dict[str, Any] = {"status": "running", "name": job.name, "started": now(), "attempts": [], "stages": {}}
    record |= {"pid": os.getpid(), "process": this_process(), "host": _host()}
    record |= {name: _from(job.results, getattr(job, name)) for name in ("recording_input", "intermediate")}
    log = job.results / job.config.execution.out_file
    with (
        known_errors(job.name, job.results, job.intermediate),
        locked(job.results, job.intermediate),
        run_log(log) as warnings,
    ):
        _files.sweep(job.results, below=True)
        _files.sweep(job.intermediate)
        record["earlier_runs"] = _earlier_runs(job.results)
        _write_record(job.results, record)
        try:
            done = _sort(job, record, shown, limits, only_sorter=only_sorter)
        except BaseException as error:
            record |= {"status": status_of(error), "error": {"class": type(error).__name__, "message": str(error)}}
            # A full disk: what ended the run is raised, not that it could not be noted.
            with suppress(OSError):
                _trace_to_log(log, error)
            with suppress(OSError):
                _end_record(job, record, warnings)
            raise
        else:
            record["status"] = SORTED if only_sorter else "done"
            _end_record(job, record, warnings)
        finally:
            _write_report(job, record, shown)
            if job.config.execution.delete_inter and record["status"] in FINAL:
                stages.delete_scratch(job.intermediate)
    return done


def _end_record(job: Job, record: dict[str, Any], warnings: Sequence[str]) -> None:
    record.pop("stage", None)
    record |= {"finished": now(), "warnings": list(dict.fromkeys(warnings))}
    _write_record(job.results, record)


def _sort(job: Job, record: dict[str, Any], shown: Shown, limits: Limits, *, only_sorter: bool) -> Sorted | None:
    from spikelab.spike_sorting.compilation import split_by_file
    from spikelab.spike_sorting.curation import require_epoch
    from spikelab.spike_sorting.report import summarise

    config = job.config
    record |= {"sorter": config.sorter.sorter_name, "versions": _versions(config)}
    logger.info("sorting %s with %s; results go to %s", job.name, config.sorter.sorter_name, job.results)
    # Looked at now, rather than after hours of filtering.
    on_start = partial(_note_start, job.results, record)
    context = stages.looked_at(context_of(job, record["versions"], limits, on_start))
    recording = _note(record, "recording", stages.recording_stage(context))
    shown.recording = recording.value
    if config.curation.curation_epoch is not None:
        require_epoch(config.curation.curation_epoch, len(recording.value.epochs))
    sorting = _note(record, "sorting", stages.sorting_stage(context, recording, record["attempts"]))
    record["attempts"] = sorting.info.get("attempts", [])
    record["versions"] |= sorting.info.get("made_by", {})
    if only_sorter:
        return None
    waveforms = _note(record, "waveforms", stages.waveforms_stage(context, recording, sorting))
    waveform_files = partial(stages.ensure_waveform_files, context, recording, sorting, waveforms)
    if not (config.execution.delete_inter or context.store.read_only):
        waveform_files()  # somebody wants to see them
    quality = stages.quality_stage(context, recording, waveforms)
    if quality is not None:
        _note(record, "quality_metrics", quality)
    metrics = None if quality is None else quality.value
    units = stages.with_quality(stages.all_units(context, recording, waveforms), metrics)
    curation = _note(record, "curation", stages.curation_stage(context, units, waveforms))
    shown.units, shown.outcome = units, curation.value
    compilation = stages.compilation_stage(context, recording, units, curation, waveform_files, quality)
    _note(record, "compilation", compilation)
    if not context.store.read_only:
        _write_extras(job)
    curated = curation.value.sd_curated
    record["units"] = {"sorted": units.N, "curated": curated.N}
    figures_run_id = _draw(record, context, recording, units, curation, waveform_files)
    if all(stage["loaded"] for stage in record["stages"].values()):
        logger.info("nothing to do: every stage is up to date")
    if curated.N < units.N:
        logger.info("not kept: %s", why_not_kept(curation.value))
    logger.info("%s: %d of %d units kept; results are in %s", job.name, curated.N, units.N, job.results)
    figure_data = None if figures_run_id is None else FigureData(figures_run_id, units, curation.value)
    wall_s = sum(stage["wall_s"] for stage in record["stages"].values())
    return Sorted(
        split_by_file(curated), units.N, curated.N, figure_data, summarise(units, curation.value), round(wall_s, 3)
    )


def why_not_kept(outcome: CurationOutcome) -> str:
    """How many units failed which criterion, for example ``3 by snr, 1 by spike_count``."""
    counts = Counter(row["failed_criterion"] for row in outcome.unit_metrics if row["failed_criterion"] is not None)
    return ", ".join(f"{count} by {criterion}" for criterion, count in counts.most_common())


def _draw(
    record: dict[str, Any],
    context: Context,
    recording: Done[BinaryRecording],
    units: SpikeData,
    curation: Done[CurationOutcome],
    waveform_files: Callable[[], Path | None],
) -> str | None:
    """Draw the figures that are wanted; returns their run id. Results that are complete do not fail for a figure."""
    wanted = context.config.figures
    if not (wanted.create_figures or wanted.create_unit_figures):
        stages.discard_outdated(context, curation)
        return None
    try:
        figures = stages.figures_stage(context, recording, units, curation, waveform_files)
    except Exception as error:
        logger.warning("the figures could not be drawn: %s: %s", type(error).__name__, error, exc_info=True)
        return None
    return _note(record, "figures", figures).run_id


def context_of(
    job: Job,
    versions: Mapping[str, str],
    limits: Limits | None = None,
    on_start: Callable[[str, str], None] | None = None,
) -> Context:
    """What the stages of a job may use; opens nothing but looks at the input."""
    from spikelab.spike_sorting.backends import get_backend_class
    from spikelab.spike_sorting.recording import fingerprint, set_plugin_path

    if job.config.recording.hdf5_plugin_path is not None:
        set_plugin_path(job.config.recording.hdf5_plugin_path)
    config = _effective(job.config, limits or Limits())
    return Context(
        recording_input=job.recording_input,
        name=job.name,
        config=config,
        backend=get_backend_class(config.sorter.sorter_name)(config),
        store=StageStore(job.results, versions, on_start or _log_start),
        results=job.results,
        intermediate=job.intermediate,
        fingerprint=fingerprint(job.recording_input, leave_out=(job.results, job.intermediate)),
        wanted_memory=parse_memory(job.config.execution.total_memory),
    )


def _note_start(results: Path, record: dict[str, Any], stage: str, reason: str) -> None:
    """Say which stage starts: in the log, and in the record for those who look from outside."""
    record["stage"] = stage
    _write_record(results, record)
    _log_start(stage, reason)


def _log_start(stage: str, reason: str) -> None:
    if stage not in stages.STAGES:
        logger.info("%s: runs (%s)", stage, reason)
        return
    number = stages.STAGES.index(stage) + 1
    logger.info("stage %d of %d, %s: runs (%s)", number, len(stages.STAGES), stage, reason)


def _effective(config: SortingPipelineConfig, limits: Limits) -> SortingPipelineConfig:
    """What this host can do and what somebody will see; nothing of it changes a result.

    There are no more workers than cores, and no more memory than there is. Per-unit waveform files that would be
    deleted unseen are not written; those that are to be compiled or drawn are.
    """
    files = (
        config.compilation.compile_waveforms
        or config.figures.create_unit_figures
        or (config.waveform.save_waveform_files and not config.execution.delete_inter)
    )
    there_is = min(available_memory(), limits.memory or available_memory())
    memory = min(parse_memory(config.execution.total_memory), int(USABLE_SHARE * there_is))
    workers = min(config.execution.n_jobs, limits.cores or available_cores(), available_cores())
    return config.override(save_waveform_files=files, n_jobs=workers, total_memory=max(memory, 1))


def _note(record: dict[str, Any], stage: str, done: Done[Any]) -> Done[Any]:
    release()  # what one stage has freed, the next does not find in its way
    record["stages"][stage] = {
        "loaded": done.loaded,
        "reason": done.reason,
        "run_id": done.run_id,
        **done.usage,
        **done.info,
    }
    return done


def status_of(error: BaseException) -> str:
    """What ``run.json`` calls a run that ended in `error`."""
    for kind, status in (
        (BiologicalSortFailure, "biological failure"),
        (EnvironmentSortFailure, "environment failure"),
        (ResourceSortFailure, "resource failure"),
        (KeyboardInterrupt, "interrupted"),
    ):
        if isinstance(error, kind):
            return status
    return "failed"


def _trace_to_log(path: Path, error: BaseException) -> None:
    """Where it happened, for those who have to find out why; a terminal is spared it."""
    text = "interrupted\n" if isinstance(error, KeyboardInterrupt) else "".join(traceback.format_exception(error))
    with path.open("a", encoding="utf-8") as log:
        log.write(text)


def _earlier_runs(results: Path) -> list[dict[str, Any]]:
    """How the runs before this one in the same folder ended, oldest first: a retry does not hide what it followed."""
    try:
        before = read_record(results / RUN_RECORD)
        runs = [*before.get("earlier_runs", []), {name: before.get(name) for name in ("started", "finished", "status")}]
        runs[-1] |= {"error": before.get("error"), "attempts": before.get("attempts")}
    except (OSError, ValueError):
        return []
    if runs[-1]["status"] == "running":  # it does not: we have its lock
        runs[-1]["status"] = "killed"
    return runs[-EARLIER_RUNS:]


def _write_record(results: Path, record: Mapping[str, Any]) -> None:
    _files.write_text(results / RUN_RECORD, readable(record, default=str))


def _write_report(job: Job, record: Mapping[str, Any], shown: Shown) -> None:
    """The record for people. Results that are complete do not fail for it, nor does it hide why others are not."""
    from spikelab.spike_sorting.report import write_report

    if record["status"] in ("interrupted", SORTED):
        return
    try:
        write_report(job.results, record, job.config, shown)
    except Exception as error:
        logger.warning("the report could not be written: %s: %s", type(error).__name__, error, exc_info=True)


def _write_extras(job: Job) -> None:
    from spikelab.spike_sorting.run.script import repeat_script
    from spikelab.spike_sorting.settings.toml import config_to_toml

    _files.write_text(job.results / "config_used.toml", config_to_toml(job.config))
    if job.config.execution.save_script:
        _files.write_text(job.results / "sort_again.py", repeat_script(job))


def _versions(config: SortingPipelineConfig) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    from spikelab import __version__

    versions = {"spikelab": __version__, "python": platform.python_version()}
    names = ["spikeinterface", "numpy", "scipy", "numba"]
    if config.sorter.sorter_name == "kilosort4" and not config.sorter.use_docker:
        names += ["kilosort", "torch"]
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _host() -> dict[str, str]:
    return {"system": platform.platform(), "machine": platform.machine(), "node": platform.node()}
