"""Flat keywords: complete, unambiguous, and helpful where they are wrong."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import fields

import pytest

from spikelab.spike_sorting import config as module
from spikelab.spike_sorting.config import (
    KILOSORT2,
    KILOSORT4,
    RT_SORT_MEA,
    RT_SORT_NEUROPIXELS,
    SortingPipelineConfig,
    preset_for,
)
from spikelab.spike_sorting.settings.keywords import Place, flat_names, groups, keywords

EVERY_FIELD = [
    Place(group, declared.name)
    for group, group_type in groups(SortingPipelineConfig).items()
    for declared in fields(group_type)
]
RENAMED = {
    "kilosort_path": "sorter.sorter_path",
    "kilosort_params": "sorter.sorter_params",
    "rt_sort_model_path": "rt_sort.model_path",
    "rt_sort_probe": "rt_sort.probe",
    "rt_sort_device": "rt_sort.device",
    "rt_sort_num_processes": "rt_sort.num_processes",
    "rt_sort_recording_window_ms": "rt_sort.recording_window_ms",
    "rt_sort_save_pickle": "rt_sort.save_rt_sort_pickle",
    "rt_sort_delete_inter": "rt_sort.delete_inter",
    "rt_sort_verbose": "rt_sort.verbose",
    "rt_sort_params": "rt_sort.params",
    "rt_sort_detection_window_s": "rt_sort.detection_window_s",
    "waveforms_ms_before": "waveform.ms_before",
    "waveforms_ms_after": "waveform.ms_after",
    "compiled_waveforms_ms_before": "waveform.compiled_ms_before",
    "compiled_waveforms_ms_after": "waveform.compiled_ms_after",
    "streaming_waveforms": "waveform.streaming",
    "figures_dpi": "figures.dpi",
    "figures_font_size": "figures.font_size",
    "all_templates_color_curated": "figures.templates_color_curated",
    "all_templates_color_failed": "figures.templates_color_failed",
    "all_templates_per_column": "figures.templates_per_column",
    "all_templates_y_spacing": "figures.templates_y_spacing",
    "all_templates_y_lim_buffer": "figures.templates_y_lim_buffer",
    "all_templates_window_ms_before_peak": "figures.templates_window_ms_before",
    "all_templates_window_ms_after_peak": "figures.templates_window_ms_after",
    "all_templates_line_ms_before_peak": "figures.templates_line_ms_before",
    "all_templates_line_ms_after_peak": "figures.templates_line_ms_after",
    "all_templates_x_label": "figures.templates_x_label",
}


def test_keywords_and_fields_correspond_one_to_one() -> None:
    assert sorted(flat_names(SortingPipelineConfig).values()) == sorted(EVERY_FIELD)


def test_the_renamed_keywords_are_the_published_ones() -> None:
    found = {
        name: f"{place.group}.{place.name}"
        for name, place in flat_names(SortingPipelineConfig).items()
        if name != place.name
    }
    assert found == RENAMED


@pytest.mark.parametrize("keyword", keywords(SortingPipelineConfig))
def test_a_keyword_sets_its_field_and_no_other(keyword: str) -> None:
    marker = len  # equal to no default, and its own deep copy
    changed = SortingPipelineConfig.from_kwargs(**{keyword: marker})
    different = [
        place
        for place in EVERY_FIELD
        if getattr(getattr(changed, place.group), place.name)
        != getattr(getattr(SortingPipelineConfig(), place.group), place.name)
    ]
    assert different == [keywords(SortingPipelineConfig)[keyword]]


def test_delete_inter_is_that_of_the_execution() -> None:
    config = SortingPipelineConfig.from_kwargs(delete_inter=False, rt_sort_delete_inter=True)
    assert not config.execution.delete_inter
    assert config.rt_sort.delete_inter


@pytest.mark.parametrize(
    ("keyword", "near"),
    [("snr_mn", "'snr_min'"), ("ms_befor", "'ms_before'"), ("kilosort_parms", "'kilosort_params'")],
)
def test_an_unknown_keyword_is_refused_with_the_nearest_names(keyword: str, near: str) -> None:
    with pytest.raises(TypeError, match=f"Unknown parameter '{keyword}'.*did you mean.*{near}"):
        KILOSORT2.override(**{keyword: 1})


def test_an_unknown_keyword_near_nothing_suggests_nothing() -> None:
    with pytest.raises(TypeError, match=r"^Unknown parameter 'zzzzzz'$"):
        SortingPipelineConfig.from_kwargs(zzzzzz=1)


def test_all_unknown_keywords_are_named() -> None:
    with pytest.raises(TypeError, match=r"'snr_mx'.*'fr_mx'"):
        SortingPipelineConfig.from_kwargs(snr_mx=1, fr_mx=2, snr_min=3)


def test_a_setting_under_two_names_is_refused() -> None:
    with pytest.raises(TypeError, match="'waveforms_ms_before' and 'ms_before' are two names"):
        SortingPipelineConfig.from_kwargs(waveforms_ms_before=1, ms_before=1)


def test_none_is_stored_as_given() -> None:
    assert KILOSORT2.override(snr_min=None).curation.snr_min is None


def test_override_copies_deeply_and_leaves_the_preset_alone() -> None:
    before = copy.deepcopy(RT_SORT_NEUROPIXELS)
    given = {"nested": [1]}
    changed = RT_SORT_NEUROPIXELS.override(snr_min=3, kilosort_params=given)
    assert changed.rt_sort.params is not None
    changed.rt_sort.params["stringent_thresh"] = 0
    changed.figures.scatter_recording_colors.append("black")
    changed.recording.rec_chunks = [(0, 1)]
    given["nested"].append(2)
    assert changed.sorter.sorter_params == {"nested": [1]}
    assert before == RT_SORT_NEUROPIXELS


def test_configurations_compare_by_value() -> None:
    assert SortingPipelineConfig() == KILOSORT2
    assert KILOSORT2.override(snr_min=4) != KILOSORT2
    assert KILOSORT2.override(snr_min=4).override(snr_min=5.0) == KILOSORT2


def test_a_configuration_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(RT_SORT_NEUROPIXELS)) == RT_SORT_NEUROPIXELS


def test_an_added_field_is_printed_only_where_it_was_changed() -> None:
    assert "rec_name" not in repr(KILOSORT2)
    assert repr(KILOSORT2.override(rec_name="rec0001").recording).endswith("freq_max=6000, rec_name='rec0001')")
    assert "on_failure='skip'" in repr(KILOSORT2.override(on_failure="skip"))


@pytest.mark.parametrize(
    ("sorter", "preset"), [("kilosort2", KILOSORT2), ("kilosort4", KILOSORT4), ("rt_sort", RT_SORT_MEA)]
)
def test_a_sorter_has_its_preset_as_a_copy(sorter: str, preset: SortingPipelineConfig) -> None:
    found = preset_for(sorter)
    assert found == preset
    assert found is not preset
    assert found.curation is not preset.curation


def test_a_sorter_without_preset_has_the_defaults_and_its_name() -> None:
    assert preset_for("spikeinterface:tridesclous2") == KILOSORT2.override(sorter_name="spikeinterface:tridesclous2")


def test_the_docstrings_describe_every_field() -> None:
    for group_type in groups(SortingPipelineConfig).values():
        assert all(f"\n{declared.name} : " in (group_type.__doc__ or "") for declared in fields(group_type))
    assert "waveform : WaveformConfig\n    Waveforms, templates" in (SortingPipelineConfig.__doc__ or "")


def test_importing_the_configuration_loads_nothing_heavy() -> None:
    script = (
        f"import sys, {module.__name__}\n"
        "heavy = {'numpy', 'scipy', 'spikeinterface', 'torch', 'matplotlib', 'h5py', 'numba', 'difflib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
