"""What SpikeInterface's sorters are run with, and what is refused before they start."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from spikelab.spike_sorting._exceptions import (
    EnvironmentSortFailure,
    InsufficientActivityError,
    SorterNotInstalledError,
)
from spikelab.spike_sorting.backends import get_backend_class, kilosort4, spikeinterface_generic
from spikelab.spike_sorting.backends.base import StandardBackend, check_param_names, merge_params, seed_from
from spikelab.spike_sorting.backends.isolation import start
from spikelab.spike_sorting.backends.kilosort2 import Kilosort2Backend
from spikelab.spike_sorting.backends.kilosort4 import Kilosort4Backend
from spikelab.spike_sorting.backends.spikeinterface_generic import is_planar
from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains


def grid(columns: int, rows: int, pitch: float) -> np.ndarray:
    return np.array([(x * pitch, y * pitch) for y in range(rows) for x in range(columns)], dtype=np.float64)


@pytest.fixture
def on(small_recording: BinaryRecording):
    """The small recording's description with other contacts or another rate; no traces are read."""

    def describe(locations: np.ndarray, fs: float = 20_000.0) -> BinaryRecording:
        ids = tuple(map(str, range(len(locations))))
        return dataclasses.replace(
            small_recording, locations=locations, n_channels=len(ids), channel_ids=ids, sampling_frequency=fs
        )

    return describe


@pytest.fixture
def params_of(make_config, on):
    """The parameters that a sorter would be run with."""

    def gather(name: str, given: dict | None = None, locations: np.ndarray | None = None, fs: float = 20_000.0, **flat):
        backend = get_backend_class(name)(make_config(name, given, **flat))
        return backend.sorter_params(on(grid(8, 8, 30.0) if locations is None else locations, fs))

    return gather


def test_filter_is_switched_off_and_whitening_kept(params_of) -> None:
    assert params_of("spikeinterface:tridesclous2")["preprocessing_dict"] == {"common_reference": {"dtype": "float32"}}
    few = params_of("spikeinterface:lupin", locations=grid(4, 4, 30.0))
    assert few["preprocessing_dict"] == {}
    circus = params_of("spikeinterface:spykingcircus2")
    assert circus["filtering"]["coeff"] == [[1, 0, 0, 1, 0, 0]]
    assert {"apply_preprocessing", "apply_whitening"}.isdisjoint(circus)  # reference and whitening stay
    assert params_of("spikeinterface:simple")["apply_preprocessing"] is False
    assert params_of("spikeinterface:mountainsort5")["filter"] is False


