"""RT-Sort as a backend: every setting, the saved object, failures, and what is kept."""

from __future__ import annotations

import importlib.util
import json
import logging
import pickle
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from spikeinterface.core import NumpySorting

from simulated import DENSE_PITCH_UM, Simulated, assert_same_trains, simulate, simulate_dense
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import (
    GPUOutOfMemoryError,
    HostOutOfMemoryError,
    InsufficientActivityError,
    ModelLoadingError,
)
from spikelab.spike_sorting.backends import rt_sort as backend_module
from spikelab.spike_sorting.backends.rt_sort import RTSortBackend, content_key, usable_device
from spikelab.spike_sorting.config import RT_SORT_MEA, RT_SORT_NEUROPIXELS
from spikelab.spike_sorting.data import BinaryRecording
from spikelab.spike_sorting.rt_sort import ModelSpikeSorter, RTSort, detect

MODELS = Path(str(files("spikelab.spike_sorting.rt_sort.detection") / "models"))
Trains = dict[int, list[int]]


def backend(**settings: Any) -> RTSortBackend:
    return RTSortBackend(RT_SORT_MEA.override(**{"n_jobs": 1, "rt_sort_device": "cpu", **settings}))


def trains_of(sorting: Any) -> Trains:
    return {int(unit): sorting.get_unit_spike_train(unit).tolist() for unit in sorting.unit_ids}


def run(recording: BinaryRecording, folder: Path, **settings: Any) -> Trains:
    folder.mkdir(parents=True, exist_ok=True)
    return trains_of(backend(**settings).sort(recording.to_spikeinterface(), "x.h5", folder / "traces.dat", folder))


