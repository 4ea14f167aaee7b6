"""Which values are legal, and what is said about those that are not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spikelab.spike_sorting import config as presets
from spikelab.spike_sorting.config import KILOSORT2, CurationConfig, RecordingConfig, SortingPipelineConfig
from spikelab.spike_sorting.settings.keywords import changed, flat_names, with_fields
from spikelab.spike_sorting.settings.toml import config_from_toml
from spikelab.spike_sorting.settings.validation import validate_config
from spikelab.system.json_files import plain
from spikelab.system.memory import parse_memory

if TYPE_CHECKING:
    from collections.abc import Callable

ZERO, NEGATIVE, NAN = 0, -1, math.nan
NO_FLAG = (None, 0, 1, "yes")
NO_POSITIVE = (ZERO, NEGATIVE, NAN, math.inf, "1", True)
NO_SIZE = (NEGATIVE, NAN, math.inf, "1", True)
NO_COUNT = (ZERO, NEGATIVE, 1.0, "1", True)
NO_INDEX = (NEGATIVE, 1.0, "1", True)
NO_THRESHOLD = (NEGATIVE, NAN, "1", True)
NO_NUMBER = (NAN, math.inf, "1", True)
NO_NAME = ("", 1, b"x")
NO_LABEL = (None, 1)
NO_PATH = ("", 1, b"x")
NO_PARAMETERS: tuple[Any, ...] = ([], "x=1", {1: 2}, {"f": print})
NO_PAIRS = ([1, 2], [(1,)], [(1, 2, 3)], (1, 2), {1: 2}, [("a", "b")], [(NAN, 2)], "12", np.array([[1, 2]]))

ILLEGAL: dict[str, tuple[Any, ...]] = {
    "stream_id": NO_NAME,
    "hdf5_plugin_path": NO_PATH,
    "first_n_mins": NO_POSITIVE,
    "mea_y_max": NO_NUMBER,
    "gain_to_uv": NO_POSITIVE,
    "offset_to_uv": NO_NUMBER,
    "rec_chunks": (*NO_PAIRS, [(0.5, 1)], [(True, 2)]),
    "rec_chunks_s": NO_PAIRS,
    "start_time_s": NO_NUMBER,
    "end_time_s": NO_NUMBER,
    "freq_min": (*NO_POSITIVE, None),
    "freq_max": (*NO_POSITIVE, None),
    "rec_name": NO_NAME,
    "electrical_series_path": NO_NAME,
    "probe_path": NO_PATH,
    "sampling_frequency": NO_POSITIVE,
    "num_channels": NO_COUNT,
    "dtype": ("", "integer", "int12", int),
    "common_reference": ("mean", "", True),
    "trust_input": ("yes", 1, None),
    "reference_by": ("column", None, True),
    "spatial_filter": ("lowpass", True, ""),
    "bad_channels_action": ("remove", None, True),
    "phase_shift": ("on", None, 1.5),
    "stim_times_s": (1.0, True, ["1", 2], [[1], 2], {"a": 1}, {1: [2]}, [NAN], ""),
    "artifacts": ("all", True, 3, [1.5], [(1, 2, 3)], [("a", "b")], [(float("nan"), 1)]),
    "electrode_groups": ("apart", None, 1),
    "days": ("all", None, 2),
    "motion": ("Estimate", "auto", True, "", 1),
    "rate_tolerance_ppm": (-1, "10", None, float("nan")),
    "bad_channels": ("automatic", 3, [1.5], [""], True),
    "sorter_name": (*NO_NAME, None),
    "kilosort_path": NO_PATH,
    "kilosort_params": NO_PARAMETERS,
    "use_docker": ("", None, 1),
    "rt_sort_model_path": NO_PATH,
    "rt_sort_probe": ("maxone", "MEA", None),
    "rt_sort_device": ("gpu", "cuda:", "", None, 0),
    "rt_sort_num_processes": NO_COUNT,
    "rt_sort_recording_window_ms": (5, (1,), (1, 2, 3), ("a", "b"), [(1, 2)]),
    "rt_sort_save_pickle": NO_FLAG,
    "rt_sort_delete_inter": NO_FLAG,
    "rt_sort_verbose": NO_FLAG,
    "rt_sort_params": NO_PARAMETERS,
    "rt_sort_detection_window_s": NO_POSITIVE,
    "waveforms_ms_before": (*NO_POSITIVE, None),
    "waveforms_ms_after": (*NO_POSITIVE, None),
    "pos_peak_thresh": (*NO_THRESHOLD, None),
    "max_waveforms_per_unit": (*NO_COUNT, None),
    "compiled_waveforms_ms_before": (*NO_SIZE, None),
    "compiled_waveforms_ms_after": (*NO_SIZE, None),
    "scale_compiled_waveforms": NO_FLAG,
    "std_at_peak": NO_FLAG,
    "std_over_window_ms_before": (*NO_SIZE, None),
    "std_over_window_ms_after": (*NO_SIZE, None),
    "streaming_waveforms": NO_FLAG,
    "save_waveform_files": NO_FLAG,
    "curate_first": NO_FLAG,
    "curate_second": NO_FLAG,
    "curation_epoch": NO_INDEX,
    "fr_min": NO_THRESHOLD,
    "isi_viol_max": NO_THRESHOLD,
    "isi_violation_method": ("x", "", None, 1, ["percent"]),
    "snr_min": NO_THRESHOLD,
    "significance_min": NO_THRESHOLD,
    "spikes_min_first": NO_INDEX,
    "spikes_min_second": NO_INDEX,
    "std_norm_max": NO_THRESHOLD,
    "compile_single_recording": NO_FLAG,
    "compile_to_mat": NO_FLAG,
    "compile_to_npz": NO_FLAG,
    "compile_waveforms": NO_FLAG,
    "save_electrodes": NO_FLAG,
    "save_spike_times": NO_FLAG,
    "save_raw_pkl": NO_FLAG,
    "save_dl_data": NO_FLAG,
    "create_figures": NO_FLAG,
    "create_unit_figures": NO_FLAG,
    "figures_dpi": NO_POSITIVE,
    "figures_font_size": (*NO_POSITIVE, None),
    "bar_x_label": NO_LABEL,
    "bar_y_label": NO_LABEL,
    "bar_label_rotation": (*NO_NUMBER, None),
    "bar_total_label": NO_LABEL,
    "bar_selected_label": NO_LABEL,
    "scatter_std_max_units_per_recording": NO_COUNT,
    "scatter_recording_colors": ("#000000", [], [1], None),
    "scatter_recording_alpha": (-0.1, 1.1, NAN, None),
    "scatter_x_label": NO_LABEL,
    "scatter_y_label": NO_LABEL,
    "scatter_x_max_buffer": (*NO_SIZE, None),
    "scatter_y_max_buffer": (*NO_SIZE, None),
    "all_templates_color_curated": (*NO_NAME, None),
    "all_templates_color_failed": (*NO_NAME, None),
    "all_templates_per_column": (*NO_COUNT, None),
    "all_templates_y_spacing": (*NO_POSITIVE, None),
    "all_templates_y_lim_buffer": (*NO_SIZE, None),
    "all_templates_window_ms_before_peak": (*NO_POSITIVE, None),
    "all_templates_window_ms_after_peak": (*NO_POSITIVE, None),
    "all_templates_line_ms_before_peak": (*NO_SIZE, None),
    "all_templates_line_ms_after_peak": (*NO_SIZE, None),
    "all_templates_x_label": NO_LABEL,
    "merge_duplicates": NO_FLAG,
    "merge_duplicates_params": ([], {"dist": 3}, {"max_lag": 1.5}, {"dist_um": -1}, {"cosine_threshold": 2}, "all"),
    "si_quality_metrics": NO_FLAG,
    "plugin_metrics": ("burst_share", [1], [""], {}),
    "metric_limits": (
        [],
        {"snr": 5},
        {"snr": [5]},
        {"snr": [None, None]},
        {"snr": [6, 5]},
        {"snr": [NAN, None]},
        {1: [5, None]},
        {"snr": ["5", None]},
        "snr",
    ),
    "n_jobs": (*NO_COUNT, None),
    "total_memory": ("", "lots", "16X", "-1G", "0G", 0, -1, 1.5, True, None),
    "use_parallel_processing_for_raw_conversion": NO_FLAG,
    "save_script": NO_FLAG,
    "out_file": (*NO_PATH, None),
    "random_seed": (*NO_INDEX, 2**32, None),
    "recompute_recording": NO_FLAG,
    "recompute_sorting": NO_FLAG,
    "reextract_waveforms": NO_FLAG,
    "recurate_first": NO_FLAG,
    "recurate_second": NO_FLAG,
    "recompile_single_recording": NO_FLAG,
    "delete_inter": NO_FLAG,
    "on_failure": ("ignore", None),
    "resource_retries": (*NO_INDEX, None),
    "sorter_timeout_s": NO_POSITIVE,
    "validate": NO_FLAG,
    "validation_units": (*NO_COUNT, 3),
    "validation_rounds": (*NO_COUNT, None),
    "sort_again": (*NO_INDEX, None, [], [""], [1], "rt_sort"),
}


def test_the_table_covers_every_keyword() -> None:
    assert set(ILLEGAL) == set(flat_names(SortingPipelineConfig))


@pytest.mark.parametrize("keyword", ILLEGAL)
def test_an_illegal_value_is_refused_by_name(keyword: str) -> None:
    for value in (*ILLEGAL[keyword], object()):
        with pytest.raises(ValueError, match=f"^'{keyword}' must be .*, got") as caught:
            validate_config(KILOSORT2.override(**{keyword: value}))
        assert str(caught.value).endswith(f", got {value!r}") or type(value) is object


@pytest.mark.parametrize(
    "values",
    [
        {"snr_min": None, "fr_min": None, "isi_viol_max": None, "std_norm_max": None},
        {"spikes_min_first": None, "spikes_min_second": None, "curation_epoch": None, "figures_dpi": None},
        {"std_norm_max": math.inf, "isi_viol_max": math.inf, "pos_peak_thresh": math.inf},
        {"snr_min": np.float32(3), "n_jobs": np.int64(2), "freq_min": np.int16(200), "std_at_peak": np.bool_(True)},
        {"snr_min": 3, "ms_before": 2, "figures_dpi": 100, "font_size": 9.5, "scatter_recording_alpha": 0},
        {"kilosort_path": Path("sorter"), "hdf5_plugin_path": Path("plugins"), "probe_path": "probe.json"},
        {"rec_chunks": [(0, 10), [10, 20]]},
        {"rec_chunks": ((np.int64(0), np.int64(10)),)},
        {"rec_chunks": None, "rec_chunks_s": None},
        {"rec_chunks_s": [(0, 1.5), (2.0, np.float64(3))], "first_n_mins": 0.5},
        {"start_time_s": 0, "end_time_s": 0.1},
        {"start_time_s": 10},
        {"end_time_s": 10},
        {"rt_sort_recording_window_ms": (0, 100.5)},
        {"rt_sort_device": "cuda:1"},
        {"use_docker": "spikeinterface/kilosort2-compiled-base:latest"},
        {"bad_channels": "auto", "common_reference": "median"},
        {"bad_channels": ["AP1", 3], "common_reference": "average"},
        {"dtype": "<i2", "sampling_frequency": 19753.77, "num_channels": 4},
        {"compiled_ms_before": 0, "compiled_ms_after": 2},
        {"total_memory": 10**9, "mea_y_max": -1, "bar_x_label": "", "random_seed": 0},
        {"kilosort_params": {"NT": 65536, "nested": {"a": [None, np.float32(1)]}}},
        {"sorter_timeout_s": 60, "resource_retries": 0, "on_failure": "skip"},
    ],
)
def test_legal_values_are_accepted(values: dict[str, Any]) -> None:
    validate_config(KILOSORT2.override(**values))


@pytest.mark.parametrize("preset", [value for value in vars(presets).values() if type(value) is SortingPipelineConfig])
def test_the_presets_are_legal(preset: SortingPipelineConfig) -> None:
    validate_config(preset)


def test_the_message_has_its_published_form() -> None:
    with pytest.raises(
        ValueError, match=r"^'isi_violation_method' must be one of \{'percent', 'hill', 'certain'\}, got 'x'$"
    ):
        validate_config(KILOSORT2.override(isi_violation_method="x"))


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"'snr_min'.*\n'n_jobs'"):
        validate_config(KILOSORT2.override(snr_min="high", n_jobs=0))


def test_a_group_that_is_no_group_is_refused() -> None:
    config = KILOSORT2.override()
    config.recording = {"freq_min": 300}  # type: ignore[assignment]
    with pytest.raises(ValueError, match="'recording' must be a RecordingConfig, got"):
        validate_config(config)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"freq_min": 6000}, "'freq_min' must be below 'freq_max', got 6000 and 6000"),
        ({"start_time_s": -1}, "Invalid time range"),
        ({"start_time_s": 5, "end_time_s": 5}, "Invalid time range"),
        ({"end_time_s": 0}, "Invalid time range"),
        ({"rec_chunks": [(-1, 5)]}, "Invalid time range in 'rec_chunks'"),
        ({"rec_chunks": [(5, 5)]}, "Invalid time range"),
        ({"rec_chunks_s": [(2, 1)]}, "Invalid time range in 'rec_chunks_s'"),
        ({"rt_sort_recording_window_ms": (-1, 5)}, "Invalid time range in 'rt_sort_recording_window_ms'"),
        ({"rec_chunks": [(0, 5), (4, 9)]}, r"'rec_chunks' must ascend without overlap, got \(4, 9\)"),
        ({"rec_chunks_s": [(5, 6), (0, 1)]}, "'rec_chunks_s' must ascend"),
        ({"rec_chunks": [(0, 5)], "first_n_mins": 1}, "frame-based.*'first_n_mins'"),
        ({"rec_chunks": [(0, 5)], "start_time_s": 0}, "frame-based.*'start_time_s'"),
        ({"rec_chunks": [(0, 5)], "end_time_s": 1}, "frame-based.*'end_time_s'"),
        ({"rec_chunks": [(0, 5)], "rec_chunks_s": [(0, 1)]}, "frame-based.*'rec_chunks_s'"),
        ({"compiled_ms_before": 2.5}, "'compiled_waveforms_ms_before' must not be longer than 'waveforms_ms_before'"),
        ({"ms_after": 1}, "'compiled_waveforms_ms_after' must not be longer than 'waveforms_ms_after'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate_config(KILOSORT2.override(**values))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: KILOSORT2.override(snr_min="6"), "'snr_min' must be a number >= 0 or None, got '6'"),
        (lambda: SortingPipelineConfig.from_kwargs(n_jobs=2.5), "'n_jobs' must be an integer >= 1, got 2.5"),
        (lambda: CurationConfig(fr_min=-1), "'fr_min' must be a number >= 0 or None, got -1"),
        (lambda: KILOSORT2.override(freq_min=9000), "'freq_min' must be below 'freq_max', got 9000 and 6000"),
        (lambda: RecordingConfig(start_time_s=9, end_time_s=3), "must be at least 0 and below the end, got (9, 3)"),
        (lambda: config_from_toml("curation.snr_min = '6'"), "'snr_min' must be a number >= 0 or None, got '6'"),
    ],
)
def test_what_a_sort_would_refuse_is_told_when_it_is_given(
    make: Callable[[], object], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    make()
    (line,) = caplog.messages
    assert told in line
    assert line.endswith(": a sort will refuse this")


def test_nothing_is_said_of_settings_that_go_together_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    first = KILOSORT2.override(ms_before=1, freq_min=100)  # compiled_ms_before is still longer
    validate_config(first.override(compiled_ms_before=1))
    assert not caplog.messages


def test_what_was_told_once_is_not_told_by_copies(caplog: pytest.LogCaptureFixture) -> None:
    config = KILOSORT2.override(freq_min=9000)
    caplog.clear()
    assert with_fields(config.recording, stream_id="a") == changed(config, {"stream_id": "a"}).recording
    assert not caplog.messages


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16G", 16 * 10**9),
        ("500M", 500 * 10**6),
        ("1.5 GB", 15 * 10**8),
        ("2Gi", 2 * 2**30),
        ("64KiB", 64 * 2**10),
        ("1T", 10**12),
        ("3k", 3000),
        ("4096", 4096),
        (4096, 4096),
        (np.int64(4096), 4096),
    ],
)
def test_memory_is_read(text: str | int, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "G", "16X", "-1G", "0", 0, -5, 1.5, True, None])
def test_what_is_no_memory_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="memory"):
        parse_memory(text)


def test_plain_values_are_python_values() -> None:
    value = {"a": (np.int16(1), np.array([[1.5]])), "b": Path("x"), "c": [None, True, np.bool_(False), "s"]}
    found = plain(value)
    assert found == {"a": [1, [[1.5]]], "b": "x", "c": [None, True, False, "s"]}
    assert type(found["a"][0]) is int
    with pytest.raises(TypeError, match="cannot hold a builtin_function"):
        plain([print])


@pytest.mark.parametrize(
    ("setting", "value"),
    [("out_file", "logs/run.out"), ("out_file", "/tmp/log"), ("out_file", "run.json"), ("total_memory", 16)],
)
def test_names_and_amounts_that_only_look_right_are_refused(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=setting):
        validate_config(SortingPipelineConfig.from_kwargs(**{setting: value}))


def test_movement_is_not_corrected_twice() -> None:
    config = SortingPipelineConfig.from_kwargs(motion="correct", sorter_params={"do_correction": True})
    with pytest.raises(ValueError, match=r"'motion' must be None or 'estimate' .*do_correction=True"):
        validate_config(config)
    validate_config(config.override(motion="estimate"))
    validate_config(config.override(sorter_params={"do_correction": False}))