def test_filter_that_stays_is_said_in_the_log(params_of, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert "freq_max" not in params_of("spikeinterface:kilosort")
        assert "cannot be switched off" in caplog.text
        assert params_of("spikeinterface:kilosort", fs=10_000.0)["freq_max"] == 4500


def test_seed_and_workers_reach_the_sorter(params_of) -> None:
    params = params_of("spikeinterface:tridesclous2", random_seed=7)
    assert params["seed"] == 7
    assert params["job_kwargs"]["n_jobs"] in (1, 2)
    assert params["job_kwargs"]["progress_bar"] is False
    assert params_of("kilosort4", random_seed=7)["cluster_init_seed"] == 7
    assert params_of("kilosort4", random_seed=0)["cluster_init_seed"] == 1


@pytest.mark.skipif(find_spec("dartsort") is not None, reason="dartsort is installed")
def test_sorter_that_knows_its_parameters_only_where_it_is_installed(make_config) -> None:
    backend = get_backend_class("spikeinterface:dartsort")(make_config("spikeinterface:dartsort", {"anything": 1}))
    backend.check_settings()
    with pytest.raises(SorterNotInstalledError, match="dartsort"):
        backend.check_installed()


def test_users_parameters_win_and_nested_ones_are_merged(params_of) -> None:
    params = params_of("spikeinterface:spykingcircus2", {"filtering": {"freq_min": 200}, "general": {"ms_before": 0.7}})
    assert params["filtering"] == {"freq_min": 200, "freq_max": 7000, "ftype": "bessel", "filter_order": 2}
    assert params["general"] == {"ms_before": 0.7, "ms_after": 1.5, "radius_um": 100.0}
    assert params_of("spikeinterface:lupin", {"preprocessing_dict": None})["preprocessing_dict"] is None


def test_unknown_parameter_is_refused_with_the_nearest_names(params_of) -> None:
    with pytest.raises(ValueError, match=r"'detect_treshold'.*simple.*detect_threshold"):
        params_of("spikeinterface:simple", {"detect_treshold": 4})
    assert merge_params("x", {"a": {}}, {"a": {"b": 1}}) == {"a": {"b": 1}}


def test_a_name_like_none_is_no_reason_to_list_dozens() -> None:
    many = [f"parameter_{i}" for i in range(45)]
    with pytest.raises(ValueError, match=r"does not have it\. It has 45 others; f\(\) has them all$"):
        check_param_names("x", many, ["zzz"], "f() has them all")
    with pytest.raises(ValueError, match=r"Nearest: parameter_7, "):
        check_param_names("x", many, ["paramter_7"], "f() has them all")
    with pytest.raises(ValueError, match=r"There are: a, b$"):
        check_param_names("x", ["b", "a"], ["zzz"], "f() has them all")


@pytest.mark.skipif(find_spec("kilosort") is None, reason="the names are those of the installed Kilosort 4")
def test_unknown_parameter_of_kilosort4_is_refused_with_the_nearest_names(params_of) -> None:
    with pytest.raises(ValueError, match=r"'Th_universe'.*kilosort4.*Th_universal"):
        params_of("kilosort4", {"Th_universe": 4})


def test_drift_correction_is_off_on_planar_arrays_only(params_of) -> None:
    wide, probe = grid(20, 20, 30.0), grid(2, 100, 20.0)
    assert params_of("spikeinterface:spykingcircus2", locations=wide)["apply_motion_correction"] is False
    assert "apply_motion_correction" not in params_of("spikeinterface:spykingcircus2", locations=probe)
    planar = params_of("kilosort4", locations=wide)
    assert (planar["do_correction"], planar["x_centers"]) == (False, 2)
    assert {"do_correction", "x_centers"}.isdisjoint(params_of("kilosort4", locations=probe))
    assert params_of("kilosort4", {"do_correction": True}, locations=wide)["do_correction"] is True


@pytest.mark.parametrize(
    ("locations", "planar"),
    [
        (grid(2, 192, 20.0), False),
        (grid(8, 8, 30.0), False),  # 210 um wide
        (grid(11, 10, 30.0), False),  # exactly 300 um
        (grid(12, 10, 30.0), True),
        (grid(8, 8, 200.0), True),
        (np.vstack([grid(2, 48, 15.0) + np.array([250.0 * shank, 0]) for shank in range(4)]), False),  # four shanks
        (np.vstack([grid(1, 8, 15.0) + np.array([250.0 * shank, 0]) for shank in range(4)]), False),  # the least
        (np.vstack([grid(1, 7, 15.0) + np.array([250.0 * shank, 0]) for shank in range(4)]), True),  # too few for one
        (np.zeros((1, 2)), False),
    ],
)
def test_is_planar(locations: np.ndarray, planar: bool) -> None:
    assert is_planar(locations) is planar


def test_missing_sorter_says_what_to_install(make_config, small_recording, tmp_path: Path) -> None:
    backend = get_backend_class("spikeinterface:mountainsort5")(make_config("spikeinterface:mountainsort5"))
    with pytest.raises(SorterNotInstalledError, match="pip install mountainsort5") as caught:
        backend.sort(small_recording.to_spikeinterface(), None, tmp_path / "x.dat", tmp_path / "out")
    assert caught.value.sorter == "mountainsort5"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        (["hdbscan"], 'the package hdbscan, which is not installed: pip install "hdbscan>='),
        (["pandas", "sklearn"], 'the packages pandas and scikit-learn, which are not installed: pip install "pandas>='),
    ],
)
def test_sorters_of_spikeinterface_name_the_packages_they_lack(make_config, monkeypatch, absent, words) -> None:
    for module in absent:
        monkeypatch.setitem(sys.modules, module, None)
    for name in ("simple", "spykingcircus2", "tridesclous2"):
        backend = get_backend_class(f"spikeinterface:{name}")(make_config(f"spikeinterface:{name}"))
        with pytest.raises(SorterNotInstalledError) as caught:
            backend.check_installed()
        assert str(caught.value).startswith(f"The sorter '{name}' needs {words}")
        assert caught.value.sorter == name


@pytest.fixture
def containers_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether there is a docker daemon here is not looked at."""
    monkeypatch.setattr(spikeinterface_generic, "check_container", lambda container, sorter, gpu: None)
    monkeypatch.setattr(spikeinterface_generic, "remove_containers", lambda engine, folder: None)


def started_jobs(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Catch jobs instead of running them; each finds unit 3 with two spikes, one of them outside."""
    jobs: list[dict] = []

    def catch(job: dict, folder: Path, log_path: Path, timeout_s: float | None, **settings: object) -> None:
        jobs.append({**json.loads(json.dumps(job)), "timeout_s": timeout_s, "log_path": log_path, **settings})
        SpikeTrains.from_dict({2: [10**9], 3: [5, 10**9]}).save(folder / start.RESULT_FILE)

    monkeypatch.setattr(start, "run_in_child", catch)
    return jobs


