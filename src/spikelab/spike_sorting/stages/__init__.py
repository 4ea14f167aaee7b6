"""The six stages, in order; each is one small function ``(context, artifacts it reads) -> artifact``.

::

    recording -> sorting -> waveforms -> curation -> compilation -> figures

Where a person merged or split units, ``decisions.py`` gives their spikes to waveforms in the place of the sorter's.
Artifacts of their own beside them: SpikeInterface's quality metrics (``quality.py``) and those of other packages
(``plugin_metrics.py``) and the validation of the sort (``validation.py``), made only where wanted, and the evidence on
every spike (``evidence.py``), for the report.
"""

from spikelab.spike_sorting.stages.again import METRIC as AGREEMENT
from spikelab.spike_sorting.stages.again import NAME as AGAIN
from spikelab.spike_sorting.stages.again import again_stage, agreement_metric
from spikelab.spike_sorting.stages.checks import require_machine
from spikelab.spike_sorting.stages.compilation import compilation_stage
from spikelab.spike_sorting.stages.context import Context
from spikelab.spike_sorting.stages.curation import all_units, curation_stage
from spikelab.spike_sorting.stages.decisions import Decided, decisions_stage
from spikelab.spike_sorting.stages.evidence import evidence_stage
from spikelab.spike_sorting.stages.figures import (
    draw_overview,
    figures_stage,
    set_outdated_aside,
    set_outdated_overview_aside,
)
from spikelab.spike_sorting.stages.manifest import NOT_DONE
from spikelab.spike_sorting.stages.metric_names import limited_artifacts, require_metrics
from spikelab.spike_sorting.stages.movement import (
    movement_stage,
    movements,
    warn_of_moved_units,
    warn_of_movement,
    with_moved_units,
    with_movement,
)
from spikelab.spike_sorting.stages.outdated import tell_outdated
from spikelab.spike_sorting.stages.plugin_metrics import plugin_metric_stages, with_plugin_metrics
from spikelab.spike_sorting.stages.quality import quality_stage, with_quality
from spikelab.spike_sorting.stages.recording import missing_files, recording_stage
from spikelab.spike_sorting.stages.scratch import delete_scratch
from spikelab.spike_sorting.stages.sorting import sorting_stage, will_sort
from spikelab.spike_sorting.stages.store import StageResult, StageStore
from spikelab.spike_sorting.stages.validation import NAME as VALIDATION
from spikelab.spike_sorting.stages.validation import as_metrics, round_key, round_stage, tell_how_long, validation_stage
from spikelab.spike_sorting.stages.waveforms import ensure_waveform_files, waveforms_stage

STAGES = ("recording", "sorting", "waveforms", "curation", "compilation", "figures")
WORK = {  # of the stages and further artifacts, in words for the log
    "recording": "reads, checks and filters the recording",
    "movement": "measures how the tissue moved",
    "sorting": "finds the neurons and their spikes",
    "decisions": "gives the spikes to the units that were merged or split by hand",
    "waveforms": "measures the waveforms of all units",
    "quality_metrics": "computes SpikeInterface's metrics",
    "validation": "tells what to expect of each unit",
    "again": "tells how far each unit is found again",
    "evidence": "measures every spike, for the report",
    "curation": "chooses the units to keep",
    "compilation": "writes the results",
    "figures": "draws the figures",
}


SORTED_AGAIN = {  # begins of the names of artifacts that are sorts
    "validation_round": "sorts the recording with known neurons in it",
    "trial_": "sorts the recording with known neurons in it by other settings",
    "again_sort": "sorts the recording once more",
}


def work_of(stage: str) -> str:
    """Say in words what a stage or another artifact does; one that is not listed is a metric of another package."""
    sorts = (text for begin, text in SORTED_AGAIN.items() if stage.startswith(begin))
    return WORK.get(stage) or next(sorts, "computes a metric")


def title_of(stage: str) -> str:
    """Name a stage with its number: ``stage 2 of 6, sorting``; further artifacts have none."""
    return f"stage {STAGES.index(stage) + 1} of {len(STAGES)}, {stage}" if stage in STAGES else stage


__all__ = [
    "AGAIN",
    "AGREEMENT",
    "NOT_DONE",
    "STAGES",
    "VALIDATION",
    "Context",
    "Decided",
    "StageResult",
    "StageStore",
    "again_stage",
    "agreement_metric",
    "all_units",
    "as_metrics",
    "compilation_stage",
    "curation_stage",
    "decisions_stage",
    "delete_scratch",
    "draw_overview",
    "ensure_waveform_files",
    "evidence_stage",
    "figures_stage",
    "limited_artifacts",
    "missing_files",
    "movement_stage",
    "movements",
    "plugin_metric_stages",
    "quality_stage",
    "recording_stage",
    "require_machine",
    "require_metrics",
    "round_key",
    "round_stage",
    "set_outdated_aside",
    "set_outdated_overview_aside",
    "sorting_stage",
    "tell_how_long",
    "tell_outdated",
    "title_of",
    "validation_stage",
    "warn_of_moved_units",
    "warn_of_movement",
    "waveforms_stage",
    "will_sort",
    "with_moved_units",
    "with_movement",
    "with_plugin_metrics",
    "with_quality",
    "work_of",
]
