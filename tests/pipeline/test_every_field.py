"""No setting is without effect: every field of the configuration, what to set it to, and what then differs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
from matplotlib.figure import Figure
from spikeinterface.core import NumpyRecording

from simulated import FS, save_recording, simulate, simulate_dense
from spikelab.spike_sorting import metrics, sort_recording
from spikelab.spike_sorting._exceptions import GPUOutOfMemoryError, InsufficientActivityError, SortBatchError
from spikelab.spike_sorting.backends import rt_sort as rt_sort_backend
from spikelab.spike_sorting.backends.threshold import ThresholdBackend
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.figures import make
from spikelab.spike_sorting.metrics import registry
from spikelab.spike_sorting.rt_sort import ModelSpikeSorter, RTSort, detect
from spikelab.spike_sorting.run import sort_one
from spikelab.spikedata import SpikeData
from spikelab.system import progress

SECONDS = 4.0
BASE: dict[str, Any] = {
    "sorter": "threshold", "spikes_min_first": 3, "spikes_min_second": 3, "n_jobs": 1, "figures_dpi": 40,
}  # fmt: skip


@dataclass
class Seen:
    """What a user can see of one sort."""

    result: SpikeData
    results: Path
    intermediate: Path

    def units(self) -> Any:
        """Spikes, templates and metrics of the curated units."""
        return [
            (unit["unit_id"], train.tolist(), unit["channel_id"], unit["y"], unit["snr"], unit["std_norm"],
             unit["has_pos_peak"], digest(unit["template_full"]))
            for unit, train in zip(self.result.neuron_attributes, self.result.train, strict=True)
        ]  # fmt: skip

    def files(self) -> dict[str, str]:
        """Names and contents of what was written, logs and records left out."""
        skipped = {"run.json", "report.html", "config_used.toml"}
        return {
            str(path.relative_to(self.results)): digest(path.read_bytes())
            for path in self.results.rglob("*")
            if path.is_file() and path.name not in skipped and "stages" not in path.parts and path.suffix != ".out"
        }

    def metrics(self) -> str:
        """The table of the units' metrics."""
        return (self.results / "unit_metrics.csv").read_text()

    def injected(self) -> list[int]:
        """Round of each neuron that was put in to validate the sort."""
        content = json.loads((self.results / "stages" / "validation" / "validation.json").read_text())
        return [neuron["round"] for neuron in content["injected"]]

    def sequences(self) -> dict[str, str]:
        """What RT-Sort learnt."""
        folder = self.results / "stages" / "sorting" / "rt_sort"
        return {path.name: digest(path.read_bytes()) for path in folder.iterdir()}

    def names(self) -> set[str]:
        """Names of everything in both folders."""
        return {str(path.relative_to(self.results.parent)) for path in self.results.parent.rglob("*")}


def digest(data: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(data) if isinstance(data, np.ndarray) else data).hexdigest()


@dataclass
class Effect:
    """One field: keyword and value that change it, what it is tried on, and what must differ."""

    keyword: str
    value: Any
    aspect: Callable[[Seen], Any] = Seen.units
    also: dict[str, Any] = field(default_factory=dict)
    recording: str = "plain"


def odd_recording(kind: str) -> Any:
    """Recordings on which single settings show."""
    if kind == "dense":
        return simulate_dense(duration_s=SECONDS).recording
    if kind == "segments":
        return simulate(n_segments=2, duration_s=6.0).recording
    if kind == "common":
        shared = simulate(duration_s=SECONDS)
        traces = shared.recording.get_traces()
        traces += np.random.default_rng(0).normal(0, 20, (len(traces), 1)).astype(np.float32)
        return shared.recording
    if kind == "counts":
        plain = simulate(duration_s=SECONDS).recording
        counts = NumpyRecording([np.rint(plain.get_traces() / 0.2).astype(np.int16)], FS, channel_ids=plain.channel_ids)
        counts.set_channel_gains(0.2)
        counts.set_channel_offsets(0)
        counts.set_dummy_probe_from_locations(plain.get_channel_locations())
        return counts
    if kind == "staggered":
        plain = simulate(duration_s=SECONDS).recording
        plain.set_property("inter_sample_shift", np.linspace(0, 0.9, plain.get_num_channels()))
        return plain
    if kind == "pulses":
        stimulated = simulate(duration_s=SECONDS).recording
        traces = stimulated.get_traces()
        for frame in (20_000, 40_000):
            traces[frame : frame + 8] += 3000
        return stimulated
    if kind == "bursts":
        doubled = simulate(duration_s=SECONDS).recording  # every spike again after 1 ms
        traces = doubled.get_traces()
        traces[20:] += traces[:-20].copy()
        return doubled
    if kind == "twins":  # most spikes of the first unit are seen once more, far away
        twins = simulate(duration_s=SECONDS).recording
        traces = twins.get_traces()
        traces[10_000:, 7] = 0.8 * traces[10_000:, 0]
        return twins
    return simulate(duration_s=SECONDS, n_channels={"plain": 8, "roomy": 14}[kind]).recording


