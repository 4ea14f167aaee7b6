"""One call from a recording to curated neurons: results, epochs, resume, names and outcomes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulated import FS, Simulated, assert_same_trains, save_recording, simulate
from spikelab.spike_sorting import sort_multistream, sort_recording
from spikelab.spike_sorting._exceptions import (
    EmptyWaveformMetricsError,
    InsufficientActivityError,
    SaturatedSignalError,
    SortBatchError,
)
from spikelab.spikedata import SpikeData

Saved = Callable[..., Path]
LOOSE: dict[str, Any] = {"sorter": "threshold", "spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 2}


def stages_that_ran(results: Path) -> list[str]:
    record = json.loads((results / "run.json").read_text())
    return [name for name, stage in record["stages"].items() if not stage["loaded"]]


def test_every_spike_is_found_where_it_is(simulated: Simulated, tmp_path: Path) -> None:
    (found,) = sort_recording([simulated.recording], results_folders=[tmp_path / "out"], **LOOSE)
    assert isinstance(found, SpikeData)
    assert_same_trains(found.train, simulated.trains_ms)
    assert found.length == 8000.0
    assert [unit["channel_id"] for unit in found.neuron_attributes] == [f"ch{i}" for i in range(5)]
    assert found.metadata["fs_Hz"] == FS


def test_results_folder_is_complete_and_scratch_is_gone(saved: Saved, tmp_path: Path) -> None:
    path = saved("my culture.v2")
    sort_recording([path], compile_to_mat=True, save_raw_pkl=True, save_script=True, **LOOSE)
    results = tmp_path / "sorted_threshold_my culture.v2"
    names = {entry.name for entry in results.iterdir()}
    assert names >= {
        "sorted_spikedata_curated.pkl", "sorted_spikedata_curated.npz", "sorted_spikedata.pkl", "sorted.npz",
        "sorted.mat", "config_used.toml", "run.json", "sort_with_kilosort2.out", "stages", "sort_again.py",
    }  # fmt: skip
    assert not (tmp_path / "inter_threshold_my culture.v2").exists()
    for text in (results / "run.json", results / "stages" / "recording" / "recording.json"):
        assert str(results) not in text.read_text()  # relative paths only: the folder can be moved
    loaded = SpikeData.load(results / "sorted_spikedata_curated.npz")
    assert loaded.N == 5


def test_same_call_twice_runs_nothing(saved: Saved, tmp_path: Path) -> None:
    path = saved()
    (first,) = sort_recording([path], **LOOSE)
    results = tmp_path / "sorted_threshold_culture"
    assert stages_that_ran(results) == ["recording", "sorting", "waveforms", "curation", "compilation", "evidence"]
    before = {file: file.stat().st_mtime_ns for file in results.rglob("*") if file.suffix in {".npz", ".pkl"}}
    (second,) = sort_recording([path], **LOOSE)
    assert stages_that_ran(results) == []
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert_same_trains(second.train, first.train, 0)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"snr_min": 8}, ["curation", "compilation"]),
        ({"max_waveforms_per_unit": 20}, ["waveforms", "curation", "compilation", "evidence"]),
        ({"kilosort_params": {"detect_threshold": 6}}, ["sorting", "waveforms", "curation", "compilation", "evidence"]),
        ({"freq_min": 400}, ["recording", "sorting", "waveforms", "curation", "compilation", "evidence"]),
        ({"save_dl_data": True}, ["compilation"]),
        ({"n_jobs": 1, "total_memory": "1G"}, []),
        ({"recompute_recording": True}, ["recording", "sorting", "waveforms", "curation", "compilation", "evidence"]),
        ({"recompute_sorting": True}, ["sorting", "waveforms", "curation", "compilation", "evidence"]),
        ({"reextract_waveforms": True}, ["waveforms", "curation", "compilation", "evidence"]),
        ({"recurate_first": True}, ["curation", "compilation"]),
        ({"recurate_second": True}, ["curation", "compilation"]),
        ({"recompile_single_recording": True}, ["compilation"]),
    ],
)
def test_a_change_runs_its_stage_and_those_after(
    saved: Saved, tmp_path: Path, changed: dict[str, Any], expected: list[str]
) -> None:
    path = saved(duration_s=3.0)
    sort_recording([path], **LOOSE)
    sort_recording([path], **{**LOOSE, **changed})
    results = tmp_path / "sorted_threshold_culture"
    assert stages_that_ran(results) == expected


def test_resume_says_which_setting_changed(saved: Saved, tmp_path: Path) -> None:
    path = saved(duration_s=3.0)
    sort_recording([path], **LOOSE)
    sort_recording([path], snr_min=8, **LOOSE)
    log = (tmp_path / "sorted_threshold_culture" / "sort_with_kilosort2.out").read_text()
    assert "snr_min changed from 5.0 to 8" in log


def test_folder_of_recordings_returns_one_result_per_file(saved: Saved, tmp_path: Path) -> None:
    folder = tmp_path / "days"
    folder.mkdir()
    days = [simulate(seed=seed, duration_s=length) for seed, length in ((1, 6.0), (2, 4.0))]
    for name, day in zip(("day10", "day2"), reversed(days), strict=True):  # natural order: day2 first
        save_recording(day.recording, folder / name)
    found = sort_recording([folder], **LOOSE)
    assert [result.length for result in found] == [6000.0, 4000.0]
    for result, day in zip(found, days, strict=True):
        assert_same_trains(result.train, day.trains_ms)
    assert [Path(result.metadata["source_file"]).name for result in found] == ["day2", "day10"]


def test_a_file_that_a_cut_leaves_out_has_its_place(saved: Saved, tmp_path: Path) -> None:
    folder = tmp_path / "days"
    folder.mkdir()
    for name, seed in (("day1", 1), ("day2", 2)):
        save_recording(simulate(seed=seed, duration_s=3.0).recording, folder / name)
    with pytest.warns(UserWarning, match="nothing of .*day2 is kept"):
        fresh = sort_recording([folder], end_time_s=2.5, **LOOSE)
    for first, second in (fresh, sort_recording([folder], end_time_s=2.5, **LOOSE)):
        assert (first.length, second.length) == (2500.0, 0.0)
        assert [Path(result.metadata["source_file"]).name for result in (first, second)] == ["day1", "day2"]
        assert first.N == second.N == 5
        assert second.spike_counts.sum() == 0


def test_curation_epoch_judges_all_metrics_on_that_epoch(tmp_path: Path) -> None:
    whole = simulate(n_segments=2)
    snr = {}
    for epoch in (None, 0, 1):
        results = tmp_path / f"{epoch}"
        (found,) = sort_recording([whole.recording], results_folders=[results], curation_epoch=epoch, **LOOSE)
        rows = (results / "unit_metrics.csv").read_text().splitlines()
        snr[epoch] = [float(row.split(",")[rows[0].split(",").index("snr")]) for row in rows[1:]]
    assert snr[None] == [unit["snr"] for unit in found.neuron_attributes]
    assert np.array_equal([snr[0], snr[1]], np.transpose([unit["epoch_snr"] for unit in found.neuron_attributes]))
    assert snr[0] != snr[1] != snr[None]


def test_two_segments_are_epochs_of_one_result(tmp_path: Path) -> None:
    whole = simulate(n_segments=2)
    (found,) = sort_recording([whole.recording], results_folders=[tmp_path / "out"], **LOOSE)
    assert_same_trains(found.train, whole.trains_ms)
    assert found.metadata["rec_chunks_ms"] == [[0.0, 4000.0], [4000.0, 8000.0]]
    for epoch, offset in zip(found.split_epochs(), (0, 4000), strict=True):
        assert epoch.length == 4000.0
        expected = [train[(train >= offset) & (train < offset + 4000)] - offset for train in whole.trains_ms]
        assert_same_trains(epoch.train, expected)


def test_chunks_land_on_the_right_clock(simulated: Simulated, tmp_path: Path) -> None:
    pieces = [(0.5, 2.0), (3.0, 4.5), (6.0, 7.5)]
    (found,) = sort_recording([simulated.recording], rec_chunks_s=pieces, results_folders=[tmp_path / "out"], **LOOSE)
    assert found.length == 4500.0
    edge = 5.0  # ms; a spike at a cut may be lost
    for epoch, (start, end) in zip(found.split_epochs(), pieces, strict=True):
        for train, truth in zip(epoch.train, simulated.trains_ms, strict=True):
            inside = truth[(truth >= start * 1000 + edge) & (truth < end * 1000 - edge)] - start * 1000
            near = train[(train >= edge) & (train < 1500 - edge)]
            np.testing.assert_allclose(near, inside, atol=0.1)


def test_amplitudes_are_the_microvolts_of_the_filtered_traces(simulated: Simulated, tmp_path: Path) -> None:
    from spikeinterface.preprocessing import bandpass_filter

    (found,) = sort_recording([simulated.recording], results_folders=[tmp_path / "out"], **LOOSE)
    traces = bandpass_filter(simulated.recording, 300, 6000).get_traces()
    for unit in found.neuron_attributes:
        mean = traces[unit["spike_train_samples"], unit["channel"]].mean()
        assert unit["amplitude"] == pytest.approx(-mean, rel=0.01)


def test_streams_of_a_real_plate(shared_data: Path, tmp_path: Path) -> None:
    plate = tmp_path / "plate.raw.h5"
    plate.symlink_to(shared_data / "maxtwo_6wells_2recs_real_gzip.raw.h5")
    with pytest.raises(ValueError, match="well099.*well000"):
        sort_multistream(plate, ["well099"], sorter="threshold")
    with pytest.raises(ValueError, match="'stream_id'"):
        sort_multistream(plate, ["well000"], sorter="threshold", stream_id="well000")


def test_failures_of_a_batch_are_collected(saved: Saved, tmp_path: Path) -> None:
    inputs = [saved("fine", duration_s=3.0), saved("silent", n_units=0, duration_s=3.0), tmp_path / "missing.h5"]
    inputs.append(saved("fine2", duration_s=3.0, seed=4))
    with pytest.raises(SortBatchError) as raised:
        sort_recording(inputs, **LOOSE)
    error = raised.value
    assert [result is not None for result in error.results] == [True, False, False, True]
    assert [(entry, type(failure)) for entry, failure in error.failures] == [
        (inputs[1], InsufficientActivityError),
        (inputs[2], FileNotFoundError),
    ]
    assert error.not_attempted == []
    skipped = sort_recording(inputs, on_failure="skip", **LOOSE)
    assert [result is not None for result in skipped] == [True, False, False, True]


def test_biological_outcome_is_remembered(saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikelab.spike_sorting.backends.threshold import ThresholdBackend

    path = saved(n_units=0, duration_s=3.0)
    with pytest.raises(InsufficientActivityError) as first:
        sort_recording([path], **LOOSE)
    calls: list[int] = []
    original = ThresholdBackend.sort
    monkeypatch.setattr(ThresholdBackend, "sort", lambda *args: (calls.append(1), original(*args))[1])
    with pytest.raises(InsufficientActivityError) as second:
        sort_recording([path], **LOOSE)
    assert not calls
    assert str(second.value) == str(first.value)
    with pytest.raises(InsufficientActivityError):
        sort_recording([path], recompute_sorting=True, **LOOSE)
    assert calls == [1]
    assert (
        json.loads((tmp_path / "sorted_threshold_culture" / "run.json").read_text())["status"] == "biological failure"
    )


def test_flat_recording_is_said_to_be_flat(tmp_path: Path) -> None:
    flat = simulate(noise_uv=0.0, n_units=0, duration_s=2.0)
    with pytest.raises(SaturatedSignalError, match="8"):
        sort_recording([flat.recording], results_folders=[tmp_path / "out"], **LOOSE)


def test_nan_is_refused_and_says_where(tmp_path: Path) -> None:
    broken = simulate(duration_s=2.0)
    broken.recording.get_traces()[1000, 3] = np.nan
    with pytest.raises(ValueError, match=r"(?i)nan|finite"):
        sort_recording([broken.recording], results_folders=[tmp_path / "out"], **LOOSE)


def test_one_unit_one_spike(tmp_path: Path) -> None:
    one = simulate(n_units=1, n_spikes=1, duration_s=2.0)
    settings = {**LOOSE, "spikes_min_first": 1, "spikes_min_second": 1}
    (found,) = sort_recording([one.recording], results_folders=[tmp_path / "out"], create_figures=True, **settings)
    assert_same_trains(found.train, one.trains_ms)


def test_zero_curated_units_is_a_result(simulated: Simulated, tmp_path: Path) -> None:
    settings = {**LOOSE, "spikes_min_first": 10_000}
    (found,) = sort_recording(
        [simulated.recording], results_folders=[tmp_path / "out"], create_figures=True, compile_to_mat=True, **settings
    )
    assert found.N == 0
    assert SpikeData.load(tmp_path / "out" / "sorted_spikedata_curated.npz").N == 0


def test_empty_recording_is_refused(tmp_path: Path) -> None:
    from spikeinterface.core import NumpyRecording

    empty = NumpyRecording([np.empty((0, 4), np.float32)], FS)
    with pytest.raises(ValueError, match=r"(?i)no samples|empty"):
        sort_recording([empty], results_folders=[tmp_path / "out"], **LOOSE)


def test_empty_list_gives_an_empty_list() -> None:
    assert sort_recording([], sorter="threshold") == []


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"sorter": "no such"}, ValueError, "Unknown sorter 'no such'"),
        ({"sorter": "threshold", "snr_mim": 3}, TypeError, "Unknown parameter 'snr_mim'.*snr_min"),
        ({"sorter": "threshold", "sorter_params": {"detect_treshold": 4}}, ValueError, "detect_threshold"),
        ({"sorter": "threshold", "isi_violation_method": "x"}, ValueError, "must be one of"),
        (
            {"sorter": "threshold", "results_folders": ["a", "b"]},
            ValueError,
            "2 entries for 1 recordings; expected a list of the same length",
        ),
    ],
)
def test_impossible_calls_are_refused_before_any_file_is_touched(
    tmp_path: Path, kwargs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sort_recording([tmp_path / "not there"], **kwargs)
    assert not list(tmp_path.iterdir())


def test_twins_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is given twice"):
        sort_recording([tmp_path / "a", tmp_path / "x" / ".." / "a"], sorter="threshold")


def test_files_of_the_same_name_do_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = sort_recording([simulate(duration_s=2.0, seed=i).recording for i in range(2)], **LOOSE)
    *folders, overview = sorted((entry.name for entry in tmp_path.iterdir()), key=lambda name: "overview" in name)
    assert len(folders) == 2
    assert all(name.startswith("sorted_threshold_recording_") for name in folders)
    assert overview == "sorted_threshold_overview"
    assert found[0].N == found[1].N == 5


def test_results_folder_as_intermediate_folder(simulated: Simulated, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    sort_recording(
        [simulated.recording], results_folders=[folder], intermediate_folders=[folder], delete_inter=False, **LOOSE
    )
    assert (folder / "intermediate" / "recording" / "traces.dat").exists()
    assert (folder / "intermediate" / "waveforms" / "waveforms_0.npy").exists()


def test_scratch_removes_only_what_the_run_wrote(simulated: Simulated, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "mine.txt").write_text("keep")
    sort_recording([simulated.recording], results_folders=[tmp_path / "out"], intermediate_folders=[scratch], **LOOSE)
    assert [entry.name for entry in scratch.iterdir()] == ["mine.txt"]


def test_compiled_waveforms_are_written_from_rewritten_scratch(simulated: Simulated, tmp_path: Path) -> None:
    results = tmp_path / "out"
    sort_recording([simulated.recording], results_folders=[results], intermediate_folders=[tmp_path / "i"], **LOOSE)
    sort_recording(
        [simulated.recording],
        results_folders=[results],
        intermediate_folders=[tmp_path / "i"],
        compile_waveforms=True,
        **LOOSE,
    )
    assert stages_that_ran(results) == ["compilation"]
    waveforms = np.load(results / "negative_peaks" / "waveforms_0.npy")
    assert waveforms.shape[1:] == (81, 8)
    assert not (tmp_path / "i").exists()


def test_metric_without_waveforms_is_an_error_of_its_own(simulated: Simulated) -> None:
    with pytest.raises(EmptyWaveformMetricsError):
        SpikeData(simulated.trains_ms).curate_by_snr()
