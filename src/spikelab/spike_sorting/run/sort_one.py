"""Sort one recording through the six stages, with log, record and clean-up."""

from __future__ import annotations

import logging
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spikelab.spike_sorting import stages
from spikelab.spike_sorting.data.outcomes import DONE
from spikelab.spike_sorting.failures.system_errors import known_errors
from spikelab.spike_sorting.run.further import added, evidence_of, with_metrics
from spikelab.spike_sorting.run.jobs import unusable_folder
from spikelab.spike_sorting.run.lock import locked
from spikelab.spike_sorting.run.record import (
    FINAL,
    INTERRUPTED,
    SORTED,
    RunRecord,
    earlier_runs,
    failure_line,
    versions_of,
)
from spikelab.spike_sorting.stages import Context, StageResult, StageStore
from spikelab.spike_sorting.stages.store import is_read_only, now
from spikelab.system import files as _files
from spikelab.system.memory import USABLE_SHARE, parse_memory
from spikelab.system.process import exit_codes_are_kept
from spikelab.system.resources import available_cores, available_memory
from spikelab.system.runlog import run_log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.curation.doubts import Doubt
    from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains
    from spikelab.spike_sorting.recording.motion import Movement
    from spikelab.spike_sorting.report import Drift, ReportData, Summary
    from spikelab.spike_sorting.run.jobs import Job
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
    from spikelab.spikedata import SpikeData

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sorted:
    """Outcome of one recording."""

    results: list[SpikeData] | None  # curated units, one entry per original file; None where they are left on disk
    n_units: int  # before curation
    n_curated: int
    figure_data: FigureData | None = None  # only where figures are wanted: it is large
    summary: Summary | None = None  # row of the page of a batch
    wall_s: float | None = None  # time that the stages took, wherever they ran


@dataclass(frozen=True)
class FigureData:
    """Data for figures of several recordings: all units, the decisions about them, and the run id of the figures."""

    run_id: str
    units: SpikeData
    curation: CurationOutcome


@dataclass(frozen=True)
class Limits:
    """Cores and memory that a run may use where it shares its host; None for all. No result depends on them."""

    cores: int | None = None
    memory: int | None = None


def sort_one(job: Job, limits: Limits | None = None) -> Sorted:
    """Sort one recording, or load its finished stages; a failure is logged and raised."""
    done = _sort_with_record(job, limits or Limits())
    assert done is not None
    return done


def run_the_sorter(job: Job, limits: Limits | None = None) -> None:
    """Run the first two stages of `job`, which may need a GPU; :func:`sort_one` goes on from there."""
    _sort_with_record(job, limits or Limits(), only_sorter=True)


def load_results(job: Job) -> list[SpikeData]:
    """Load the curated units of a finished job, one entry per original file."""
    from spikelab.spike_sorting.compilation import split_by_file
    from spikelab.spikedata import SpikeData

    return split_by_file(SpikeData.load(job.results / "sorted_spikedata_curated.npz"))


def _sort_with_record(job: Job, limits: Limits, *, only_sorter: bool = False) -> Sorted | None:
    try:
        _require_input(job)
        _require_folders(job)
        with exit_codes_are_kept():
            return _recorded(job, limits, only_sorter=only_sorter)
    except Exception as error:
        logger.error("%s: %s", job.name, failure_line(error))  # noqa: TRY400 - its trace is in the log
        raise


def _require_input(job: Job) -> None:
    """Raise FileNotFoundError for a path that does not exist, before folders are made for the recording."""
    if job.fingerprint is not None:
        return
    if isinstance(job.recording_input, Path) and not job.recording_input.exists():
        raise FileNotFoundError(f"there is no file or folder {job.recording_input}")
    for path in stages.missing_files(job.config, job.results):
        raise FileNotFoundError(f"there is no file {path}, which the settings name")