FIGURES: dict[str, Any] = {"create_figures": True}
VALIDATED: dict[str, Any] = {"validate": True}
EVERY_SPIKE: dict[str, Any] = {"kilosort_params": {"exclude_ms": 0.2}}
STAND_INS = Path(__file__).resolve().parents[1] / "stand_ins"
RT_SORT: dict[str, Any] = {"sorter": "rt_sort", "rt_sort_device": "cpu"}
EFFECTS: dict[tuple[str, str], Effect] = {
    ("recording", "first_n_mins"): Effect("first_n_mins", 0.05),
    ("recording", "mea_y_max"): Effect("mea_y_max", 500.0),
    ("recording", "gain_to_uv"): Effect("gain_to_uv", 0.3, recording="counts"),
    ("recording", "rec_chunks"): Effect("rec_chunks", [(0, 50_000)]),
    ("recording", "rec_chunks_s"): Effect("rec_chunks_s", [(0.2, 3.4)]),
    ("recording", "start_time_s"): Effect("start_time_s", 0.5),
    ("recording", "end_time_s"): Effect("end_time_s", 3.5),
    ("recording", "freq_min"): Effect("freq_min", 600),
    ("recording", "freq_max"): Effect("freq_max", 3000),
    ("recording", "common_reference"): Effect("common_reference", "median", recording="common"),
    ("recording", "reference_by"): Effect(
        "reference_by", "local", also={"common_reference": "median"}, recording="common"
    ),
    ("recording", "spatial_filter"): Effect("spatial_filter", "highpass", recording="common"),
    ("recording", "bad_channels_action"): Effect("bad_channels_action", "interpolate", also={"bad_channels": ["ch1"]}),
    ("recording", "phase_shift"): Effect("phase_shift", False, recording="staggered"),
    ("recording", "stim_times_s"): Effect("stim_times_s", [1.0, 2.0], recording="pulses"),
    ("recording", "motion"): Effect("motion", "estimate", Seen.names),
    ("recording", "artifacts"): Effect("artifacts", [(0.5, 1.0)]),
    ("recording", "bad_channels"): Effect("bad_channels", ["ch1"]),
    ("sorter", "sorter_params"): Effect("kilosort_params", {"detect_threshold": 32}),
    ("rt_sort", "probe"): Effect("rt_sort_probe", "neuropixels", Seen.sequences, RT_SORT, "dense"),
    ("rt_sort", "recording_window_ms"): Effect(
        "rt_sort_recording_window_ms", (0, 3000), also=RT_SORT, recording="dense"
    ),
    ("rt_sort", "save_rt_sort_pickle"): Effect("rt_sort_save_pickle", False, Seen.names, RT_SORT, "dense"),
    ("rt_sort", "delete_inter"): Effect(
        "rt_sort_delete_inter", True, Seen.names, {**RT_SORT, "delete_inter": False}, "dense"
    ),
    ("rt_sort", "params"): Effect("rt_sort_params", {"min_scale": 0.97}, also=RT_SORT, recording="dense"),
    ("rt_sort", "detection_window_s"): Effect("rt_sort_detection_window_s", 3.0, Seen.sequences, RT_SORT, "dense"),
    ("waveform", "ms_before"): Effect("waveforms_ms_before", 3.0),
    ("waveform", "ms_after"): Effect("waveforms_ms_after", 3.0),
    ("waveform", "pos_peak_thresh"): Effect("pos_peak_thresh", 0.1),
    ("waveform", "max_waveforms_per_unit"): Effect("max_waveforms_per_unit", 5),
    ("waveform", "compiled_ms_before"): Effect("compiled_waveforms_ms_before", 1.0, Seen.files),
    ("waveform", "compiled_ms_after"): Effect("compiled_waveforms_ms_after", 1.0, Seen.files),
    ("waveform", "scale_compiled_waveforms"): Effect("scale_compiled_waveforms", False, Seen.files, recording="counts"),
    ("waveform", "std_at_peak"): Effect("std_at_peak", False),
    ("waveform", "std_over_window_ms_before"): Effect("std_over_window_ms_before", 1.0, also={"std_at_peak": False}),
    ("waveform", "std_over_window_ms_after"): Effect("std_over_window_ms_after", 0.5, also={"std_at_peak": False}),
    ("waveform", "save_waveform_files"): Effect("save_waveform_files", False, Seen.names, {"delete_inter": False}),
    ("validation", "validate"): Effect("validate", True, Seen.metrics, recording="roomy"),
    ("validation", "validation_units"): Effect("validation_units", 6, Seen.injected, VALIDATED, "roomy"),
    ("validation", "validation_rounds"): Effect("validation_rounds", 2, Seen.injected, VALIDATED, "roomy"),
    ("validation", "sort_again"): Effect("sort_again", 1, Seen.metrics, recording="roomy"),
    ("curation", "curate_first"): Effect("curate_first", False, also={"snr_min": 1000}),
    ("curation", "curate_second"): Effect("curate_second", False, also={"spikes_min_second": 1000}),
    ("curation", "curation_epoch"): Effect("curation_epoch", 0, also={"spikes_min_first": 35}, recording="segments"),
    ("curation", "fr_min"): Effect("fr_min", 1000.0),
    ("curation", "isi_viol_max"): Effect("isi_viol_max", None, also=EVERY_SPIKE, recording="bursts"),
    ("curation", "isi_violation_method"): Effect("isi_violation_method", "hill", Seen.metrics, EVERY_SPIKE, "bursts"),
    ("curation", "snr_min"): Effect("snr_min", 1000),
    ("curation", "spikes_min_first"): Effect("spikes_min_first", 1000),
    ("curation", "spikes_min_second"): Effect("spikes_min_second", 1000),
    ("curation", "std_norm_max"): Effect("std_norm_max", 1e-9),
    ("curation", "significance_min"): Effect("significance_min", 1e6),
    ("curation", "metric_limits"): Effect("metric_limits", {"amplitude": [1e4, None]}),
    ("curation", "merge_duplicates"): Effect("merge_duplicates", True, recording="twins"),
    ("curation", "merge_duplicates_params"): Effect(
        "merge_duplicates_params", {"cosine_threshold": 1.0}, also={"merge_duplicates": True}, recording="twins"
    ),
    ("compilation", "compile_single_recording"): Effect("compile_single_recording", False, Seen.names),
    ("compilation", "compile_to_mat"): Effect("compile_to_mat", True, Seen.names),
    ("compilation", "compile_to_npz"): Effect("compile_to_npz", False, Seen.names),
    ("compilation", "compile_waveforms"): Effect("compile_waveforms", True, Seen.names),
    ("compilation", "save_electrodes"): Effect("save_electrodes", False, Seen.files),
    ("compilation", "save_spike_times"): Effect("save_spike_times", False, Seen.files),
    ("compilation", "save_raw_pkl"): Effect("save_raw_pkl", True, Seen.names),
    ("compilation", "save_dl_data"): Effect("save_dl_data", True, Seen.files),
    ("figures", "create_figures"): Effect("create_figures", True, Seen.names),
    ("figures", "create_unit_figures"): Effect("create_unit_figures", True, Seen.names),
    ("figures", "dpi"): Effect("figures_dpi", 30, Seen.files, FIGURES),
    ("figures", "font_size"): Effect("figures_font_size", 8, Seen.files, FIGURES),
    ("figures", "bar_x_label"): Effect("bar_x_label", "Plate", Seen.files, FIGURES),
    ("figures", "bar_y_label"): Effect("bar_y_label", "Neurons", Seen.files, FIGURES),
    ("figures", "bar_label_rotation"): Effect("bar_label_rotation", 45, Seen.files, FIGURES),
    ("figures", "bar_total_label"): Effect("bar_total_label", "All", Seen.files, FIGURES),
    ("figures", "bar_selected_label"): Effect("bar_selected_label", "Kept", Seen.files, FIGURES),
    ("figures", "scatter_std_max_units_per_recording"): Effect(
        "scatter_std_max_units_per_recording", 1, Seen.files, FIGURES
    ),
    ("figures", "scatter_recording_colors"): Effect("scatter_recording_colors", ["#0000ff"], Seen.files, FIGURES),
    ("figures", "scatter_recording_alpha"): Effect("scatter_recording_alpha", 0.3, Seen.files, FIGURES),
    ("figures", "scatter_x_label"): Effect("scatter_x_label", "spikes", Seen.files, FIGURES),
    ("figures", "scatter_y_label"): Effect("scatter_y_label", "deviation", Seen.files, FIGURES),
    ("figures", "scatter_x_max_buffer"): Effect("scatter_x_max_buffer", 900.0, Seen.files, FIGURES),
    ("figures", "scatter_y_max_buffer"): Effect("scatter_y_max_buffer", 2.0, Seen.files, FIGURES),
    ("figures", "templates_color_curated"): Effect("all_templates_color_curated", "#00ff00", Seen.files, FIGURES),
    ("figures", "templates_color_failed"): Effect(
        "all_templates_color_failed", "#00ff00", Seen.files, {**FIGURES, "snr_min": 30}
    ),
    ("figures", "templates_per_column"): Effect("all_templates_per_column", 1, Seen.files, FIGURES),
    ("figures", "templates_y_spacing"): Effect("all_templates_y_spacing", 500.0, Seen.files, FIGURES),
    ("figures", "templates_y_lim_buffer"): Effect("all_templates_y_lim_buffer", 300.0, Seen.files, FIGURES),
    ("figures", "templates_window_ms_before"): Effect("all_templates_window_ms_before_peak", 1.0, Seen.files, FIGURES),
    ("figures", "templates_window_ms_after"): Effect("all_templates_window_ms_after_peak", 1.0, Seen.files, FIGURES),
    ("figures", "templates_line_ms_before"): Effect("all_templates_line_ms_before_peak", 0.5, Seen.files, FIGURES),
    ("figures", "templates_line_ms_after"): Effect("all_templates_line_ms_after_peak", 0.5, Seen.files, FIGURES),
    ("figures", "templates_x_label"): Effect("all_templates_x_label", "time", Seen.files, FIGURES),
    ("execution", "save_script"): Effect("save_script", True, Seen.names),
    ("execution", "out_file"): Effect("out_file", "log.txt", Seen.names),
    ("execution", "random_seed"): Effect("random_seed", 99, also={"max_waveforms_per_unit": 5}),
    ("execution", "delete_inter"): Effect("delete_inter", False, Seen.names),
}  # fmt: skip


