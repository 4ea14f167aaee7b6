"""Kilosort 2 from `sort_recording` to its results and failures, with Octave in MATLAB's place.

SpikeInterface's scripts, exit codes, logs and reading of results are real; Kilosort 2's own code is replaced (see
``tests/stand_ins``), so that nothing here says how Kilosort 2 sorts or what CUDA does. Its messages are recorded ones.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from scipy.io import loadmat

from simulated import Simulated, assert_same_trains, simulate
from spikelab.spike_sorting import _exceptions as errors
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.backends.isolation.error import SorterProcessError
from spikelab.spike_sorting.config import KILOSORT2

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts"),
    pytest.mark.skipif(shutil.which("octave-cli") is None, reason="Octave, which stands in for MATLAB, is missing"),
]

STAND_INS = Path(__file__).parents[1] / "stand_ins"
# The median over 8 channels, of which 5 have spikes, would have spikes of its own.
NO_CAR = {"car": False}
LOOSE: dict[str, Any] = {"spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1, "sorter_params": NO_CAR}
KERNEL = "An unexpected error occurred trying to launch a kernel. The CUDA error was:\ninvalid configuration argument"
ACTIVE = (
    "found 142624 threshold crossings in 108.35 seconds of data \nfound 94 bad channels \n"
    "12.00 sec, 101 / 279 batches, 120 units, nspks: 310.5000, mu: 20.1, nst0: 400, merges: 0.0, 0.0 \n"
)


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with MATLAB, Kilosort 2 and a GPU; each is a stand-in."""
    path = [str(STAND_INS / "matlab"), str(STAND_INS / "gpu"), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    monkeypatch.setenv("KILOSORT_PATH", str(STAND_INS / "Kilosort2"))


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, simulated: Simulated, tmp_path: Path) -> Callable[..., Exception]:
    """Sort where Kilosort 2 or MATLAB fails as told; returns the error."""

    def sort(at: str = "learnAndSolve8b", says: str = "", log: str = "", **settings: Any) -> Exception:
        given = {"STAND_IN_ERROR_AT": at, "STAND_IN_ERROR": says, "STAND_IN_LOG": log} if says else {}
        given |= {name: settings.pop(name) for name in list(settings) if name.startswith("STAND_IN")}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        recording = settings.pop("recording", simulated.recording)
        with pytest.raises(Exception) as caught:
            sort_recording([recording], results_folders=[tmp_path / "out"], **{**LOOSE, **settings})
        return caught.value

    return sort


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def test_sorts(simulated: Simulated, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = KILOSORT2.override(**LOOSE)
    (found,) = sort_recording([simulated.recording], config=config, results_folders=[out])
    assert_same_trains(found.train, simulated.trains_ms)
    assert [unit["channel_id"] for unit in found.neuron_attributes] == [f"ch{i}" for i in range(5)]
    log = (out / "stages" / "sorting" / "kilosort2.log").read_text(encoding="utf-8")
    assert "found 5 good units" in log
    assert "its own high-pass cannot be switched off" in (out / "sort_with_kilosort2.out").read_text(encoding="utf-8")
    (again,) = sort_recording([simulated.recording], config=config, results_folders=[out])
    assert all(stage["loaded"] for stage in record_of(out)["stages"].values())
    assert_same_trains(again.train, found.train, 0)


def test_the_record_names_the_code(simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = tmp_path / "Kilosort2"
    shutil.copytree(STAND_INS / "Kilosort2", code)
    git = ["git", "-C", str(code), "-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "as it was"], ["tag", "v2.0"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setenv("KILOSORT_PATH", str(code))
    out = tmp_path / "out"
    for _ in range(2):  # the second time the sorting is read from disk
        sort_recording([simulated.recording], config=KILOSORT2.override(**LOOSE), results_folders=[out])
        assert record_of(out)["versions"]["kilosort2"] == "v2.0"
        assert record_of(out)["stages"]["sorting"]["made_by"] == {"kilosort2": "v2.0"}


@pytest.mark.parametrize("reference", [None, "median"])
def test_options_reach_kilosort(simulated: Simulated, tmp_path: Path, reference: str | None) -> None:
    scratch = tmp_path / "inter"
    sort_recording(
        [simulated.recording],
        results_folders=[tmp_path / "out"],
        intermediate_folders=[scratch],
        common_reference=reference,
        delete_inter=False,
        **LOOSE | {"sorter_params": {"detect_threshold": 7, "NT": 32_832, "delete_tmp_files": False}},
    )
    folder = scratch / "sorting" / "output" / "run" / "sorter" / "sorter_output"
    ops = loadmat(folder / "ops.mat", simplify_cells=True)["ops"]
    assert ops["fbinary"] == str((scratch / "recording" / "traces.dat").resolve())  # ours: no copy is made
    assert (ops["spkTh"], ops["NT"], ops["fshigh"], ops["NchanTOT"]) == (-7, 32_832, 150, 8)
    assert ops["CAR"] == (0 if reference else 1)
    places = loadmat(folder / "chanMap.mat", simplify_cells=True)
    assert places["xcoords"].tolist() == [200 * i for i in range(8)]


def test_nothing_of_the_data_is_left_in_the_scratch(simulated: Simulated, tmp_path: Path) -> None:
    folders = {"results_folders": [tmp_path / "out"], "intermediate_folders": [tmp_path / "inter"]}
    sort_recording([simulated.recording], delete_inter=False, **folders, **LOOSE)
    assert (tmp_path / "inter" / "recording" / "traces.dat").is_file()
    assert not list((tmp_path / "inter" / "sorting").rglob("temp_wh.dat"))


def test_memory_that_suffices_for_half_a_batch(
    simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_MAX_NT", "40000")
    (found,) = sort_recording([simulated.recording], results_folders=[tmp_path / "out"], **LOOSE)
    assert found.N == 5
    first, second = record_of(tmp_path / "out")["attempts"]
    assert first["error"].startswith("GPUOutOfMemoryError")
    assert (second["sorter_params"], second["error"]) == ({**NO_CAR, "NT": 32_800}, None)


@pytest.mark.slow  # three runs; test_batch has the same ladder with a sorter of this process
def test_memory_that_never_suffices(fails: Callable[..., Exception], tmp_path: Path) -> None:
    error = fails(STAND_IN_MAX_NT="100", sorter_params={"NT": 65_600})
    assert isinstance(error, errors.GPUOutOfMemoryError)
    assert "Out of memory on device" in str(error)
    assert error.sorter == "kilosort2"
    assert [a["sorter_params"]["NT"] for a in record_of(tmp_path / "out")["attempts"]] == [65_600, 32_800, 16_400]


def test_silence_is_no_good_channel(fails: Callable[..., Exception], tmp_path: Path) -> None:
    error = fails(recording=simulate(n_units=0).recording)
    assert isinstance(error, errors.NoGoodChannelsError)
    assert error.bad_channels == 8
    assert error.log_path is not None
    assert "found 8 bad channels" in Path(error.log_path).read_text(encoding="utf-8")
    assert Path(error.log_path).is_relative_to(tmp_path / "out")  # the scratch may be gone


def test_few_spikes_are_insufficient_activity(fails: Callable[..., Exception]) -> None:
    error = fails(says=KERNEL)
    assert isinstance(error, errors.InsufficientActivityError)
    assert (error.sorter, error.units_at_failure) == ("kilosort2", 5)
    assert error.threshold_crossings == pytest.approx(480, abs=10)
    assert error.nspks_at_failure == pytest.approx(160, abs=5)  # in each of three batches
    assert "wrong gain, data type or probe" in str(error)
    assert isinstance(error.__cause__, SorterProcessError)


def test_same_words_in_an_active_recording_are_not(fails: Callable[..., Exception]) -> None:
    error = fails(says=KERNEL, log=ACTIVE)
    assert type(error) is SorterProcessError
    assert "invalid configuration argument" in str(error)  # what Kilosort said; SpikeInterface's error does not


@pytest.mark.parametrize(
    ("at", "says", "expected"),
    [
        pytest.param(
            "learnAndSolve8b",
            "Call to Real Single Symmetric EIG on the GPU failed with CUDA error status: out of memory",
            errors.GPUOutOfMemoryError,
            marks=pytest.mark.slow,
        ),
        ("clusterSingleBatches", "Undefined function or variable 'W0'.", errors.InsufficientActivityError),
        pytest.param(
            "clusterSingleBatches",
            "Batch 1 has fewer than Nfilt spikes.",
            errors.InsufficientActivityError,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "preprocessDataSub",
            "Undefined function 'mexThSpkPC' for input arguments of type 'gpuArray'.",
            errors.SorterNotInstalledError,
            marks=pytest.mark.slow,
        ),
        (
            "preprocessDataSub",
            "Unable to find a supported GPU device. For more information on GPU support, see GPU Support by Release.",
            errors.GPUUnavailableError,
        ),
        pytest.param(
            "learnAndSolve8b",
            "Error using gpuArray/subsasgn\nThe CUDA error was:\ninvalid device function",
            errors.GPUUnavailableError,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "splitAllClusters",
            'Out of memory. Type "help memory" for your options.',
            errors.HostOutOfMemoryError,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "rezToPhy",
            "Could not write: No space left on device",
            errors.DiskExhaustionError,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_recorded_messages(
    fails: Callable[..., Exception], at: str, says: str, expected: type[errors.SpikeSortingClassifiedError]
) -> None:
    error = fails(at, says, resource_retries=0)
    assert type(error) is expected
    assert says.splitlines()[-1][:40] in str(error)
    assert str(error.log_path).endswith("kilosort2.log")  # type: ignore[attr-defined]
    assert Path(error.log_path).is_file()  # type: ignore[attr-defined]


def test_matlab_without_a_licence(fails: Callable[..., Exception]) -> None:
    error = fails(STAND_IN_MATLAB="license")
    assert isinstance(error, errors.EnvironmentSortFailure)
    assert "licence" in str(error)


def test_matlab_killed_by_the_system(fails: Callable[..., Exception], tmp_path: Path) -> None:
    error = fails(STAND_IN_MATLAB="killed", resource_retries=1)
    assert type(error) is errors.HostOutOfMemoryError
    assert len(record_of(tmp_path / "out")["attempts"]) == 2


def test_matlab_that_hangs_is_ended(fails: Callable[..., Exception]) -> None:
    error = fails(STAND_IN_MATLAB="hang", resource_retries=0, sorter_timeout_s=5)
    assert isinstance(error, errors.SorterTimeoutError)
    assert "Computing whitening matrix" in str(error)
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "654"]]


def test_matlab_that_does_nothing(fails: Callable[..., Exception]) -> None:
    error = fails(STAND_IN_MATLAB="nothing")
    assert type(error) is SorterProcessError
    assert re.search(r"spike_times\.npy[\s\S]*log is", str(error))


def test_unknown_failure_has_kilosorts_words(fails: Callable[..., Exception], tmp_path: Path) -> None:
    error = fails(says="Error using randperm\nK must be less than or equal to N.")
    assert type(error) is SorterProcessError
    assert "Kilosort2's last words: Error using randperm\nK must be less than or equal to N." in str(error)
    assert record_of(tmp_path / "out")["status"] == "failed"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"NTT": 65_600}, r"'NTT'.*Nearest: NT"),
        ({"detect_treshold": 6}, "Nearest: detect_threshold"),
        ({"installation_mode": "pypi"}, "'installation_mode'"),  # of a container
        ({"projection_threshold": 10}, "projection_threshold must be two numbers, got 10"),
        ({"car": "yes"}, "car must be True or False"),
        ({"lam": None}, "lam must be a number, got None"),
        ({"NT": 0}, "NT must be None or a number above 0"),
        ({"wave_length": 82}, "odd number up to 81"),
        ({"skip_kilosort_preprocessing": True}, "needs scaleproc"),
    ],
)
def test_wrong_parameters_are_refused_before_any_file_is_touched(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sort_recording(["not_there.h5"], sorter_params=params)


def test_batch_goes_on_after_silence_and_stops_where_matlab_fails(
    simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = [simulate(n_units=0).recording, simulated.recording]
    results = [tmp_path / "a", tmp_path / "b"]
    silent, fine = sort_recording(recordings, results_folders=results, on_failure="skip", **LOOSE)
    assert silent is None
    assert fine.N == 5
    monkeypatch.setenv("STAND_IN_MATLAB", "license")
    others = [simulate(seed=seed).recording for seed in (5, 6, 7)]
    with pytest.raises(errors.SortBatchError) as caught:
        sort_recording(others, results_folders=[tmp_path / name for name in "cde"], **LOOSE)
    assert len(caught.value.failures) == 1
    assert len(caught.value.not_attempted) == 2