def _require_folders(job: Job) -> None:
    """Raise FolderUnusableError where the folders of a recording cannot be made."""
    if (error := unusable_folder(job)) is not None:
        raise error


def _recorded(job: Job, limits: Limits, *, only_sorter: bool) -> Sorted | None:
    """Run the stages, with lock, log, record, report and clean-up; in a read-only folder, load them without any."""
    from spikelab.spike_sorting.report import ReportData

    record, report = RunRecord.start(job), ReportData()
    if is_read_only(job.results):
        logger.info("%s cannot be written to: what is finished there is loaded", job.results)
        with known_errors(job.name, job.results, job.intermediate):
            return _sort(job, record, report, limits, only_sorter=only_sorter)
    log = job.results / job.config.execution.out_file
    with (
        known_errors(job.name, job.results, job.intermediate),
        locked(job.results, job.intermediate),
        run_log(log) as warnings,
    ):
        _files.sweep(job.results, below=True)
        _files.sweep(job.intermediate)
        record.earlier_runs = earlier_runs(job.results)
        record.write(job.results)
        try:
            result = _sort(job, record, report, limits, only_sorter=only_sorter)
        except BaseException as error:
            record.fail(error)
            # On a full disk neither may be written: the error that ended the run is raised.
            with suppress(OSError):
                _trace_to_log(log, error)
            with suppress(OSError):
                _finalise(record, job, warnings)
            raise
        else:
            record.status = SORTED if only_sorter else DONE
            _finalise(record, job, warnings)
        finally:
            _write_report(job, record, report)
            if job.config.execution.delete_inter and record.status in FINAL:
                stages.delete_scratch(job.intermediate)
    return result


def _finalise(record: RunRecord, job: Job, warnings: Sequence[str]) -> None:
    record.stage, record.finished, record.warnings = None, now(), list(dict.fromkeys(warnings))
    record.write(job.results)


def _sort(job: Job, record: RunRecord, report: ReportData, limits: Limits, *, only_sorter: bool) -> Sorted | None:
    """Run the stages; returns None after the sorter's, where only these are wanted."""
    context = _prepare(job, record, limits)
    recording, sorting, moved = _find_spikes(context, record, report)
    if only_sorter:
        return None
    return _find_neurons(job, context, record, report, recording, sorting, moved)


def _prepare(job: Job, record: RunRecord, limits: Limits) -> Context:
    """Make the context of the stages, and check the machine now, rather than after hours of filtering."""
    sorter, versions = job.config.sorter.sorter_name, versions_of(job.config)
    record.sorter, record.versions = sorter, versions
    logger.info("sorting %s with %s; results go to %s", job.name, sorter, job.results)
    context = context_of(job, versions, limits, partial(_announce, job.results, record))
    context = replace(context, sorts=stages.will_sort(context))
    stages.require_machine(context)
    return context


def _find_spikes(
    context: Context, record: RunRecord, report: ReportData
) -> tuple[StageResult[BinaryRecording], StageResult[SpikeTrains], list[Movement]]:
    """Run the stages recording and sorting; return also how the tissue moved."""
    from spikelab.spike_sorting.curation import require_epoch

    recording = added(record, "recording", stages.recording_stage(context))
    movement = stages.movement_stage(context, recording)
    if movement is not None:
        added(record, "movement", movement)
        recording = stages.with_movement(recording, movement)
    report.recording = recording.value
    moved = stages.movements(context, movement)
    report.drifts = [_drift(found) for found in moved]
    stages.warn_of_movement(context, recording.value)
    epoch = context.config.curation.curation_epoch
    if epoch is not None:
        require_epoch(epoch, len(recording.value.epochs))
    sorting = added(record, "sorting", stages.sorting_stage(context, recording, record.attempts))
    report.trains = sorting.value.inside(recording.value.n_samples)
    stages.warn_of_moved_units(context, recording.value, sorting.value)
    record.attempts = sorting.info.get("attempts", [])
    record.versions = {**(record.versions or {}), **sorting.info.get("made_by", {})}
    return recording, sorting, moved