def sort_once(folder: Path, recording: Any, **settings: Any) -> Seen:
    results, intermediate = folder / "out", folder / "inter"
    with pytest.MonkeyPatch.context() as patch:
        for figure in ("quality_distributions", "raster_pop_rate"):  # no setting is theirs alone, and they take longest
            patch.setattr(make, figure, lambda *_: Figure())
        (result,) = sort_recording(
            [recording], results_folders=[results], intermediate_folders=[intermediate], **{**BASE, **settings}
        )
    return Seen(result, results, intermediate)


def sort_days(folder: Path, files: Path, **settings: Any) -> list[SpikeData]:
    """Sort a folder of files together: one result for each."""
    return sort_recording(
        [files], results_folders=[folder / "out"], intermediate_folders=[folder / "inter"], **{**BASE, **settings}
    )


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Effect], Seen]:
    """What is seen without the change; the same base is sorted once."""
    seen: dict[str, Seen] = {}

    def look(effect: Effect) -> Seen:
        key = repr((effect.recording, effect.also))
        if key not in seen:
            folder = tmp_path_factory.mktemp("before")
            seen[key] = sort_once(folder, odd_recording(effect.recording), **effect.also)
        return seen[key]

    return look


@pytest.mark.parametrize("name", EFFECTS, ids=".".join)
def test_field_has_an_effect(
    name: tuple[str, str], before: Callable[[Effect], Seen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ThresholdBackend, "takes_seed", True)  # for `sort_again`, as the sorters that it is for
    effect = EFFECTS[name]
    if name[0] == "figures":  # drawn from results that are there already
        shutil.copytree(before(effect).results.parent, tmp_path, dirs_exist_ok=True)
    after = sort_once(tmp_path, odd_recording(effect.recording), **{**effect.also, effect.keyword: effect.value})
    assert effect.aspect(after) != effect.aspect(before(effect))


# The quiet ones: what they do cannot be seen in the results of one small sort.

QUIET: dict[tuple[str, str], str] = {
    ("recording", "stream_id"): "test_stream_and_recording_are_chosen",
    ("recording", "rec_name"): "test_stream_and_recording_are_chosen",
    ("recording", "hdf5_plugin_path"): "test_plugin_path_reaches_the_environment",
    ("waveform", "plugin_metrics"): "test_metrics_of_other_packages_are_chosen",
    ("recording", "offset_to_uv"): "test_offset_moves_the_raw_microvolts",
    ("recording", "electrical_series_path"): "test_electrical_series_is_chosen",
    ("recording", "trust_input"): "test_trust_opens_what_is_refused",
    ("recording", "electrode_groups"): "test_groups_are_sorted_apart_or_together",
    ("recording", "days"): "test_files_of_other_electrodes_are_refused_or_share_some",
    ("recording", "rate_tolerance_ppm"): "test_rates_of_files_may_differ_by_the_tolerance",
    ("recording", "probe_path"): "test_headerless_file_is_described_by_its_fields",
    ("recording", "sampling_frequency"): "test_headerless_file_is_described_by_its_fields",
    ("recording", "num_channels"): "test_headerless_file_is_described_by_its_fields",
    ("recording", "dtype"): "test_headerless_file_is_described_by_its_fields",
    ("sorter", "sorter_name"): "test_sorter_name_chooses_the_backend",
    ("sorter", "sorter_path"): "test_sorter_path_and_docker_reach_the_sorter",
    ("sorter", "use_docker"): "test_sorter_path_and_docker_reach_the_sorter",
    ("rt_sort", "model_path"): "test_rt_sort_model_path",
    ("rt_sort", "device"): "test_rt_sort_device_and_workers_reach_the_detection",
    ("rt_sort", "num_processes"): "test_rt_sort_device_and_workers_reach_the_detection",
    ("rt_sort", "verbose"): "test_rt_sort_verbose_logs_progress",
    ("waveform", "si_quality_metrics"): "test_metrics_of_spikeinterface_are_computed_on_request",
    ("waveform", "streaming"): "test_without_streaming_waveforms_are_held",
    ("execution", "n_jobs"): "test_workers_of_the_conversion",
    ("execution", "total_memory"): "test_workers_of_the_conversion",
    ("execution", "use_parallel_processing_for_raw_conversion"): "test_workers_of_the_conversion",
    ("execution", "recompute_recording"): "test_force_flags",
    ("execution", "recompute_sorting"): "test_force_flags",
    ("execution", "reextract_waveforms"): "test_force_flags",
    ("execution", "recurate_first"): "test_force_flags",
    ("execution", "recurate_second"): "test_force_flags",
    ("execution", "recompile_single_recording"): "test_force_flags",
    ("execution", "on_failure"): "test_on_failure",
    ("execution", "resource_retries"): "test_resource_retries",
    ("execution", "sorter_timeout_s"): "test_sorter_timeout_reaches_the_child",
}


def test_every_field_is_shown_to_have_an_effect() -> None:
    there_are = {(g.name, f.name) for g in fields(SortingPipelineConfig) for f in fields(g.default_factory)}
    assert set(EFFECTS) | set(QUIET) == there_are
    assert not set(EFFECTS) & set(QUIET)
    assert {name for name in QUIET.values() if name not in globals()} == set()


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """Two wells with one recording each; every one has other spikes."""
    from spikelab.spike_sorting.recording.maxwell_writer import add_well, write_header

    path = tmp_path / "plate.raw.h5"
    with h5py.File(path, "w") as file:
        write_header(file)
        for i in range(2):
            source = simulate(duration_s=SECONDS, seed=i).recording
            counts = np.clip(np.rint(source.get_traces() / 6.294) + 512, 0, 1023).astype(np.uint16)
            add_well(file, counts.T, FS, source.get_channel_locations(), well=f"well{i:03d}")
    return path


def test_stream_and_recording_are_chosen(plate: Path, tmp_path: Path) -> None:
    trains = [sort_once(tmp_path / well, plate, stream_id=well).units() for well in ("well000", "well001")]
    assert trains[0] != trains[1]
    with pytest.raises(ValueError, match="rec0000"):
        sort_once(tmp_path / "x", plate, stream_id="well000", rec_name="rec0009")


def test_metrics_of_other_packages_are_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @metrics.unit_metric("Number of spikes.")
    def spikes(units: Any) -> list[float]:
        return [float(len(train)) for train in units.train]

    package = ModuleType("package_of_metrics")
    package.spikes = spikes  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    point = EntryPoint("spikes", "package_of_metrics:spikes", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "spikelab.metrics" else [])
    metrics.refresh_metrics()
    recording = simulate(duration_s=SECONDS).recording
    try:
        seen = {
            name: sort_once(tmp_path / name, recording, plugin_metrics=chosen).metrics()
            for name, chosen in (("all", None), ("one", ["spikes"]), ("none", []))
        }
    finally:
        monkeypatch.undo()
        metrics.refresh_metrics()
    assert ["spikes" in seen[name].partition("\n")[0].split(",") for name in ("all", "one", "none")] == [
        True,
        True,
        False,
    ]


def test_plugin_path_reaches_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDF5_PLUGIN_PATH", "before")
    sort_once(tmp_path, simulate(duration_s=SECONDS).recording, hdf5_plugin_path=str(tmp_path))
    assert os.environ["HDF5_PLUGIN_PATH"] == str(tmp_path)


def test_offset_moves_the_raw_microvolts() -> None:
    # The band-pass takes every offset away again, so it can only be seen before.
    from spikelab.spike_sorting.recording.preprocess import to_microvolts

    recording = odd_recording("counts")
    moved = to_microvolts(recording, None, 7.0, "counts").get_traces(0, 0, 100)
    plain = to_microvolts(recording, None, None, "counts").get_traces(0, 0, 100)
    np.testing.assert_allclose(moved - plain, 7.0, atol=1e-4)


def test_electrical_series_is_chosen(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    pynwb = pytest.importorskip("pynwb")
    nwb = pynwb.NWBFile("two series", "id", datetime(2026, 1, 1, tzinfo=UTC))
    device = nwb.create_device("device")
    group = nwb.create_electrode_group("group", "group", "here", device)
    nwb.add_electrode_column("rel_x", "x")
    nwb.add_electrode_column("rel_y", "y")
    for i in range(8):
        nwb.add_electrode(group=group, location="here", rel_x=200.0 * i, rel_y=0.0)
    for i in range(2):
        region = nwb.create_electrode_table_region(list(range(8)), "all")
        traces = simulate(duration_s=SECONDS, seed=i).recording.get_traces()
        nwb.add_acquisition(
            pynwb.ecephys.ElectricalSeries(name=f"s{i}", data=traces, electrodes=region, rate=FS, conversion=1e-6)
        )
    path = tmp_path / "two.nwb"
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    units = [sort_once(tmp_path / f"{i}", path, electrical_series_path=f"acquisition/s{i}").units() for i in range(2)]
    assert units[0] != units[1]
    with pytest.raises(ValueError, match="acquisition/s1"):
        sort_once(tmp_path / "x", path)


def test_headerless_file_is_described_by_its_fields(tmp_path: Path) -> None:
    from probeinterface import ProbeGroup, write_probeinterface

    source = odd_recording("counts")
    path = tmp_path / "raw.dat"
    source.get_traces().tofile(path)
    group = ProbeGroup()
    group.add_probe(source.get_probe())
    write_probeinterface(tmp_path / "probe.json", group)
    described = {"probe_path": str(tmp_path / "probe.json"), "sampling_frequency": FS, "num_channels": 8}
    described |= {"dtype": "int16", "gain_to_uv": 0.2}
    assert sort_once(tmp_path, path, **described).result.N == 5
    for name in ("probe_path", "sampling_frequency", "num_channels", "dtype"):
        with pytest.raises(ValueError, match=name):
            sort_once(tmp_path / name, path, **{**described, name: None})


def test_trust_opens_what_is_refused(tmp_path: Path) -> None:
    path = save_recording(simulate(duration_s=SECONDS).recording, tmp_path / "folder" / "rec")
    traces, elsewhere = path / "traces_cached_seg0.raw", tmp_path / "traces.raw"
    traces.rename(elsewhere)
    text = (path / "binary.json").read_text()
    (path / "binary.json").write_text(text.replace(traces.name, "../../traces.raw"))
    with pytest.raises(ValueError, match="outside of"):
        sort_once(tmp_path / "refused", path)
    assert sort_once(tmp_path / "opened", path, trust_input=True).result.N == 5


def test_groups_are_sorted_apart_or_together(tmp_path: Path) -> None:
    recording = simulate(duration_s=SECONDS).recording
    recording.set_property("group", np.arange(recording.get_num_channels()) % 2)  # of overlapping places
    apart = sort_once(tmp_path / "apart", recording)
    assert {unit["group"] for unit in apart.result.neuron_attributes} == {"group 0", "group 1"}
    together = sort_once(tmp_path / "together", recording, electrode_groups="together")
    assert "group" not in together.result.neuron_attributes[0]


@pytest.fixture
def two_days(tmp_path: Path) -> Callable[..., Path]:
    """A folder of two recordings, the second without the last channel or with another rate."""

    def write(n_channels: int | None = None, ppm: float = 0.0) -> Path:
        first = simulate(duration_s=SECONDS).recording
        second = first.select_channels(first.channel_ids[:n_channels])
        second._sampling_frequency = FS * (1 + ppm * 1e-6)
        for name, recording in (("1", first), ("2", second)):
            save_recording(recording, tmp_path / "days" / name)
        return tmp_path / "days"

    return write


def test_files_of_other_electrodes_are_refused_or_share_some(two_days: Callable[..., Path], tmp_path: Path) -> None:
    folder = two_days(n_channels=-1)
    with pytest.raises(ValueError, match="days='shared'"):
        sort_once(tmp_path / "refused", folder)
    with pytest.warns(UserWarning, match="electrodes that all files have are sorted"):
        assert len(sort_days(tmp_path / "shared", folder, days="shared")) == 2


def test_rates_of_files_may_differ_by_the_tolerance(two_days: Callable[..., Path], tmp_path: Path) -> None:
    folder = two_days(ppm=50)
    with pytest.raises(ValueError, match="rate_tolerance_ppm"):
        sort_once(tmp_path / "refused", folder)
    with pytest.warns(UserWarning, match="ms per hour"):
        assert len(sort_days(tmp_path / "one", folder, rate_tolerance_ppm=100)) == 2


def test_sorter_name_chooses_the_backend(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Unknown sorter 'other'"):
        sort_once(tmp_path, simulate(duration_s=SECONDS).recording, sorter="other")


def test_sorter_path_and_docker_reach_the_sorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
    from spikelab.spike_sorting.backends import spikeinterface_generic
    from spikelab.spike_sorting.backends.isolation import start

    recording = simulate(duration_s=SECONDS).recording
    matlab = tmp_path / "bin" / "matlab"
    matlab.parent.mkdir()
    matlab.write_text("#!/bin/sh\n")
    matlab.chmod(0o755)
    monkeypatch.setenv("PATH", str(matlab.parent), prepend=os.pathsep)
    monkeypatch.setenv("PATH", str(STAND_INS / "gpu"), prepend=os.pathsep)
    with pytest.raises(EnvironmentSortFailure, match="not/there"):
        sort_once(tmp_path / "a", recording, sorter="kilosort2", kilosort_path="not/there")
    seen: list[dict[str, Any]] = []

    def stop(job: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        seen.append(job)
        raise InterruptedError

    monkeypatch.setattr(start, "run_in_child", stop)
    monkeypatch.setattr(spikeinterface_generic, "check_container", lambda *args, **kwargs: None)
    with pytest.raises(InterruptedError):
        sort_once(tmp_path / "b", recording, sorter="kilosort2", use_docker="my/image:1")
    assert "my/image:1" in repr(seen)


def test_rt_sort_model_path(tmp_path: Path) -> None:
    recording = odd_recording("dense")
    plain = sort_once(tmp_path / "a", recording, **RT_SORT)
    saved = plain.results / "stages" / "sorting" / "rt_sort"
    few = replace(RTSort.load(saved), parameters=replace(RTSort.load(saved).parameters, min_scale=0.97))
    few.save(tmp_path / "few")
    assert sort_once(tmp_path / "b", recording, rt_sort_model_path=saved, **RT_SORT).units() == plain.units()
    assert sort_once(tmp_path / "c", recording, rt_sort_model_path=tmp_path / "few", **RT_SORT).units() != plain.units()
    deaf = ModelSpikeSorter.load_bundled("mea")
    last = deaf.layers[-1]
    replace(deaf, layers=(*deaf.layers[:-1], replace(last, bias=last.bias - 100))).save(tmp_path / "deaf")
    with pytest.raises(InsufficientActivityError):
        sort_once(tmp_path / "d", recording, rt_sort_model_path=tmp_path / "deaf", **RT_SORT)


def test_rt_sort_device_and_workers_reach_the_detection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []

    def stop(recording: Any, **kwargs: Any) -> None:
        seen.append((kwargs["device"], kwargs["num_processes"]))
        raise InterruptedError

    monkeypatch.setattr(detect, "detect_sequences", stop)
    monkeypatch.setattr(rt_sort_backend, "usable_device", lambda device: (device, ""))
    monkeypatch.setattr(rt_sort_backend, "available_cores", lambda: 16)
    changes = ({}, {"rt_sort_device": "cuda:1"}, {"rt_sort_num_processes": 5})
    for i, change in enumerate(changes):
        with pytest.raises(InterruptedError):
            sort_once(tmp_path / str(i), odd_recording("dense"), **{**RT_SORT, **change})
    assert seen == [("cpu", 1), ("cuda:1", 1), ("cpu", 5)]


def test_rt_sort_verbose_logs_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(progress, "LOG_INTERVAL_S", 0.0)
    for verbose in (True, False):
        caplog.clear()
        sort_once(tmp_path / str(verbose), odd_recording("dense"), rt_sort_verbose=verbose, **RT_SORT)
        for work in ("detecting spikes", "assigning spikes"):
            lines = [line for line in caplog.messages if line.startswith(f"RT-Sort: {work}: ")]
            assert bool(lines) == verbose


def test_without_streaming_waveforms_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    original = ThresholdBackend.extract_waveforms

    def spy(self: ThresholdBackend, *args: Any, **kwargs: Any) -> Any:
        extractor = original(self, *args, **kwargs)
        held.append(extractor.waveforms)
        return extractor

    monkeypatch.setattr(ThresholdBackend, "extract_waveforms", spy)
    recording = simulate(duration_s=SECONDS).recording
    streamed = sort_once(tmp_path / "a", recording, streaming_waveforms=True)
    in_memory = sort_once(tmp_path / "b", recording, streaming_waveforms=False)
    assert not held[0]
    assert len(held[1]) == 5
    assert streamed.units() == in_memory.units()


def test_metrics_of_spikeinterface_are_computed_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SpikeInterface's own values are compared in the tests of waveforms; its functions take long to compile."""

    def three(recording: Any, waveforms: Any, **settings: Any) -> dict[str, dict[int, float]]:
        return {"three": dict.fromkeys(waveforms.unit_ids.tolist(), 3.0)}

    monkeypatch.setattr("spikelab.spike_sorting.waveforms.quality.compute_quality_metrics", three)
    recording = simulate(duration_s=SECONDS).recording
    assert ",si_three" not in sort_once(tmp_path / "a", recording).metrics()
    after = sort_once(tmp_path / "b", recording, si_quality_metrics=True)
    assert ",si_three" in after.metrics()
    assert [unit["si_three"] for unit in after.result.neuron_attributes] == [3.0] * 5


def test_workers_of_the_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikelab.spike_sorting.recording import binary

    workers: list[int] = []
    original = binary._Threads.__init__
    monkeypatch.setattr(binary._Threads, "__init__", lambda self, n: (workers.append(n), original(self, n))[1])
    monkeypatch.setattr(sort_one, "available_cores", lambda: 16)
    recording = simulate(duration_s=15.0, n_channels=4, n_units=2).recording
    for i, settings in enumerate(
        [{"n_jobs": 1}, {"n_jobs": 2}, {"n_jobs": 2, "total_memory": "233M"},
         {"n_jobs": 2, "use_parallel_processing_for_raw_conversion": False}]
    ):  # fmt: skip
        sort_once(tmp_path / str(i), recording, **settings)
    assert workers == [1, 2, 1, 1]


@pytest.mark.parametrize(
    ("flag", "before", "stage"),
    [
        ("recompute_recording", None, "recording"),
        ("recompute_sorting", "recording", "sorting"),
        ("reextract_waveforms", "sorting", "waveforms"),
        ("recurate_first", "waveforms", "curation"),
        ("recurate_second", "waveforms", "curation"),
        ("recompile_single_recording", "curation", "compilation"),
    ],
)
def test_force_flags(tmp_path: Path, flag: str, before: str | None, stage: str) -> None:
    def run_ids() -> dict[str, str]:
        seen = sort_once(tmp_path, recording, **settings)
        record = json.loads((seen.results / "run.json").read_text())
        return {name: stage["run_id"] for name, stage in record["stages"].items()}

    recording, settings = odd_recording("plain"), {}
    first = run_ids()
    settings = {flag: True}
    second = run_ids()
    assert second[stage] != first[stage]
    assert before is None or second[before] == first[before]


def test_on_failure(tmp_path: Path) -> None:
    inputs = [tmp_path / "missing1", tmp_path / "missing2"]
    with pytest.raises(SortBatchError):
        sort_recording(inputs, sorter="threshold")
    assert sort_recording(inputs, sorter="threshold", on_failure="skip") == [None, None]


@pytest.mark.parametrize("retries", [0, 2])
def test_resource_retries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retries: int) -> None:
    batches = []

    def out_of_memory(self: ThresholdBackend, *args: Any) -> None:
        batches.append((self.config.sorter.sorter_params or {}).get("exclude_ms"))
        raise GPUOutOfMemoryError("no memory", sorter="threshold")

    monkeypatch.setattr(ThresholdBackend, "sort", out_of_memory)
    monkeypatch.setattr(ThresholdBackend, "batch_parameter", "exclude_ms")
    monkeypatch.setattr(ThresholdBackend, "batch_default", 64)
    with pytest.raises(GPUOutOfMemoryError):
        sort_once(tmp_path, simulate(duration_s=SECONDS).recording, resource_retries=retries)
    assert batches == [None, 32, 16][: retries + 1]


def test_sorter_timeout_reaches_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikelab.spike_sorting.backends.isolation import start

    seen: list[float | None] = []

    def stop(job: Any, folder: Path, log_path: Path, timeout_s: float | None, **kwargs: Any) -> None:
        seen.append(timeout_s)
        raise InterruptedError

    monkeypatch.setattr(start, "run_in_child", stop)
    for i, timeout in enumerate((None, 12.0)):
        with pytest.raises(InterruptedError):
            sort_once(
                tmp_path / str(i), simulate(duration_s=SECONDS).recording, sorter="spikeinterface:simple",
                sorter_timeout_s=timeout,
            )  # fmt: skip
    assert seen == [None, 12.0]