@pytest.mark.usefixtures("containers_work")
def test_job(make_config, small_recording, tmp_path: Path, monkeypatch, caplog) -> None:
    jobs = started_jobs(monkeypatch)
    config = make_config("kilosort4", {"torch_device": "cpu"}, sorter_timeout_s=60.0, use_docker="some/image:tag")
    sorting = Kilosort4Backend(config).sort(small_recording.to_spikeinterface(), None, tmp_path / "x", tmp_path / "out")
    assert sorting.unit_ids.tolist() == [3]
    assert sorting.get_unit_spike_train(3).tolist() == [5]
    assert "2 spikes outside" in caplog.text
    (job,) = jobs
    assert (job["sorter"], job["container"]) == ("kilosort4", {"engine": "docker", "image": "some/image:tag"})
    assert job["params"]["torch_device"] == "cpu"
    assert job["params"]["highpass_cutoff"] == 30.0
    assert BinaryRecording.from_dict(Path(job["recording_path"]), job["recording"]).epochs == small_recording.epochs
    assert job["timeout_s"] == 60.0
    assert job["log_path"].parent == tmp_path / "out"


def test_nothing_found_is_insufficient_activity(make_config, small_recording) -> None:
    backend = Kilosort4Backend(make_config("kilosort4"))
    with pytest.raises(InsufficientActivityError, match="Most often") as caught:
        backend.clean_trains(SpikeTrains.from_dict({1: []}), small_recording)
    assert caught.value.sorter == "kilosort4"


def test_kilosort4_without_its_packages(make_config, monkeypatch) -> None:
    def missing(package: str) -> str:
        raise kilosort4.PackageNotFoundError(package)

    monkeypatch.setattr(kilosort4, "version", missing)
    with pytest.raises(SorterNotInstalledError, match='pip install "kilosort>=.*" "torch>='):
        Kilosort4Backend(make_config("kilosort4")).check_installed()
    monkeypatch.setattr(spikeinterface_generic, "check_container", lambda container, sorter, gpu: None)
    Kilosort4Backend(make_config("kilosort4", use_docker=True)).check_installed()


def test_kilosort4_is_not_imported_to_check_its_parameters(params_of) -> None:
    params_of("kilosort4", {"Th_universal": 8, "keep_good_only": True})
    assert "kilosort" not in sys.modules


def test_kilosort4_in_a_container_checks_its_own_parameters(params_of, monkeypatch) -> None:
    monkeypatch.setattr(kilosort4, "parameter_names", list)
    params = params_of("kilosort4", {"Th_of_another_version": 8}, use_docker=True)
    assert (params["Th_of_another_version"], params["cluster_init_seed"]) == (8, 1)


@pytest.mark.parametrize(
    ("n_samples", "given", "batch"),
    [
        (240_000, None, None),
        (60_061, None, None),
        (60_060, None, 48_048),  # a last batch shorter than a spike is dropped, and one batch is none
        (20_000, None, 16_000),
        (20_000, 10_000, 10_000),
        (20_000, 40_000, 16_000),
        (305, None, 244),
    ],
)
def test_kilosort4_gets_two_batches(
    make_config, small_recording, caplog, n_samples: int, given: int | None, batch: int | None
) -> None:
    binary = dataclasses.replace(small_recording, n_samples=n_samples)
    backend = Kilosort4Backend(make_config("kilosort4", None if given is None else {"batch_size": given}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kilosort4, "parameter_names", lambda: ["batch_size", "highpass_cutoff"])
        params = backend.sorter_params(binary)
    assert params.get("batch_size") == batch
    assert ("batch_size is lowered" in caplog.text) == (batch not in (None, given))


def test_kilosort4_refuses_a_handful_of_samples(make_config, small_recording) -> None:
    with pytest.raises(ValueError, match="304 samples, too few for kilosort4, which needs 305"):
        Kilosort4Backend(make_config("kilosort4")).sorter_params(dataclasses.replace(small_recording, n_samples=304))


def test_kilosort4_on_the_cpu_warns(make_config, monkeypatch, caplog) -> None:
    monkeypatch.setattr(kilosort4, "version", lambda package: "2.13.0+cpu")
    Kilosort4Backend(make_config("kilosort4")).check_installed()
    assert "expect it to be slow" in caplog.text
    assert Kilosort4Backend.needs_gpu(make_config("kilosort4", {"torch_device": "cuda:1"}))
    assert not Kilosort4Backend.needs_gpu(make_config("kilosort4"))


def matlab_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: str(folder / name) if name == "matlab" else None)