def _drift(found: Movement) -> Drift:
    """Hand what was found of a movement to the report."""
    from spikelab.spike_sorting.report import Drift

    course, seen = found.course, found.map
    way = None if course is None else (course.times_s, course.depths_um, course.moved_um)
    return Drift(str(found.summary["group"]), seen.seconds, seen.depths_um, seen.seen, seen.straightened, way)


def _find_neurons(
    job: Job,
    context: Context,
    record: RunRecord,
    report: ReportData,
    recording: StageResult[BinaryRecording],
    sorting: StageResult[SpikeTrains],
    moved: Sequence[Movement],
) -> Sorted:
    """Run the stages waveforms, curation, compilation and figures."""
    from spikelab.spike_sorting.compilation import split_by_file
    from spikelab.spike_sorting.curation import doubts
    from spikelab.spike_sorting.report import summarise

    decided, sorting = _with_decisions(context, record, report, recording, sorting)
    waveforms = added(record, "waveforms", stages.waveforms_stage(context, recording, sorting))
    waveform_files = partial(stages.ensure_waveform_files, context, recording, sorting, waveforms)
    if context.keeps_waveform_files:
        waveform_files()
    units = stages.all_units(context, recording, sorting, waveforms, decided)
    units = stages.with_moved_units(units, recording.value, moved)
    units, metrics = with_metrics(context, record, report, units, recording, waveforms)
    inputs = metrics | {name: record.stages[name]["run_id"] for name in ("movement",) if name in record.stages}
    limited = stages.limited_artifacts(context.config.curation, inputs)
    curation = added(record, "curation", stages.curation_stage(context, units, waveforms, limited, decided))
    report.units, report.outcome = units, curation.value
    compilation = stages.compilation_stage(context, recording, units, curation, waveform_files, inputs)
    added(record, "compilation", compilation)
    report.evidence = evidence_of(context, record, recording, waveforms)
    if not context.store.read_only:
        _write_extras(job)
    if not curation.loaded:
        stages.tell_outdated(context.results)
    curated = curation.value.sd_curated
    record.units = {"sorted": units.N, "curated": curated.N}
    figures = _draw(context, recording, units, curation, waveform_files)
    if figures is not None:
        added(record, "figures", figures)
    doubted = doubts(units, curation.value, job.config.curation)
    _log_outcome(job, record, curation.value, doubted)
    return Sorted(
        split_by_file(curated),
        units.N,
        curated.N,
        None if figures is None else FigureData(figures.run_id, units, curation.value),
        summarise(units, curation.value, job.config.curation, doubted),
        round(sum(stage["wall_s"] for stage in record.stages.values()), 3),
    )


def _with_decisions(
    context: Context,
    record: RunRecord,
    report: ReportData,
    recording: StageResult[BinaryRecording],
    sorting: StageResult[SpikeTrains],
) -> tuple[stages.Decided | None, StageResult[SpikeTrains]]:
    """Take up a person's decisions, and give the spikes of the sorting to the units that they made."""
    decided = stages.decisions_stage(context, recording, sorting)
    if decided is None:
        return None, sorting
    report.decisions = decided.decisions
    return decided, sorting if decided.trains is None else added(record, "decisions", decided.trains)


def _log_outcome(job: Job, record: RunRecord, outcome: CurationOutcome, doubted: Sequence[Doubt]) -> None:
    from spikelab.spike_sorting.curation import dropped

    if all(stage["loaded"] for stage in record.stages.values()):
        logger.info("nothing to do: every stage is up to date")
    n_units, n_curated = (record.units or {}).values()
    if n_curated < n_units:
        reasons = ", ".join(map(str, dropped(outcome, job.config.curation)))
        if n_curated:
            logger.info("not kept: %s", reasons)
        else:
            logger.warning(
                "no unit was kept of %d: %s. Look at the units in the report, then change these settings: the same "
                "call does not sort again", n_units, reasons,
            )  # fmt: skip
    for doubt in doubted:
        logger.info("%s", doubt)
    logger.info("%s: %d of %d units kept; results are in %s", job.name, n_curated, n_units, job.results)


