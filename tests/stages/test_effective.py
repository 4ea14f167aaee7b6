"""The settings that are said to change a result are those in the keys of the stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulated import UNCURATED, simulate
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.backends.rt_sort import RTSortBackend
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.settings.keywords import flat_names
from spikelab.spike_sorting.stages.effective import effective_settings
from spikelab.spike_sorting.stages.manifest import STAGES_FOLDER, Manifest

STAGES = ("recording", "sorting", "waveforms", "curation")
GROUPS = {"sorting": "sorter", "waveforms": "waveform"}
CONTENTS = {"input", "probe"}  # of files


def effective(config: SortingPipelineConfig) -> dict[str, set[str]]:
    """Names of the fields of each group that have an effect."""
    found: dict[str, set[str]] = {}
    for keyword in effective_settings(config):
        place = flat_names(SortingPipelineConfig)[keyword]
        found.setdefault(place.group, set()).add(place.name)
    return found


def test_they_are_those_in_the_keys_of_a_sort(tmp_path: Path) -> None:
    sim = simulate(n_units=2, n_channels=4, duration_s=2.0)
    settings = {"sorter": "threshold", "create_figures": False, "delete_inter": True, **UNCURATED}
    sort_recording([sim.recording], results_folders=[tmp_path], **settings)
    found = effective(SortingPipelineConfig.from_kwargs(sorter_name="threshold"))
    for stage in STAGES:
        manifest = Manifest.read(tmp_path / STAGES_FOLDER / stage)
        assert manifest is not None
        assert set(manifest.settings) - CONTENTS - {"random_seed"} == found.pop(GROUPS.get(stage, stage)) - {
            "probe_path"
        }
    assert found == {"execution": {"random_seed"}}


def test_those_of_rt_sort_have_an_effect_where_it_is_the_sorter() -> None:
    config = SortingPipelineConfig.from_kwargs(sorter_name="rt_sort")
    keyed = {"model_path" if name.startswith("content of") else name for name in RTSortBackend(config).key()}
    assert effective(config)["rt_sort"] == keyed


@pytest.mark.parametrize(("motion", "told"), [("estimate", None), ("correct", "correct")])
def test_movement_that_is_only_measured_changes_nothing(motion: str, told: str | None) -> None:
    assert effective_settings(SortingPipelineConfig.from_kwargs(motion=motion))["motion"] == told