@pytest.fixture(scope="module")
def sorted_once(small_recording: BinaryRecording, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trains]:
    """Output folder and spikes of a sort with the defaults."""
    folder = tmp_path_factory.mktemp("once")
    return folder, run(small_recording, folder)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every call of `detect_sequences`, which does its work as usual."""
    calls: list[dict[str, Any]] = []
    original = detect.detect_sequences

    def spy(recording: Any, **kwargs: Any) -> RTSort:
        calls.append(kwargs)
        return original(recording, **kwargs)

    monkeypatch.setattr(detect, "detect_sequences", spy)
    return calls


@pytest.fixture
def no_detection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequences must not be looked for."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("detect_sequences was called")

    monkeypatch.setattr(detect, "detect_sequences", fail)


# What it finds and keeps


def test_finds_the_units(sorted_once: tuple[Path, Trains]) -> None:
    _, trains = sorted_once
    assert [len(train) for train in trains.values()] == pytest.approx([54, 54, 54], abs=2)


def test_what_stood_still_is_told_where_it_was_looked_at(
    sorted_once: tuple[Path, Trains], small_recording: BinaryRecording, tmp_path: Path
) -> None:
    def sort(folder: Path, **settings: Any) -> Any:
        folder.mkdir()
        read = small_recording.to_spikeinterface()
        return backend(**settings).sort(read, "x.h5", folder / "traces.dat", folder)

    found = sort(tmp_path / "found")
    assert found.get_property("moved_um").tolist() == [0.0] * found.get_num_units()
    assert found.get_property("size_ratio").tolist() == [1.0] * found.get_num_units()
    surely = RTSort.load(tmp_path / "found" / "rt_sort").sequences.significance
    assert (surely > 8).all()
    np.testing.assert_array_equal(found.get_property("sorter_significance"), surely)
    applied = sort(tmp_path / "applied", rt_sort_model_path=str(sorted_once[0] / "rt_sort"))
    assert "moved_um" not in applied.get_property_keys()


def test_saved_object_is_the_one_that_sorted(
    sorted_once: tuple[Path, Trains], small_recording: BinaryRecording
) -> None:
    folder, trains = sorted_once
    loaded = RTSort.load(folder / "rt_sort")
    with (folder / "rt_sort.pickle").open("rb") as file:
        unpickled = pickle.load(file)
    for rt_sort in (loaded, unpickled):
        assert isinstance(rt_sort, RTSort)
        assert trains_of(rt_sort.sort_offline(small_recording)) == trains
    assert sorted(path.name for path in folder.iterdir()) == ["rt_sort", "rt_sort.pickle"]


def test_nothing_is_saved_where_nobody_wants_it(small_recording: BinaryRecording, tmp_path: Path) -> None:
    run(small_recording, tmp_path, rt_sort_save_pickle=False)
    assert list(tmp_path.iterdir()) == []
    assert backend(rt_sort_save_pickle=False).kept == ()


def test_sequences_without_spikes_are_no_units(
    small_recording: BinaryRecording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {0: np.array([5, 9]), 1: np.empty(0, int), 2: np.array([7])}
    monkeypatch.setattr(RTSort, "sort_offline", lambda *_, **__: NumpySorting.from_unit_dict(found, 20_000.0))
    assert run(small_recording, tmp_path) == {0: [5, 9], 2: [7]}


def test_silence_is_said_to_be_silent(make_binary: Any, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 80, (60_000, 8))
    binary = make_binary(noise, tmp_path / "noise.dat", np.array([(0, 40.0 * i) for i in range(8)]))
    with pytest.raises(InsufficientActivityError) as caught:
        run(binary, tmp_path / "out")
    assert caught.value.sorter == "rt_sort"


def test_torch_is_not_needed(small_recording: BinaryRecording, tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = None  # every import of it fails
import logging
logging.basicConfig(level=logging.INFO)
from pathlib import Path
from spikelab.spike_sorting.data import BinaryRecording
from spikelab.spike_sorting.backends.rt_sort import RTSortBackend
from spikelab.spike_sorting.config import RT_SORT_MEA
import json
values = json.loads({json.dumps(small_recording.to_dict())!r})
binary = BinaryRecording.from_dict(Path({str(small_recording.path)!r}), values)
sorting = RTSortBackend(RT_SORT_MEA).sort(binary.to_spikeinterface(), None, Path("t.dat"), Path({str(tmp_path)!r}))
print(len(sorting.unit_ids))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "3"
    assert "INFO:spikelab.spike_sorting.backends.rt_sort:rt_sort runs on the CPU instead of 'cuda'" in done.stderr


# A saved RTSort, or another model


def test_saved_object_is_applied_instead_of_detecting(
    sorted_once: tuple[Path, Trains], small_recording: BinaryRecording, tmp_path: Path, no_detection: None
) -> None:
    folder, trains = sorted_once
    assert run(small_recording, tmp_path, rt_sort_model_path=folder / "rt_sort", rt_sort_device="cuda") == trains
    assert RTSort.load(tmp_path / "rt_sort").n_sequences == 3  # what sorted this one, too


def test_parameters_replace_those_of_a_saved_object(
    sorted_once: tuple[Path, Trains], small_recording: BinaryRecording, tmp_path: Path, no_detection: None
) -> None:
    folder, trains = sorted_once
    strict = run(small_recording, tmp_path, rt_sort_model_path=folder / "rt_sort", rt_sort_params={"min_scale": 0.97})
    assert 0 < sum(map(len, strict.values())) < sum(map(len, trains.values()))
    kept, before = RTSort.load(tmp_path / "rt_sort").parameters, RTSort.load(folder / "rt_sort").parameters
    assert asdict(kept) == {**asdict(before), "min_scale": 0.97}


def test_saved_object_of_another_array_is_refused(
    sorted_once: tuple[Path, Trains], make_binary: Any, tmp_path: Path
) -> None:
    other = make_binary(np.zeros((40_000, 4)), tmp_path / "other.dat", np.array([(0, 40.0 * i) for i in range(4)]))
    with pytest.raises(ValueError, match="16 channels, the recording has 4"):
        run(other, tmp_path / "out", rt_sort_model_path=sorted_once[0] / "rt_sort")


def test_the_saved_object_of_a_group_is_that_of_its_channels(
    sorted_once: tuple[Path, Trains], small_recording: BinaryRecording, tmp_path: Path, no_detection: None,
) -> None:  # fmt: skip
    """A shank all of whose channels are bad is no group any more: those after it have other numbers."""
    folder, trains = sorted_once
    of_this = RTSort.load(folder / "rt_sort")
    renamed = replace(of_this, channel_ids=tuple(f"other{name}" for name in of_this.channel_ids))
    for group, each in (("group0", renamed), ("group3", of_this)):
        each.save(tmp_path / "saved" / group / "rt_sort")
    assert run(small_recording, tmp_path / "group0", rt_sort_model_path=tmp_path / "saved") == trains
    assert RTSort.load(tmp_path / "group0" / "rt_sort").channel_ids == of_this.channel_ids
    same_places = replace(small_recording, channel_ids=tuple(f"new{name}" for name in of_this.channel_ids))
    assert run(same_places, tmp_path / "named" / "group0", rt_sort_model_path=tmp_path / "saved") == trains
    names = tuple(f"far{channel}" for channel in range(16))
    elsewhere = replace(same_places, channel_ids=names, locations=small_recording.locations + 500.0)
    with pytest.raises(InsufficientActivityError, match="no saved RTSort for group0"):
        run(elsewhere, tmp_path / "far" / "group0", rt_sort_model_path=tmp_path / "saved")


def other_model(folder: Path) -> Path:
    """A model that differs from the bundled ones."""
    replace(ModelSpikeSorter.load_bundled("mea"), input_scale=0.9).save(folder)
    return folder


def test_model_path_and_probe_choose_the_model(
    small_recording: BinaryRecording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Any] = []
    mea = ModelSpikeSorter.load_bundled("mea")

    def bundled(probe: str) -> ModelSpikeSorter:
        used.append(probe)
        return mea

    def stop(traces: Any, model: ModelSpikeSorter, *args: Any, **kwargs: Any) -> None:
        used.append(model.input_scale)
        raise InterruptedError

    other = other_model(tmp_path / "model")
    monkeypatch.setattr(ModelSpikeSorter, "load_bundled", bundled)
    monkeypatch.setattr(detect, "detect_all", stop)
    for settings in ({}, {"rt_sort_probe": "neuropixels"}, {"rt_sort_model_path": str(other)}):
        with pytest.raises(InterruptedError):
            run(small_recording, tmp_path, **settings)
    assert used == ["mea", mea.input_scale, "neuropixels", mea.input_scale, 0.9]


@pytest.mark.parametrize("kind", ["missing", "empty", "damaged model", "damaged sequences"])
def test_what_cannot_be_loaded_is_found_before_the_recording_is_filtered(
    kind: str, sorted_once: tuple[Path, Trains], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    if kind == "empty":
        folder.mkdir()
    elif kind == "damaged model":
        shutil.copytree(MODELS / "mea", folder)
        (folder / "state_dict.pt").write_bytes(b"nonsense")
    elif kind == "damaged sequences":
        shutil.copytree(sorted_once[0] / "rt_sort", folder)
        (folder / "sequences.npz").write_bytes(b"nonsense")
    with pytest.raises(ModelLoadingError) as caught:
        sort_dense(tmp_path, simulate_dense(2.0), rt_sort_model_path=folder)
    assert Path(caught.value.model_path) == folder
    assert not (tmp_path / "out" / "stages" / "recording").exists()
    assert content_key(folder) is None or kind.startswith("damaged")


# Device, workers, windows, seed


@pytest.fixture
def fake_torch(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A PyTorch with one CUDA GPU and no Apple one."""
    torch = SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: True, device_count=lambda: 1),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False)),
        __spec__=object(),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(backend_module, "version", lambda name: "2.9.0")
    return torch


