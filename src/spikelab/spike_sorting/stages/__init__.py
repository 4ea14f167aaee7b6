"""The six stages, in order; each is one small function ``(context, artifacts it reads) -> artifact``.

::

    recording -> sorting -> waveforms -> curation -> compilation -> figures

SpikeInterface's quality metrics (``quality.py``) are an artifact of their own beside them, made only where wanted.
"""

from spikelab.spike_sorting.stages.checks import require_machine
from spikelab.spike_sorting.stages.compilation import compilation_stage
from spikelab.spike_sorting.stages.context import Context
from spikelab.spike_sorting.stages.curation import all_units, curation_stage
from spikelab.spike_sorting.stages.figures import discard_outdated, draw_overview, figures_stage
from spikelab.spike_sorting.stages.quality import quality_stage, with_quality
from spikelab.spike_sorting.stages.recording import recording_stage
from spikelab.spike_sorting.stages.scratch import delete_scratch
from spikelab.spike_sorting.stages.sorting import sorting_stage, will_sort
from spikelab.spike_sorting.stages.store import StageResult, StageStore
from spikelab.spike_sorting.stages.waveforms import ensure_waveform_files, waveforms_stage

STAGES = ("recording", "sorting", "waveforms", "curation", "compilation", "figures")

__all__ = [
    "STAGES",
    "Context",
    "StageResult",
    "StageStore",
    "all_units",
    "compilation_stage",
    "curation_stage",
    "delete_scratch",
    "discard_outdated",
    "draw_overview",
    "ensure_waveform_files",
    "figures_stage",
    "quality_stage",
    "recording_stage",
    "require_machine",
    "sorting_stage",
    "waveforms_stage",
    "will_sort",
    "with_quality",
]
