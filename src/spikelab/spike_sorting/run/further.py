"""Further artifacts of a run, beside those of the six stages: metrics, validation, evidence."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from spikelab.spike_sorting import stages
from spikelab.spike_sorting.data.validation import ABOUT
from spikelab.system.memory import release

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikelab.spike_sorting.data import BinaryRecording, Evidence, Waveforms
    from spikelab.spike_sorting.report import ReportData
    from spikelab.spike_sorting.run.record import RunRecord
    from spikelab.spike_sorting.stages import Context, StageResult
    from spikelab.spikedata import SpikeData

logger = logging.getLogger(__name__)

T = TypeVar("T")

NOT_VALIDATED = "the sort could not be validated"
NOT_REPEATED = "the sort could not be repeated"


def added(record: RunRecord, stage: str, result: StageResult[T]) -> StageResult[T]:
    """Add the result of a stage to the record, and give freed memory back to the system before the next stage."""
    release()
    record.add(stage, result)
    return result


def with_metrics(
    context: Context,
    record: RunRecord,
    report: ReportData,
    units: SpikeData,
    recording: StageResult[BinaryRecording],
    waveforms: StageResult[Waveforms],
) -> tuple[SpikeData, dict[str, str]]:
    """Add the metrics of SpikeInterface, of other packages and of a validation; return their run ids too."""
    run_ids = {}
    quality = stages.quality_stage(context, recording, waveforms)
    if quality is not None:
        units = stages.with_quality(units, added(record, "quality_metrics", quality).value)
        run_ids["quality_metrics"] = quality.run_id
    others = stages.plugin_metric_stages(context, units, recording, waveforms)
    for stage, result in others.items():
        run_ids[stage] = added(record, stage, result).run_id
    metrics = {stage: result.value for stage, result in others.items()}
    limited = set(context.config.curation.metric_limits or {})
    validation = _guarded(NOT_VALIDATED, stages.validation_stage, context, recording, waveforms, limited & set(ABOUT))
    if validation is not None:
        report.validation = added(record, stages.VALIDATION, validation).value
        run_ids[stages.VALIDATION] = validation.run_id
        metrics |= stages.as_metrics(validation.value)
    again = _guarded(NOT_REPEATED, stages.again_stage, context, recording, waveforms, limited & {stages.AGREEMENT})
    if again is not None:
        run_ids[stages.AGAIN] = added(record, stages.AGAIN, again).run_id
        metrics |= stages.agreement_metric(again.value)
    return stages.with_plugin_metrics(units, metrics), run_ids


def _guarded(
    problem: str,
    stage: Callable[[Context, StageResult[BinaryRecording], StageResult[Waveforms]], StageResult[T] | None],
    context: Context,
    recording: StageResult[BinaryRecording],
    waveforms: StageResult[Waveforms],
    limited: set[str],
) -> StageResult[T] | None:
    """Run a stage that sorts once more; what was sorted is not lost for its failure.

    Where metrics of it are `limited`, its failure is raised: without them no unit would be kept.
    """
    try:
        return stage(context, recording, waveforms)
    except Exception as error:
        if limited:
            raise
        words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        logger.warning("%s: %s", problem, words)
        logger.debug("%s", problem, exc_info=True)
        return None


def evidence_of(
    context: Context,
    record: RunRecord,
    recording: StageResult[BinaryRecording],
    waveforms: StageResult[Waveforms],
) -> Evidence | None:
    """Measure every spike, for the report; results that are complete do not fail for that."""
    try:
        found = stages.evidence_stage(context, recording, waveforms)
    except Exception as error:
        logger.warning("spikes could not be measured: %s: %s", type(error).__name__, error, exc_info=True)
        return None
    return None if found is None else added(record, "evidence", found).value