def test_device_that_is_there_is_used(fake_torch: SimpleNamespace) -> None:
    for device in ("cpu", "cuda", "cuda:0"):
        assert usable_device(device) == (device, "")
    fake_torch.backends.mps.is_available = lambda: True
    assert usable_device("mps") == ("mps", "")


def test_device_that_is_not_there_is_the_cpu(fake_torch: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def why(device: str) -> str:
        used, reason = usable_device(device)
        assert used == "cpu"
        return reason

    assert "only 1 GPU" in why("cuda:1")
    assert "Apple" in why("mps")
    fake_torch.cuda.is_available = lambda: False
    assert "no GPU" in why("cuda")
    monkeypatch.setattr(backend_module, "version", lambda name: "2.9.0+cpu")
    assert "for the CPU only" in why("cuda")
    monkeypatch.setattr(backend_module, "version", lambda name: "2.9.0")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert "cannot be imported" in why("cuda")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "not installed" in why("cuda")


def test_cpu_instead_of_a_gpu_is_told_and_changes_nothing(
    sorted_once: tuple[Path, Trains], small_recording: BinaryRecording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, seen: list[dict[str, Any]],
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(backend_module, "usable_device", lambda device: ("cpu", "" if device == "cpu" else "a reason"))
    assert run(small_recording, tmp_path, rt_sort_device="cuda") == sorted_once[1]  # the default: nobody asked for it
    said = {record.getMessage(): record.levelno for record in caplog.records}
    assert said["rt_sort runs on the CPU instead of 'cuda': a reason"] == logging.INFO
    assert run(small_recording, tmp_path, rt_sort_device="cuda:1") == sorted_once[1]
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "runs on the CPU instead of 'cuda:1': a reason" in warning.getMessage()
    monkeypatch.setattr(backend_module, "usable_device", lambda device: (device, ""))
    with pytest.raises((RuntimeError, AssertionError, ImportError)):  # there is no such GPU: it really is asked for
        run(small_recording, tmp_path, rt_sort_device="cuda:99")
    assert [call["device"] for call in seen] == ["cpu", "cpu", "cuda:99"]


def test_doctor_says_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_module, "usable_device", lambda device: ("cpu", "a reason"))
    assert backend(rt_sort_device="cuda").about() == "on the CPU; no GPU can be used: a reason"
    monkeypatch.setattr(backend_module, "usable_device", lambda device: (device, ""))
    assert backend(rt_sort_device="cuda").about() == "on cuda, or on the CPU"


def test_workers_change_nothing_but_the_number(
    sorted_once: tuple[Path, Trains], small_recording: BinaryRecording, tmp_path: Path, seen: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(backend_module, "available_cores", lambda: 3)
    for settings in ({"n_jobs": 2}, {"n_jobs": 8}, {"n_jobs": 1, "rt_sort_num_processes": 2},
                     {"n_jobs": 1, "rt_sort_num_processes": 64}):  # fmt: skip
        assert run(small_recording, tmp_path, **settings) == sorted_once[1]
    assert [call["num_processes"] for call in seen] == [2, 3, 2, 3]


def test_window_bounds_the_work_not_the_clock(
    sorted_once: tuple[Path, Trains], small_recording: BinaryRecording, tmp_path: Path
) -> None:
    trains = run(small_recording, tmp_path, rt_sort_recording_window_ms=(3_000, 9_000))
    low, high = 61_000, 179_000  # away from the edges
    for train, whole in zip(trains.values(), sorted_once[1].values(), strict=True):
        expected = [t for t in whole if low < t < high]
        assert [t for t in train if low < t < high] == pytest.approx(expected, abs=1)  # found anew: a frame may differ
    assert all(train[0] >= 60_000 and train[-1] < 180_000 for train in trains.values())


def test_detection_window_finds_in_its_part_and_sorts_all(
    sorted_once: tuple[Path, Trains], small_recording: BinaryRecording, tmp_path: Path, seen: list[dict[str, Any]]
) -> None:
    trains = run(small_recording, tmp_path, rt_sort_detection_window_s=6.0)
    assert seen[0]["detection_window_s"] == 6.0
    assert {unit: len(train) for unit, train in trains.items()} == pytest.approx(
        {unit: len(train) for unit, train in sorted_once[1].items()}, abs=1
    )
    assert RTSort.load(tmp_path / "rt_sort").sequences.n_spikes.max() < 40


def test_seed_and_silence_reach_the_detection(
    small_recording: BinaryRecording, tmp_path: Path, seen: list[dict[str, Any]]
) -> None:
    run(small_recording, tmp_path, random_seed=77, rt_sort_verbose=False)
    assert (seen[0]["seed"], seen[0]["verbose"]) == (77, False)


# Parameters


def test_neuropixels_preset_is_honoured_in_full(small_recording: BinaryRecording, tmp_path: Path) -> None:
    pinned = RT_SORT_NEUROPIXELS.rt_sort.params
    assert pinned is not None
    assert len(pinned) == 9
    config = RT_SORT_NEUROPIXELS.override(n_jobs=1, rt_sort_device="cpu", sorter_params={"loose_thresh": 0.08})
    sorter = RTSortBackend(config)
    sorter.check_settings()
    sorter.sort(small_recording.to_spikeinterface(), None, tmp_path / "traces.dat", tmp_path)
    used = asdict(RTSort.load(tmp_path / "rt_sort").parameters)
    assert {name: used[name] for name in pinned} == {**pinned, "loose_thresh": 0.08}  # sorter_params on top


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rt_sort_params": {"stringent_tresh": 0.3}}, "Unknown parameter 'stringent_tresh'.*stringent_thresh"),
        ({"sorter_params": {"batch_size": 3}}, "Unknown parameter 'batch_size'"),
        ({"rt_sort_params": {"stringent_thresh": 3}}, "stringent_thresh"),
        ({"sorter_params": {"chunk_values": 0}}, "'chunk_values' in sorter_params must be an integer >= 1, got 0"),
    ],
)
def test_impossible_parameters_are_refused_before_any_file_is_touched(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        sort_recording([tmp_path / "missing.h5"], config=RT_SORT_MEA, **settings)
    assert list(tmp_path.iterdir()) == []


# Failures


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), GPUOutOfMemoryError),
        (MemoryError("Unable to allocate 3.2 GiB for an array"), HostOutOfMemoryError),
        (AttributeError("'NoneType' object has no attribute 'sort_offline'"), InsufficientActivityError),
        (ModelLoadingError("no"), ModelLoadingError),
        (ValueError("something else"), type(None)),
    ],
)
def test_failures_have_their_class(error: Exception, kind: type, tmp_path: Path) -> None:
    classified = backend().classify(tmp_path, error)
    assert type(classified) is kind
    assert classified is None or classified.sorter == "rt_sort"