def _draw(
    context: Context,
    recording: StageResult[BinaryRecording],
    units: SpikeData,
    curation: StageResult[CurationOutcome],
    waveform_files: Callable[[], Path | None],
) -> StageResult[list[Path]] | None:
    """Draw the figures that are wanted. Results that are complete do not fail for a figure."""
    wanted = context.config.figures
    try:
        if not (wanted.create_figures or wanted.create_unit_figures):
            stages.set_outdated_aside(context, curation)
            return None
        return stages.figures_stage(context, recording, units, curation, waveform_files)
    except Exception as error:
        logger.warning("the figures could not be drawn: %s: %s", type(error).__name__, error, exc_info=True)
        return None


def context_of(
    job: Job,
    versions: Mapping[str, str],
    limits: Limits | None = None,
    on_start: Callable[[str, str], None] | None = None,
) -> Context:
    """Make the context of a job's stages; opens nothing, but takes the fingerprint of the input."""
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
        fingerprint=job.fingerprint or fingerprint(job.recording_input, leave_out=(job.results, job.intermediate)),
        wanted_memory=parse_memory(job.config.execution.total_memory),
        metadata=job.metadata,
    )


def _announce(results: Path, record: RunRecord, stage: str, reason: str) -> None:
    """Write which stage starts into the log, and into the record for ``spikelab status``."""
    record.stage = stage
    record.write(results)
    _log_start(stage, reason)


def _log_start(stage: str, reason: str) -> None:
    again = "" if reason == stages.NOT_DONE else f" once more ({reason})"
    logger.info("%s: %s%s", stages.title_of(stage), stages.work_of(stage), again)


def _effective(config: SortingPipelineConfig, limits: Limits) -> SortingPipelineConfig:
    """Adapt settings that change no result to this host, and to the files that stay.

    There are no more workers than cores, and no more memory than there is. Per-unit waveform files are written if they
    stay, or are compiled or drawn.
    """
    files = (
        config.compilation.compile_waveforms
        or config.figures.create_unit_figures
        or (config.waveform.save_waveform_files and not config.execution.delete_inter)
    )
    available = min(available_memory(), limits.memory or available_memory())
    memory = min(parse_memory(config.execution.total_memory), int(USABLE_SHARE * available))
    workers = min(config.execution.n_jobs, limits.cores or available_cores(), available_cores())
    return config.override(save_waveform_files=files, n_jobs=workers, total_memory=max(memory, 1))


def _trace_to_log(path: Path, error: BaseException) -> None:
    """Write the traceback of `error` into the log; the terminal shows the message only."""
    text = "interrupted\n" if isinstance(error, KeyboardInterrupt) else "".join(traceback.format_exception(error))
    with path.open("a", encoding="utf-8") as log:
        log.write(text)


def _write_report(job: Job, record: RunRecord, report: ReportData) -> None:
    """Write the report page; an error of the page neither fails complete results nor hides the error of a run."""
    from spikelab.spike_sorting.report import write_report

    if record.status in (INTERRUPTED, SORTED):
        return
    try:
        write_report(job.results, record.to_dict(), job.config, report)
    except Exception as error:
        logger.warning("the report could not be written: %s: %s", type(error).__name__, error, exc_info=True)


def _write_extras(job: Job) -> None:
    from spikelab.spike_sorting.run.script import repeat_script
    from spikelab.spike_sorting.settings.toml import config_to_toml

    _files.write_text(job.results / "config_used.toml", config_to_toml(job.config))
    if job.config.execution.save_script:
        _files.write_text(job.results / "sort_again.py", repeat_script(job))
