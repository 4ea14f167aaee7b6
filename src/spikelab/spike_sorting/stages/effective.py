"""Which settings can change a result: those in the keys of the stages that find units, describe and choose them."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.backends import rt_sort
from spikelab.spike_sorting.settings.keywords import flat_name, groups
from spikelab.spike_sorting.stages import recording, waveforms

if TYPE_CHECKING:
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

# Names of a group that are in no key, without those whose file's content is in it. A group that is not here is in none.
WITHOUT_EFFECT: dict[str, set[str]] = {
    "recording": set(recording.NOT_KEYED) - {"probe_path"},
    "sorter": set(),
    "rt_sort": set(rt_sort.NOT_KEYED) - {"model_path", "params"},
    "waveform": set(waveforms.NOT_KEYED),
    "curation": set(),
}
OF_EXECUTION = ("random_seed",)


def effective_settings(config: SortingPipelineConfig) -> dict[str, Any]:
    """Return the settings that can change spikes, templates, metrics or which units are kept, by flat keyword.

    Not among them is how the work is done, and which files and figures are written of it.
    """
    return {
        flat_name(declared): _value(group, declared.name, getattr(getattr(config, group), declared.name))
        for group, group_type in groups(type(config)).items()
        for declared in fields(group_type)
        if _has_effect(config, group, declared.name)
    }


def _has_effect(config: SortingPipelineConfig, group: str, name: str) -> bool:
    if group == "execution":
        return name in OF_EXECUTION
    if group == "rt_sort" and config.sorter.sorter_name != group:
        return False
    return group in WITHOUT_EFFECT and name not in WITHOUT_EFFECT[group]


def _value(group: str, name: str, value: Any) -> Any:
    return None if (group, name, value) == ("recording", "motion", recording.ONLY_MEASURED) else value