def test_out_of_memory_halves_the_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = []

    def fail(recording: Any, **kwargs: Any) -> None:
        chunks.append(kwargs.get("chunk_values"))
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(detect, "detect_sequences", fail)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GPUOutOfMemoryError, match="chunk_values"):
        sort_dense(tmp_path, simulate_dense(2.0))
    assert chunks == [None, 2**18, 2**17]


# In the pipeline


def sort_dense(folder: Path, simulated: Simulated, **settings: Any) -> tuple[Any, Path]:
    """Result and results folder."""
    results = folder / "out"
    (result,) = sort_recording(
        [simulated.recording], config=RT_SORT_MEA, results_folders=[results], intermediate_folders=[folder / "inter"],
        **{"n_jobs": 1, "rt_sort_device": "cpu", "spikes_min_second": 30, **settings},
    )  # fmt: skip
    return result, results


def stages_run(results: Path) -> list[str]:
    record = json.loads((results / "run.json").read_text())
    return [name for name, stage in record["stages"].items() if not stage["loaded"]]


def test_train_on_one_recording_and_apply_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    quiet, later = simulate_dense(6.0), simulate_dense(8.0, seed=5)
    found, results = sort_dense(tmp_path / "quiet", quiet)
    assert_same_trains(found.train, quiet.trains_ms)
    assert not (tmp_path / "quiet" / "inter" / "sorting").exists()
    saved = results / "stages" / "sorting" / "rt_sort"  # it is kept although the intermediate files are gone
    assert RTSort.load(saved).n_sequences == 4
    request.getfixturevalue("no_detection")
    found, _ = sort_dense(tmp_path / "later", later, rt_sort_model_path=saved)
    assert_same_trains(found.train, later.trains_ms)
    found, results = sort_dense(tmp_path / "fewer", later, rt_sort_model_path=saved, bad_channels=["ch5"])
    assert_same_trains(found.train, later.trains_ms)
    assert "lacks 1 of the 16 channels" in json.loads((results / "run.json").read_text())["warnings"][-1]


