"""What the command line chooses where nobody gave a setting, says and keeps; what somebody gave stays."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import Result
from spikeinterface.core import NumpyRecording

from formats_by_hand import some_counts, write_spikeglx
from plates import FS
from spikelab.spike_sorting.config import RT_SORT_NEUROPIXELS, preset
from spikelab.spike_sorting.data import Geometry
from spikelab.spike_sorting.recording import StreamInfo, write_maxwell
from spikelab.spike_sorting.recording.maxwell_writer import add_well
from spikelab.spike_sorting.run import choices
from spikelab.spike_sorting.run.choices import best_sorter, choose_for, choose_sorter, is_column
from spikelab.spike_sorting.run.parts import parts_of
from spikelab.spike_sorting.run.wanted import Wanted, wanted
from spikelab.spike_sorting.settings.presets import PRESET_DOCS, PRESETS
from spikelab.system.gpus import Gpu, Gpus

GRID = Geometry.of(np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(-1, 2) * 60.0)
COLUMN = Geometry.of(np.column_stack([np.tile([0.0, 32.0], 20), np.repeat(np.arange(20) * 20.0, 2)]))
SHANKS = Geometry.of(np.vstack([COLUMN.places, COLUMN.places + np.array([250.0, 0.0])]), groups=[0] * 40 + [1] * 40)
TETRODE = Geometry.of(np.array([[0.0, 0.0], [25.0, 0.0], [0.0, 25.0], [25.0, 25.0]]))


def given(sorter: str | None = "rt_sort", **changes: Any) -> Wanted:
    found, problems = wanted(sorter, None, changes)
    assert not problems
    assert found is not None
    return found


def info(rate: float, geometry: Geometry = GRID) -> StreamInfo:
    sizes = {"n_channels": len(geometry.places), "n_samples": 10_000, "sampling_frequency": rate}
    return StreamInfo(Path("f"), "x", geometry=geometry, **sizes)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str]]:
    """A function that says which sorter is the best on a machine of a certain kind."""

    def best(found: Gpus, *, kilosort: bool, why_not: str = "") -> tuple[str, str]:
        monkeypatch.setattr("spikelab.system.gpus.gpus", lambda: found)
        monkeypatch.setattr("spikelab.spike_sorting.backends.kilosort4.parameter_names", lambda: ["nt"] * kilosort)
        monkeypatch.setattr(choices, "why_no_gpu", lambda: why_not)
        return best_sorter.__wrapped__()

    return best


def test_the_best_sorter_is_kilosort_4_where_its_package_and_a_gpu_are(host: Callable[..., tuple[str, str]]) -> None:
    gpu = Gpus((Gpu(0, "H200", 2**34, 2**34),))
    assert host(gpu, kilosort=True) == ("kilosort4", "its package and a GPU are here: H200")
    assert host(gpu, kilosort=False)[0] == "rt_sort"
    assert host(Gpus(problem="no driver"), kilosort=True)[0] == "rt_sort"
    name, why = host(gpu, kilosort=True, why_not="the PyTorch that is installed is one for the CPU only")
    assert (name, "for the CPU only" in why) == ("rt_sort", True)


def test_settings_of_a_sorter_choose_it() -> None:
    assert choose_sorter(given(None, kilosort_path="/matlab")).config.sorter.sorter_name == "kilosort2"
    assert choose_sorter(given(None, rt_sort_params={"learning_s": 60})).config.sorter.sorter_name == "rt_sort"
    assert choose_sorter(given("kilosort4")).chosen == {}


@pytest.mark.parametrize(
    ("geometry", "rate", "probe"),
    [(COLUMN, 30_000.0, "neuropixels"), (SHANKS, 30_000.0, "neuropixels"), (GRID, 30_000.0, "mea"),
     (COLUMN, 20_000.0, "mea"), (TETRODE, 30_000.0, "mea")],
)  # fmt: skip
def test_the_preset_of_rt_sort_fits_the_probe(geometry: Geometry, rate: float, probe: str) -> None:
    chosen = choose_for(given(), info(rate, geometry))
    assert chosen.config.rt_sort.probe == probe
    assert chosen.config.rt_sort.params == preset(f"rt_sort_{probe}").rt_sort.params
    assert f"preset rt_sort_{probe}" in chosen.chosen["rt_sort_probe"].text


def test_stripes_of_neuropixels_are_removed_before_rt_sort_unless_somebody_says_otherwise() -> None:
    probe = replace(info(30_000.0, COLUMN), in_turn=True)
    chosen = choose_for(given(), probe)
    assert chosen.config.recording.spatial_filter == "highpass"
    assert "sampled one after the other" in chosen.chosen["spatial_filter"].text
    wanting = [given("kilosort4"), given(common_reference="median"), given(spatial_filter=None)]
    others = [(who, probe) for who in wanting]
    others += [(given(), info(30_000.0, COLUMN)), (given(), replace(info(30_000.0, GRID), in_turn=True))]
    assert {choose_for(who, what).config.recording.spatial_filter for who, what in others} == {None}


def test_places_that_are_assumed_are_no_column() -> None:
    unknown = Geometry.of(np.full((40, 2), np.nan))
    assumed = replace(COLUMN, own_places=unknown.own_places)
    assert is_column(COLUMN)
    assert not is_column(assumed)


def test_presets_that_are_alike_are_said_to_be() -> None:
    """Two names for one chain are a promise of two, unless their line says so."""
    named = list(PRESETS.items())
    alike = [(a, b) for i, (a, one) in enumerate(named) for b, other in named[i + 1 :] if one == other]
    assert alike == [("maxwell", "low_density")]
    assert all(f"the chain of {first}" in PRESET_DOCS[second] for first, second in alike)


def test_a_short_shank_beside_a_column_changes_nothing() -> None:
    places = np.vstack([COLUMN.places, [[500.0, 0.0], [500.0, 20.0]]])
    assert is_column(Geometry.of(places, np.repeat([0, 1], [40, 2])))
    mostly_tetrodes = np.vstack(
        [COLUMN.places[:12], *(np.array([600.0 * k, 0.0]) + TETRODE.places for k in range(1, 5))]
    )
    assert not is_column(Geometry.of(mostly_tetrodes, np.repeat([0, 1, 2, 3, 4], [12, 4, 4, 4, 4])))


def test_what_somebody_gave_stays() -> None:
    mine = choose_for(
        given(rt_sort_probe="mea", freq_max=4000, rt_sort_device="cuda:1", out_file="x.log", motion=None),
        info(FS, COLUMN),
    )
    assert dict(mine.chosen) == {}
    params = choose_for(given(rt_sort_params={"loose_thresh": 0.2}), info(30_000.0, COLUMN)).config.rt_sort.params
    assert params == {**(RT_SORT_NEUROPIXELS.rt_sort.params or {}), "loose_thresh": 0.2}


def test_the_band_is_lowered_only_where_it_does_not_fit() -> None:
    assert choose_for(given(), info(10_000.0)).config.recording.freq_max == 4500
    assert "freq_max" not in choose_for(given(), info(20_000.0)).chosen


def test_movement_is_measured_along_columns_and_not_in_planes() -> None:
    for sorter in ("rt_sort", "kilosort4"):
        assert choose_for(given(sorter), info(30_000.0, COLUMN)).config.recording.motion == "estimate"
    assert choose_for(given(), info(30_000.0, SHANKS)).config.recording.motion == "estimate"
    for plane in (GRID, TETRODE):
        assert choose_for(given(), info(30_000.0, plane)).config.recording.motion is None
    sparse = Geometry.of(np.column_stack([np.zeros(8), 200.0 * np.arange(8)]))  # each neuron is seen by one electrode
    assert choose_for(given(), info(30_000.0, sparse)).config.recording.motion is None
    wide = Geometry.of(np.stack(np.meshgrid(45.0 * np.arange(3), 45.0 * np.arange(6)), -1).reshape(-1, 2))
    assert choose_for(given(), info(30_000.0, wide)).config.recording.motion is None  # a sort would refuse it
    unknown = info(30_000.0, Geometry.of(np.full((40, 2), np.nan)))
    assert choose_for(given(), unknown).config.recording.motion is None
    assert "motion" not in choose_for(given(motion=None), info(30_000.0, COLUMN)).chosen


def test_the_log_has_the_name_of_the_sorter() -> None:
    sorters = ("kilosort2", "rt_sort", "spikeinterface:lupin")
    names = {s: choose_for(given(s), info(20_000.0)).config.execution.out_file for s in sorters}
    assert names["kilosort2"] == "sort_with_kilosort2.out"
    assert names["rt_sort"] == "sort_with_rt_sort.out"
    assert names["spikeinterface:lupin"] == "sort_with_spikeinterface-lupin.out"


def test_presets_for_probes_measure_movement_and_others_do_not() -> None:
    measuring = {name for name in PRESETS if preset(name).recording.motion == "estimate"}
    assert measuring == {"neuropixels_rt_sort", "neuropixels_kilosort4"}
    assert {preset(name).recording.motion for name in set(PRESETS) - measuring} == {None}


def test_every_preset_is_described_and_can_be_had_by_name(run: Callable[..., Result]) -> None:
    assert list(PRESET_DOCS) == list(PRESETS)
    assert preset("RT-Sort-Neuropixels") == RT_SORT_NEUROPIXELS
    shown = run("show-config", "--preset", "rt_sort_neuropixels", "--preset", "evidence")
    assert shown.exit_code == 0
    assert 'probe = "neuropixels"' in shown.stdout
    assert "significance_min = 8.0" in shown.stdout
    assert "stringent_thresh = 0.175" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "neuropixels"], "there is no preset 'neuropixels' (did you mean 'rt_sort_neuropixels'"),
        (["--preset", "rt_sort"], "a sorter is chosen with --sorter"),
        (["--sorter", "RT_Sort"], "Did you mean 'rt_sort'?"),
        (["--sorter", "kilosort4", "--preset", "rt_sort_mea"], "--preset rt_sort_mea is one of rt_sort"),
    ],
)
def test_unknown_sorters_and_presets_are_errors_everywhere(
    run: Callable[..., Result], arguments: list[str], message: str
) -> None:
    for command in (["show-config"], ["sort", "f.h5"], ["inspect", "f.h5"]):
        done = run(*command, *arguments)
        assert (done.exit_code, message in done.output) == (2, True), done.output


def test_all_faults_of_the_settings_are_told_at_once(run: Callable[..., Result]) -> None:
    done = run("sort", "f.h5", "--sorter", "treshold", "--set", "snr_mim=3", "--set", "freq_min=x", "--set", "y")
    assert done.exit_code == 2
    for words in ("'threshold'", "'snr_min'", "'freq_min' must be", "--set y: expected"):
        assert words in done.output


def test_show_config_leaves_unset_what_is_chosen_for_each_recording(run: Callable[..., Result], tmp_path: Path) -> None:
    shown = run("show-config", "--sorter", "rt_sort").stdout
    assert "# freq_max = 6000  # not set: chosen for each recording" in shown
    (tmp_path / "run.toml").write_text(shown)
    found, _ = wanted(None, tmp_path / "run.toml", {})
    assert found is not None
    assert found.gave("sorter_name", "freq_min")
    assert not found.gave("freq_max", "rt_sort_probe", "rt_sort_params", "rt_sort_device", "out_file")


def test_a_plate_at_10_khz_is_sorted_without_a_setting(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "best_sorter", lambda: ("threshold", "for a test"))
    counts = np.random.default_rng(0).integers(500, 524, (4, 20_000)).astype(np.uint16)
    counts[1, 500::800] = 400
    places = np.column_stack([np.arange(4) * 17.5, np.zeros(4)])
    write_maxwell(tmp_path / "plate.raw.h5", counts, FS, places)
    with h5py.File(tmp_path / "plate.raw.h5", "r+") as file:
        for name in ("rec0000", "rec0001"):
            add_well(file, counts, FS, places, well="well001", rec_name=name)
    refused = run("sort", tmp_path / "plate.raw.h5")
    assert (refused.exit_code, "--all-recordings or --set rec_name=rec0000" in refused.stderr) == (3, True)
    assert not list(tmp_path.glob("*sorted*"))  # nothing is left of it
    done = run("sort", tmp_path / "plate.raw.h5", "--all-recordings")
    assert done.exit_code == 0, done.output
    assert "chosen: sorter threshold (for a test); band-pass 300 to 4500 Hz" in done.stderr
    names = {f"plate_{name}" for name in ("well000", "well001_rec0000", "well001_rec0001")}
    assert {line.split()[0] for line in done.stdout.splitlines()[1:4]} == names
    for name in names:
        results = tmp_path / f"sorted_threshold_{name}"
        kept = json.loads((results / "run.json").read_text())["chosen"]
        assert list(kept) == ["sorter_name", "freq_max", "out_file"]
        assert (results / "sort_with_threshold.out").exists()
    assert "open" in done.stdout.splitlines()[-1]


def test_only_streams_with_traces_of_spikes_are_sorted(tmp_path: Path) -> None:
    (part,) = parts_of(write_spikeglx(tmp_path / "ap", some_counts(3_000)), given())
    assert part.wanted.config.recording.stream_id is None  # the only one with electrodes: not its SYNC
    assert part.faults == ()
    folder = write_spikeglx(tmp_path / "both", some_counts(6_000), lf=True)
    (part,) = parts_of(folder, given())
    assert part.wanted.config.recording.stream_id == "imec0.ap"
    assert part.left_out == "not sorted, as its sampling rate is too low for spikes: ['imec0.lf']"
    (slow,) = parts_of(folder, given(), ["imec0.lf"])
    assert "its sampling rate is 2500 Hz; expected at least 5000 Hz" in slow.faults[0].text()
    (unknown,) = parts_of(folder, given(), ["imec1.ap"])
    assert "has no stream 'imec1.ap'. It has" in unknown.faults[0].text()


def test_recordings_in_memory_keep_pythons_defaults() -> None:
    from spikelab.spike_sorting import sort_recording

    raw = NumpyRecording([np.random.default_rng(0).normal(0, 6, (10_000, 2)).astype(np.float32)], FS)
    with pytest.raises(ValueError, match="set freq_max=4500 or lower"):
        sort_recording([raw], sorter="threshold")


def test_details_are_for_those_who_ask(run: Callable[..., Result], tmp_path: Path) -> None:
    plain = run("export", tmp_path, "--to", "npz")
    assert "Traceback" not in plain.output
    verbose = run("export", tmp_path, "--to", "npz", "--verbose")
    assert (verbose.exit_code, "Traceback" in verbose.stderr) == (plain.exit_code, True)
    assert logging.getLogger("spikelab").level == logging.DEBUG