def test_kilosort2_needs_matlab_and_its_code(make_config, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("KILOSORT_PATH", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    backend = Kilosort2Backend(make_config("kilosort2"))
    with pytest.raises(EnvironmentSortFailure, match=r"MATLAB.*use_docker"):
        backend.check_installed()
    matlab_on_path(tmp_path, monkeypatch)
    with pytest.raises(EnvironmentSortFailure, match=r"git clone.*KILOSORT_PATH"):
        backend.check_installed()
    monkeypatch.setenv("KILOSORT_PATH", str(tmp_path))
    with pytest.raises(EnvironmentSortFailure, match=r"no master_kilosort\.m"):
        backend.check_installed()
    (tmp_path / "master_kilosort.m").touch()
    backend.check_installed()
    assert backend.environment() == {"KILOSORT2_PATH": str(tmp_path)}
    other = tmp_path / "other"
    other.mkdir()
    (other / "main_kilosort.m").touch()
    chosen = Kilosort2Backend(make_config("kilosort2", sorter_path=str(other)))
    assert chosen.environment() == {"KILOSORT2_PATH": str(other)}
    assert Kilosort2Backend(make_config("kilosort2", use_docker=True)).environment() == {}
    assert Kilosort2Backend.needs_gpu(make_config("kilosort2"))


@pytest.mark.parametrize(("sorter", "name"), [("kilosort2", "car"), ("kilosort4", "do_CAR")])
def test_reference_is_not_subtracted_twice(params_of, sorter: str, name: str) -> None:
    assert name not in params_of(sorter)
    assert params_of(sorter, common_reference="median")[name] is False
    assert params_of(sorter, spatial_filter="highpass")[name] is False
    assert params_of(sorter, {name: True}, common_reference="median")[name] is True


def test_kilosort2_whose_cuda_code_is_not_compiled(make_config, tmp_path: Path, monkeypatch, caplog) -> None:
    matlab_on_path(tmp_path, monkeypatch)
    (tmp_path / "CUDA").mkdir()
    for name in ("master_kilosort.m", "CUDA/mexThSpkPC.cu", "CUDA/mexGPUall.m"):
        (tmp_path / name).touch()
    backend = Kilosort2Backend(make_config("kilosort2", sorter_path=str(tmp_path)))
    with pytest.raises(SorterNotInstalledError, match="run mexGPUall"):
        backend.check_installed()
    (tmp_path / "CUDA" / "mexThSpkPC.mexa64").touch()
    backend.check_installed()
    assert not caplog.text
    (tmp_path / "preProcess").mkdir()
    (tmp_path / "preProcess" / "datashift2.m").touch()
    backend.check_installed()
    assert "looks like Kilosort 2.5 or later" in caplog.text


def test_kilosort2_compiled_needs_no_matlab(make_config, monkeypatch) -> None:
    monkeypatch.delenv("KILOSORT_PATH", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: "/opt/ks2_compiled" if name == "ks2_compiled" else None)
    backend = Kilosort2Backend(make_config("kilosort2"))
    backend.check_installed()
    assert backend.environment() == {}
    assert backend.about() == "/opt/ks2_compiled"


def test_what_is_said_of_kilosort2(make_config, tmp_path: Path, monkeypatch) -> None:
    matlab_on_path(tmp_path, monkeypatch)
    (tmp_path / "master_kilosort.m").touch()
    assert Kilosort2Backend(make_config("kilosort2", sorter_path=str(tmp_path))).about() == (
        f"{tmp_path / 'matlab'}, {tmp_path}"
    )
    image = Kilosort2Backend(make_config("kilosort2", use_docker="docker://some/image:1"))
    assert image.about() == "some/image:1 with singularity"


def test_kilosort2_high_pass_stays_below_the_band(params_of) -> None:
    assert params_of("kilosort2")["freq_min"] == 150
    assert params_of("kilosort2", freq_min=200)["freq_min"] == 100


def test_seed_from() -> None:
    assert (seed_from(None, 3), seed_from(5, 3), seed_from(None, None)) == (3, 5, 0)
    drawn = seed_from(np.random.default_rng(0), 3)
    assert drawn == seed_from(np.random.default_rng(0), 9)


def test_binary_is_written_once_where_there_is_none(make_config, tmp_path: Path) -> None:
    from spikeinterface.core import NumpyRecording

    class Backend(StandardBackend):
        sort = None  # type: ignore[assignment]

    traces = np.random.default_rng(0).normal(0, 10, (240_000, 4)).astype(np.float32)
    recording = NumpyRecording([traces], 20_000.0)
    recording.set_dummy_probe_from_locations(grid(2, 2, 30.0))
    recording.set_channel_gains(1.0)
    recording.set_channel_offsets(0.0)
    backend = Backend(make_config("x"))
    binary = backend.ensure_binary(recording, tmp_path / "traces.dat")
    assert binary.path == tmp_path / "traces.dat"
    np.testing.assert_allclose(binary.read_uv(0, 100), traces[:100], atol=0.06)
    again = backend.ensure_binary(binary.to_spikeinterface(), tmp_path / "other.dat")
    assert again.path == binary.path
    assert not (tmp_path / "other.dat").exists()
