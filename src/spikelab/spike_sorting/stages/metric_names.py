"""Which metrics a sort will compute, and whether the settings ask for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikelab.spike_sorting.curation.criteria import LIMITED_ATTRIBUTES, LIMITS, metrics
from spikelab.spike_sorting.data.spike_trains import MOVED_UM
from spikelab.spike_sorting.data.validation import ABOUT
from spikelab.spike_sorting.metrics import list_metrics
from spikelab.spike_sorting.settings.keywords import suggestion
from spikelab.spike_sorting.stages import again, movement, quality, validation
from spikelab.spike_sorting.stages.plugin_metrics import PREFIX, wanted_metrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikelab.spike_sorting.settings.schema import CurationConfig, SortingPipelineConfig


def require_metrics(config: SortingPipelineConfig) -> None:
    """Raise ValueError for a metric that the settings name and nothing computes; nothing is opened."""
    for name in config.waveform.plugin_metrics or ():
        if name not in list_metrics():
            installed = ", ".join(list_metrics()) or "none"
            raise ValueError(
                f"'plugin_metrics' names {name!r}, which no installed package brings along; installed: {installed}"
            )
    limited = config.curation.metric_limits or {}
    if not limited:
        return
    known = known_metrics(config, with_quality=any(name.startswith(quality.PREFIX) for name in limited))
    for name in limited:
        if name not in known:
            raise ValueError(f"{LIMITS!r} has limits on {name!r}, {_why_unknown(name, known, config)}")


def known_metrics(config: SortingPipelineConfig, *, with_quality: bool = True) -> list[str]:
    """List the metrics that can have limits under these settings; SpikeInterface's have to be imported."""
    names = [metric.name for metric in metrics()] + [*LIMITED_ATTRIBUTES]
    if with_quality and config.waveform.si_quality_metrics:
        from spikelab.spike_sorting.waveforms.quality import quality_metric_names

        names += [quality.PREFIX + name for name in quality_metric_names()]
    if config.validation.validate:
        names += ABOUT
    if config.validation.sort_again:
        names.append(again.METRIC)
    return names + wanted_metrics(config.waveform)


def _why_unknown(name: str, known: list[str], config: SortingPipelineConfig) -> str:
    if name.startswith(quality.PREFIX) and not config.waveform.si_quality_metrics:
        return "which is computed with si_quality_metrics=True only (on the command line --set si_quality_metrics=true)"
    if name in ABOUT:
        return "which only a validation tells: validate=True (on the command line --set validate=true)"
    if name == again.METRIC:
        return "which only further sorts tell: sort_again=2 (on the command line --again 2)"
    if name in list_metrics():
        return "which is installed, but not among 'plugin_metrics'"
    return f"which is no metric{suggestion(name, known)}; there are {', '.join(known)}"


def limited_artifacts(config: CurationConfig, artifacts: Mapping[str, str]) -> dict[str, str]:
    """Choose, of the run ids of metrics by the names of their stages, those whose metrics have limits."""
    limited = config.metric_limits or {}
    wanted = {PREFIX + name for name in limited}
    if any(name.startswith(quality.PREFIX) for name in limited):
        wanted.add(quality.NAME)
    stages = dict.fromkeys(ABOUT, validation.NAME) | {again.METRIC: again.NAME, MOVED_UM: movement.NAME}
    wanted |= {stages[name] for name in limited if name in stages}
    return {stage: run_id for stage, run_id in artifacts.items() if stage in wanted}