def test_what_runs_again_and_what_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    simulated = simulate_dense(5.0)
    model = tmp_path / "model"
    shutil.copytree(MODELS / "mea", model)

    def again(**settings: Any) -> list[str]:
        return stages_run(sort_dense(tmp_path, simulated, rt_sort_model_path=model, **settings)[1])

    assert "sorting" in again(rt_sort_save_pickle=False)
    assert not (tmp_path / "out" / "stages" / "sorting" / "rt_sort").exists()
    assert again(rt_sort_save_pickle=False) == []
    assert "sorting" in again()  # now the object is wanted
    assert (tmp_path / "out" / "stages" / "sorting" / "rt_sort.pickle").exists()
    assert again(rt_sort_device="cuda", rt_sort_num_processes=2, rt_sort_verbose=False, rt_sort_delete_inter=True) == []
    model = shutil.move(model, tmp_path / "moved")
    assert again() == []
    other_model(model)
    assert "sorting" in again()
    assert "content of rt_sort_model_path changed" in (tmp_path / "out" / "sort_with_kilosort2.out").read_text()
    assert "sorting" in again(rt_sort_params={"min_coc_n": 12})


def test_intermediate_copy_goes_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "inter" / "sorting" / "output"
    for delete, left in ((False, ["rt_sort", "rt_sort.pickle"]), (True, [])):
        sort_dense(
            tmp_path, simulate_dense(5.0), delete_inter=False, rt_sort_delete_inter=delete, recompute_sorting=True
        )
        assert sorted(path.name for path in output.iterdir()) == left
        assert (tmp_path / "out" / "stages" / "sorting" / "rt_sort" / "rt_sort.json").exists()


def test_electrodes_far_apart_are_a_clear_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    sort_dense(tmp_path, simulate())  # one unit per electrode, 200 um from the next
    assert "are within 50 um (inner_radius)" in caplog.text
    assert DENSE_PITCH_UM < 50


def test_chunk_changes_nothing(
    sorted_once: tuple[Path, Trains], small_recording: BinaryRecording, tmp_path: Path
) -> None:
    assert run(small_recording, tmp_path, sorter_params={"chunk_values": 30_000}) == sorted_once[1]
