"""The failure classifier: known texts of the field, its order, its silence about what it does not know."""

from __future__ import annotations

import ast
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from spikelab.spike_sorting import _exceptions as errors
from spikelab.spike_sorting.backends.isolation.error import SorterProcessError
from spikelab.spike_sorting.failures.classifier import (
    Source,
    classify_failure,
    classify_ks2_failure,
    classify_ks4_failure,
    classify_outside_sorter,
    classify_rt_sort_failure,
    exception_chain,
)
from spikelab.spike_sorting.failures.classifier import _first_match as classify_by
from spikelab.spike_sorting.failures.signatures import CATEGORIES, SIGNATURES, Signature

KNOWN = Path(__file__).with_name("known_failures.json")  # words of real failures, most of them reported by users
NOTHING = Path("folder-that-does-not-exist")


def known_failures() -> list[dict[str, str]]:
    entries: list[dict[str, str]] = json.loads(KNOWN.read_text(encoding="utf-8"))
    return entries


def exception_and_log(entry: dict[str, str], folder: Path) -> Exception:
    """Put the text where it was found: Kilosort 2 speaks in its log only, the others in the exception."""
    if entry["found_in"] == "exception":
        return RuntimeError(entry["text"])
    folder = folder / "run" / "sorter_output"
    folder.mkdir(parents=True)
    (folder / f"{entry['sorter']}.log").write_text(entry["text"], encoding="utf-8")
    return Exception(f"{entry['sorter']} returned a non-zero exit code")


@pytest.mark.parametrize("entry", [pytest.param(e, id=f"{i}-{e['class']}") for i, e in enumerate(known_failures())])
def test_known_failure(entry: dict[str, str], tmp_path: Path) -> None:
    error = classify_failure(entry["sorter"], tmp_path, exception_and_log(entry, tmp_path))
    assert (None if error is None else type(error).__name__) == entry["class"], entry.get("decision")
    assert getattr(error, "reason", None) == entry.get("reason")
    if error is not None:
        assert getattr(error, "sorter", entry["sorter"]) == entry["sorter"]
        assert "heck" in str(error)
        assert "What was found" in str(error)


def test_known_failures_are_either_decided_by_their_words_or_by_us() -> None:
    entries = known_failures()
    assert len(entries) > 70
    assert all(("cause" in entry) != ("decision" in entry) for entry in entries)
    assert all(entry["class"] is not None for entry in entries if "cause" in entry)


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda signature: signature.pattern[:40])
def test_every_signature_has_a_recorded_example(signature: Signature, tmp_path: Path) -> None:
    for entry in known_failures():
        if entry["class"] == signature.error.__name__:
            found = classify_by([signature], entry["sorter"], [Source(None, entry["text"])], None)
            if found is not None:
                return
    pytest.fail(f"no recorded failure shows {signature.pattern}")


def test_every_leaf_class_has_a_signature_or_is_raised_directly() -> None:
    leaves = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.SpikeSortingClassifiedError) and not kind.__subclasses__()
    }
    assert len(leaves) >= 14
    recognised = {signature.error for signature in SIGNATURES}
    assert {kind.__name__ for kind in leaves - recognised} <= raised_directly()


def raised_directly() -> set[str]:
    """Names of the classes that the package itself makes, outside the table of signatures."""
    package = Path(errors.__file__).parents[1]
    made = set()
    for path in package.rglob("*.py"):
        if path.name in ("_exceptions.py", "_signatures.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                made.add(node.func.id)
    return made


LOOKALIKES = [
    ("rt_sort", "150 preliminary propagation sequences remain"),
    ("rt_sort", "Found 10 preliminary propagation sequences"),
    ("kilosort2", "computing high-pass filter"),
    ("kilosort4", "Skipping kilosort.preprocessing: computing high-pass filter, no drift correction"),
    ("kilosort4", "Number of spikes: 100, n_samples=60 batches"),
    ("kilosort4", "torch.cuda.memory_allocated: 8.0 GiB, out of 80 GiB"),
    ("kilosort2", "found 10 bad channels in docker.io image"),
    ("kilosort2", "Time 137s. exit code 0"),
    ("kilosort4", "exit code 1370"),
    ("kilosort2", "room for more memory on device 0"),
    ("kilosort4", "No module named 'dockerfile_parse'"),
    ("kilosort4", "No module named 'torch.nonexistent'"),
    # memory: what is denied, what is planned, what counts nothing, what is a name
    ("kilosort4", "no error: out of memory handling initialised"),
    ("kilosort4", "CUDA: no error: out of memory handling initialised"),
    ("kilosort4", "no CUDA out of memory so far"),
    ("kilosort4", "if CUDA out of memory, batch_size is halved"),
    ("kilosort4", "CUDA out of memory checks passed"),
    ("kilosort4", "CUDA out of memory errors: 0"),
    ("kilosort4", "|            CUDA OOMs: 0            |        cudaMalloc retries: 0         |"),
    ("kilosort4", "reading /data/cuda_out_of_memory_test/rec.raw.h5"),
    ("kilosort4", "reading /data/CUDA out of memory/rec.raw.h5"),
    ("kilosort4", "[Errno 2] No such file or directory: '/data/my CUDA out of memory test/rec.h5'"),
    ("kilosort4", "saved D:\\CUDA_ERROR_OUT_OF_MEMORY\\rec.dat"),
    ("kilosort4", "/data/std::bad_alloc/MemoryError/x"),
    ("kilosort2", "Killed 0 units"),
    ("kilosort2", "Killed 12 duplicate units"),
    ("kilosort2", "killed: 3 of 40 templates"),
    ("kilosort4", "oom_kill 0"),
    ("kilosort4", "exit code 0, 137 units"),
    ("kilosort4", "return value: 1.137"),
    ("kilosort4", "GPU memory: 8.0 GiB, enough memory for a batch"),
    ("kilosort4", "memory limit: none exceeded"),
    ("kilosort2", "Out of memory. The likely cause is an infinite recursion within the program."),
    ("kilosort4", "unable to allocate units to channels"),
    # HDF5, libraries, docker
    ("kilosort2", "computing high-pass filter, notch filter not found"),
    ("kilosort4", "FileNotFoundError: can't open directory (/data/x)"),
    ("kilosort4", "HDF5 file opened with h5py 3.16, plugin path unset"),
    ("kilosort4", "loaded libcuda.so.1"),
    ("kilosort4", "GLIBC 2.36 found"),
    ("kilosort4", "reading /data/docker-test/rec.h5 with use_docker=False"),
    ("kilosort4", "sample_docker_rate is 3"),
    ("kilosort2", "PermissionError: [Errno 13] Permission denied: '/data/docker/culture.h5'"),
    ("kilosort4", "HDF5 file culture.h5: can't open directory (/data/x)"),
    # activity
    ("kilosort4", "found 0 good channels"),
    ("rt_sort", "Found 0 preliminary propagation sequences in window 1\nFound 12 preliminary propagation sequences"),
    ("rt_sort", "Kept 20 of 120 propagation sequences"),
    ("kilosort4", "Input to SVD must not contain NaN or Inf."),
]


@pytest.mark.parametrize(("sorter", "text"), LOOKALIKES)
def test_lookalikes_are_not_recognised(sorter: str, text: str, tmp_path: Path) -> None:
    assert classify_failure(sorter, NOTHING, RuntimeError(text)) is None
    (tmp_path / "sorter.log").write_text(text + "\n", encoding="utf-8")
    assert classify_failure(sorter, tmp_path, RuntimeError("it failed")) is None


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ("found 12 threshold crossings", "-----Out of memory on device.", errors.GPUOutOfMemoryError),
        ("java.lang.OutOfMemoryError: Java heap space", "CUDA error status: out of memory", errors.GPUOutOfMemoryError),
        (
            "found 12 threshold crossings\nThe CUDA error was:\ninvalid configuration argument",
            "No space left on device",
            errors.DiskExhaustionError,
        ),
        (
            "java.lang.OutOfMemoryError",
            "Undefined function 'mexThSpkPC' for input arguments of type 'gpuArray'",
            errors.SorterNotInstalledError,
        ),
        (
            "Recording has 8 channels\nfound 8 bad channels\nfound 0 threshold crossings",
            "invalid configuration argument",
            errors.NoGoodChannelsError,
        ),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_signatures_in_one_log_the_graver_counts(
    tmp_path: Path, first: str, second: str, kind: type[Exception], swapped: bool
) -> None:
    lines = (second, first) if swapped else (first, second)
    assert type(ks2(tmp_path, "\n".join(lines) + "\n")) is kind


def ks2(folder: Path, log: str) -> errors.SpikeSortingClassifiedError | None:
    (folder / "kilosort2.log").write_text(log, encoding="utf-8")
    return classify_ks2_failure(folder, Exception("kilosort2 returned a non-zero exit code"))


HEALTHY = (
    "found 142624 threshold crossings in 108.35 seconds of data \nfound 3 bad channels \n"
    "12.00 sec, 101 / 279 batches, 120 units, nspks: 310.5, mu: 20.1, nst0: 400 \nfound 80 good units \n"
)
INVALID = (
    "-----An unexpected error occurred trying to launch a kernel. The CUDA error was:\ninvalid configuration argument"
)


def test_healthy_log_is_none(tmp_path: Path) -> None:
    assert ks2(tmp_path, HEALTHY) is None


def test_invalid_configuration_alone_proves_nothing(tmp_path: Path) -> None:
    assert ks2(tmp_path, HEALTHY + INVALID) is None
    assert ks2(tmp_path, INVALID) is None


@pytest.mark.parametrize(
    ("log", "crossings", "units", "nspks"),
    [
        ("found 19999 threshold crossings in 60.00 seconds of data \n", 19_999, None, None),
        (
            "found 30000 threshold crossings \n1 / 9 batches, 9 units, nspks: 8.0\n2 / 9 batches, 5 units, nspks: 90.0",
            30_000,
            5,
            90.0,
        ),
        ("2 / 9 batches, 50 units, nspks: 5.0000, mu: 1\n", None, 50, 5.0),
    ],
)
def test_kilosort2_insufficient_activity(
    tmp_path: Path, log: str, crossings: int | None, units: int | None, nspks: float | None
) -> None:
    error = ks2(tmp_path, log + INVALID)
    assert isinstance(error, errors.InsufficientActivityError)
    assert (error.threshold_crossings, error.units_at_failure, error.nspks_at_failure) == (crossings, units, nspks)
    assert error.sorter == "kilosort2"
    assert error.log_path == tmp_path / "kilosort2.log"
    assert "Check first" in str(error)


@pytest.mark.parametrize(
    "log",
    [
        "found 20000 threshold crossings in 60.00 seconds of data \n",
        "1 / 9 batches, 2 units, nspks: 1.0\n2 / 9 batches, 6 units, nspks: 5.1,",
    ],
)
def test_kilosort2_active_enough(tmp_path: Path, log: str) -> None:
    assert ks2(tmp_path, log + INVALID) is None


@pytest.mark.parametrize(
    ("log", "total", "bad"),
    [
        ("Recording has 64 channels\nfound 64 bad channels \n", 64, 64),
        ("Recording has 64 channels\nfound 0 good channels \n", 64, 64),
        ("found 0 good channels \n", None, None),
        ("found 0 threshold crossings in 10.00 seconds of data \nfound 8 bad channels \n", None, 8),
    ],
)
def test_kilosort2_no_good_channels(tmp_path: Path, log: str, total: int | None, bad: int | None) -> None:
    error = ks2(tmp_path, log)
    assert isinstance(error, errors.NoGoodChannelsError)
    assert (error.total_channels, error.bad_channels) == (total, bad)


def test_kilosort2_some_bad_channels_are_fine(tmp_path: Path) -> None:
    assert ks2(tmp_path, "Recording has 64 channels\nfound 62 bad channels \n") is None
    assert ks2(tmp_path, "Recording has 1 channels\nfound 0 bad channels \n") is None


def test_kilosort2_sorts_no_single_live_channel(tmp_path: Path) -> None:
    error = ks2(tmp_path, "Recording has 64 channels\nfound 312 threshold crossings\nfound 63 bad channels \n")
    assert isinstance(error, errors.InsufficientActivityError)
    assert error.threshold_crossings == 312
    assert "one alone" in str(error)
    (tmp_path / "kilosort4.log").write_text("Recording has 64 channels\nfound 64 bad channels \n", encoding="utf-8")
    (tmp_path / "kilosort2.log").unlink()
    assert classify_ks4_failure(tmp_path, Exception("it failed")) is None  # it has no such check


def test_message_glued_to_dashes(tmp_path: Path) -> None:
    error = ks2(tmp_path, HEALTHY + "-----Out of memory on device. To view more detail, use 'gpuDevice()'.")
    assert isinstance(error, errors.GPUOutOfMemoryError)
    assert (error.sorter, error.log_path) == ("kilosort2", tmp_path / "kilosort2.log")


def test_supported_gpu_is_dockers_matter_only_in_a_container(tmp_path: Path) -> None:
    log = "-----Unable to find a supported GPU device."
    assert isinstance(ks2(tmp_path, log), errors.DockerEnvironmentError)
    script = "#!/bin/bash\ncd somewhere\n    matlab -nosplash -nodisplay -r \"kilosort2_master('a', 'b')\"\n"
    (tmp_path / "run_kilosort2.sh").write_text(script, encoding="utf-8")
    assert isinstance(ks2(tmp_path, log), errors.GPUUnavailableError)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 117. TiB for an array",
            errors.HostOutOfMemoryError,
        ),
        ('Out of memory. Type "help memory" for your options. HELP MEMORY', errors.HostOutOfMemoryError),
        ("java.lang.OutOfMemoryError: Java heap space", errors.HostOutOfMemoryError),
        ("OSError: [Errno 28] No space left on device", errors.DiskExhaustionError),
        ("AssertionError: Torch not compiled with CUDA enabled", errors.GPUUnavailableError),
        ("ModuleNotFoundError: No module named 'kilosort'", errors.SorterNotInstalledError),
        ("ModuleNotFoundError: No module named 'spikeinterface'", errors.DockerEnvironmentError),
        ("ValueError: operands could not be broadcast together", None),
        ("ModuleNotFoundError: No module named 'docker_helpers'", None),
    ],
)
def test_texts_of_any_sorter(text: str, error: type[Exception] | None) -> None:
    found = classify_ks4_failure(NOTHING, RuntimeError(text))
    assert found is None if error is None else type(found) is error


@pytest.mark.parametrize("code", [-9, 137])
def test_killed_process_is_host_memory(code: int) -> None:
    error = classify_ks4_failure(NOTHING, SorterProcessError(f"kilosort4 was killed (exit code {code})", code))
    assert type(error) is errors.HostOutOfMemoryError
    assert classify_ks4_failure(NOTHING, SorterProcessError("x crashed (exit code -11)", -11)) is None


def test_memory_error_without_text() -> None:
    assert type(classify_ks4_failure(NOTHING, MemoryError())) is errors.HostOutOfMemoryError


@pytest.mark.parametrize("code", [-24, 152, -12, 140])
def test_time_limit_of_a_batch_system(code: int) -> None:
    error = classify_ks4_failure(NOTHING, SorterProcessError(f"kilosort4 ended with exit code {code}", code))
    assert isinstance(error, errors.SorterTimeoutError)
    assert (error.sorter, error.timeout_s) == ("kilosort4", None)


def test_environment_before_resource_before_biology(tmp_path: Path) -> None:
    biology = "n_samples=2 should be >= n_clusters=6."
    resource = "CUDA out of memory."
    environment = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
    assert type(classify_ks4_failure(NOTHING, RuntimeError(biology))) is errors.InsufficientActivityError
    assert type(classify_ks4_failure(NOTHING, RuntimeError(biology + resource))) is errors.GPUOutOfMemoryError
    everything = RuntimeError(biology + resource + environment)
    assert type(classify_ks4_failure(NOTHING, everything)) is errors.DockerEnvironmentError


@pytest.mark.parametrize("text", ["check HDF5_PLUGIN_PATH", "No module named 'hdf5plugin'"])
def test_a_missing_filter_comes_before_what_follows_from_it(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDF5_PLUGIN_PATH", "/plugins")
    error = RuntimeError(text)
    error.__cause__ = ValueError("Found array with 0 sample(s) while a minimum of 1 is required by TruncatedSVD.")
    found = classify_ks4_failure(NOTHING, error)
    assert isinstance(found, errors.HDF5PluginMissingError)
    assert found.configured_path == "/plugins"


def test_the_variable_in_a_log_is_no_complaint(tmp_path: Path) -> None:
    (tmp_path / "sorter.log").write_text("HDF5_PLUGIN_PATH=/plugins\n", encoding="utf-8")
    assert classify_ks4_failure(tmp_path, RuntimeError("it failed")) is None


def test_docker_that_forbids_and_does_not_answer_forbids() -> None:
    text = "docker: permission denied while trying to connect to the Docker daemon. Is the docker daemon running?"
    error = classify_ks4_failure(NOTHING, RuntimeError(text))
    assert isinstance(error, errors.DockerEnvironmentError)
    assert error.reason == "permission_denied"


def test_what_fails_in_a_container_is_not_the_containers_fault() -> None:
    head = "Spike sorting in docker failed with the following error:\n"
    assert classify_ks4_failure(NOTHING, RuntimeError(head + "IndexError: 3")) is None
    empty = "Found array with 0 sample(s) while a minimum of 1 is required by TruncatedSVD."
    assert isinstance(classify_ks4_failure(NOTHING, RuntimeError(head + empty)), errors.InsufficientActivityError)


def test_words_in_the_name_of_this_runs_folder_mean_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "my CUDA out of memory test"
    folder.mkdir()
    (folder / "kilosort4.log").write_text(f"writing to {folder}/results\n", encoding="utf-8")
    assert classify_ks4_failure(folder, RuntimeError(f"it failed in {folder}")) is None
    (folder / "kilosort4.log").write_text(f"writing to {folder}/results: CUDA out of memory\n", encoding="utf-8")
    assert isinstance(classify_ks4_failure(folder, RuntimeError("it failed")), errors.GPUOutOfMemoryError)


def test_a_line_of_a_megabyte_is_looked_at_where_it_begins_and_ends(tmp_path: Path) -> None:
    text = "docker " * 150_000 + "CUDA out of memory"
    assert isinstance(ks2(tmp_path, text), errors.GPUOutOfMemoryError)


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("folder '/models/my mea' does not contain init_dict.json and state_dict.pt", "/models/my mea"),
        ("/models/mea has no init_dict.json", "/models/mea"),
        ("the weights state_dict.pt are damaged", None),
        ("init_dict.json and state_dict.pt are not in /models/mea.", "/models/mea"),
    ],
)
def test_a_folder_without_a_model_is_told(text: str, folder: str | None) -> None:
    error = classify_rt_sort_failure(NOTHING, ValueError(text))
    assert isinstance(error, errors.ModelLoadingError)
    assert error.model_path == folder


def test_units_at_failure_are_read() -> None:
    error = classify_ks4_failure(NOTHING, ValueError("n_samples=5 should be >= n_clusters=6."))
    assert isinstance(error, errors.InsufficientActivityError)
    assert error.units_at_failure == 5


def test_no_sample_at_all_is_no_unit_at_all() -> None:
    text = "Found array with 0 sample(s) (shape=(0, 61)) while a minimum of 1 is required by TruncatedSVD."
    error = classify_ks4_failure(NOTHING, ValueError(text))
    assert isinstance(error, errors.InsufficientActivityError)
    assert error.units_at_failure == 0


def test_signatures_of_one_sorter_are_not_anothers() -> None:
    assert classify_ks2_failure(NOTHING, ValueError("n_samples=5 should be >= n_clusters=6.")) is None
    text = "'NoneType' object has no attribute 'sort_offline'"
    assert classify_ks4_failure(NOTHING, AttributeError(text)) is None
    assert isinstance(classify_rt_sort_failure(NOTHING, AttributeError(text)), errors.InsufficientActivityError)


@pytest.mark.parametrize(
    ("sorter", "text"),
    [
        (
            "simple",
            "ValueError: Found array with 0 sample(s) (shape=(0, 50)) while 1 is required by TruncatedSVD.",
        ),
        ("tridesclous2", '["subsampling_factor"] = all_peaks.size / peaks.size\nZeroDivisionError: division by zero'),
        ("lupin", "AssertionError: Prototype should have a negative peak"),
        ("spykingcircus2", "AssertionError: Prototype should have a negative peak"),
    ],
)
def test_sorters_of_spikeinterface_on_noise(sorter: str, text: str) -> None:
    error = classify_failure(sorter, NOTHING, SorterProcessError(text, 1, "SpikeSortingError"))
    assert isinstance(error, errors.InsufficientActivityError)
    assert error.sorter == sorter


def test_rt_sort_model() -> None:
    error = classify_rt_sort_failure(NOTHING, RuntimeError("Error(s) in loading state_dict for ModelSpikeSorter"))
    assert isinstance(error, errors.ModelLoadingError)
    assert error.sorter == "rt_sort"


@pytest.mark.parametrize("text", ["No space left on device", "[Errno 122] Disk quota exceeded"])
def test_full_disk_says_where_and_how_full(tmp_path: Path, text: str) -> None:
    error = classify_ks4_failure(tmp_path, SorterProcessError(text, 1, "OSError"))
    assert isinstance(error, errors.DiskExhaustionError)
    assert (error.sorter, error.path, error.log_path) == ("kilosort4", tmp_path, None)
    assert error.required_bytes is None
    assert error.free_bytes is not None
    assert error.free_bytes > 0


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("RuntimeError: Invalid device string: 'cuda:x'", "cuda:x"),
        ("CUDA error: invalid device ordinal", None),
        ("RuntimeError: No CUDA GPUs are available", None),
        ("RuntimeError: Found no NVIDIA driver on your system.", None),
        ("AssertionError: The container requires a NVIDIA GPU capability, but it is not available", None),
    ],
)
def test_missing_gpu(tmp_path: Path, text: str, device: str | None) -> None:
    (tmp_path / "sorter.log").write_text("started\n", encoding="utf-8")
    error = classify_ks4_failure(tmp_path, RuntimeError(text))
    assert isinstance(error, errors.GPUUnavailableError)
    assert (error.sorter, error.device, error.log_path) == ("kilosort4", device, tmp_path / "sorter.log")


OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.61 GiB."


@pytest.mark.parametrize(
    "name", ["kilosort4.log", "sorter_output/kilosort4.log", "run/sorter/sorter_output/kilosort4.log"]
)
def test_log_is_found_below(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OUT_OF_MEMORY, encoding="utf-8")
    error = classify_ks4_failure(tmp_path, Exception("kilosort4 returned a non-zero exit code"))
    assert isinstance(error, errors.GPUOutOfMemoryError)
    assert error.log_path == path


@pytest.mark.parametrize("below", [True, False])
def test_log_of_spikeinterface_is_read_line_by_line(tmp_path: Path, below: bool) -> None:
    log = {
        "sorter_name": "kilosort2",
        "error": True,
        "error_trace": ["Traceback (most recent call last):", "  Exception: kilosort2 returned a non-zero exit code"],
        "runtime_trace": ["found 12 threshold crossings", "found 3 bad channels", "----invalid configuration argument"],
    }
    (tmp_path / "spikeinterface_log.json").write_text(json.dumps(log, indent=4), encoding="utf-8")
    (tmp_path / "sorter_output").mkdir()
    folder = tmp_path if below else tmp_path / "sorter_output"
    error = classify_ks2_failure(folder, Exception("kilosort2 returned a non-zero exit code"))
    assert isinstance(error, errors.InsufficientActivityError)
    assert error.threshold_crossings == 12
    assert "'invalid configuration argument'" in str(error)
    assert error.log_path == tmp_path / "spikeinterface_log.json"
    (tmp_path / "spikeinterface_log.json").write_text(json.dumps(log)[:-3], encoding="utf-8")  # cut off by a kill
    assert isinstance(classify_ks2_failure(folder, Exception("")), errors.InsufficientActivityError)


def test_log_that_the_exception_names_is_read(tmp_path: Path) -> None:
    log = tmp_path / "elsewhere.txt"
    log.write_text(OUT_OF_MEMORY, encoding="utf-8")
    error = classify_ks4_failure(NOTHING, SorterProcessError("kilosort4 ended with exit code 1", 1, None, log))
    assert isinstance(error, errors.GPUOutOfMemoryError)
    assert error.log_path == log


def test_outside_the_sorter_only_what_can_strike_anywhere_is_recognised() -> None:
    plugin = OSError("Can't synchronously read data (can't open directory (/x). Please verify its existence)")
    assert isinstance(classify_outside_sorter(plugin), errors.HDF5PluginMissingError)
    assert isinstance(classify_outside_sorter(MemoryError()), errors.HostOutOfMemoryError)
    assert classify_outside_sorter(ValueError("n_samples=5 should be >= n_clusters=6.")) is None
    assert classify_outside_sorter(KeyError("state_dict.pt")) is None


def test_path_of_a_model_is_told() -> None:
    error = classify_rt_sort_failure(
        NOTHING, FileNotFoundError(2, "No such file or directory", "/models/my model/init_dict.json")
    )
    assert isinstance(error, errors.ModelLoadingError)
    assert (error.sorter, error.model_path) == ("rt_sort", "/models/my model")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("run_kilosort2.sh: line 4: matlab: command not found", errors.SorterNotInstalledError),
        ("run_kilosort2.sh: line 4: 12345 Killed  matlab -nosplash", errors.HostOutOfMemoryError),
        ("Unable to find supported GPU device.", errors.GPUUnavailableError),
        ("CANCELLED AT 2026-03-01T07:00:00 DUE TO TIME LIMIT", errors.SorterTimeoutError),
        ("No space left on device", errors.DiskExhaustionError),
    ],
)
def test_sorter_and_log_are_told(tmp_path: Path, words: str, kind: type[Exception]) -> None:
    error: Any = ks2(tmp_path, HEALTHY + words)
    assert type(error) is kind
    assert (error.sorter, error.log_path) == ("kilosort2", tmp_path / "kilosort2.log")


def test_plugin_path_at_the_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDF5_PLUGIN_PATH", "somewhere")
    text = "Can't synchronously read data (can't open directory (somewhere). Please verify its existence)"
    error = classify_ks2_failure(NOTHING, OSError(text))
    assert isinstance(error, errors.HDF5PluginMissingError)
    assert error.configured_path == "somewhere"


@pytest.mark.parametrize("text", ["filter returned failure during read", "file signature not found", "truncated file"])
def test_damaged_files_are_no_missing_plugin(text: str) -> None:
    assert classify_ks2_failure(NOTHING, OSError(f"Can't synchronously read data ({text})")) is None


def test_cause_and_context_are_walked_once_even_in_a_cycle() -> None:
    first, second, third = RuntimeError("first"), ValueError("CUDA out of memory"), KeyError("third")
    first.__cause__, second.__context__, third.__cause__ = second, third, first
    assert list(exception_chain(first)) == [first, second, third]
    assert isinstance(classify_ks4_failure(NOTHING, first), errors.GPUOutOfMemoryError)


def test_suppressed_context_is_not_looked_at() -> None:
    error = ValueError("unrelated")
    error.__context__ = RuntimeError("CUDA out of memory")
    assert isinstance(classify_ks4_failure(NOTHING, error), errors.GPUOutOfMemoryError)
    error.__suppress_context__ = True
    assert classify_ks4_failure(NOTHING, error) is None


def test_classified_error_in_the_chain_is_returned() -> None:
    inner = errors.ConcurrentSortError("in use")
    outer = RuntimeError("outer")
    outer.__cause__ = inner
    assert classify_ks4_failure(NOTHING, outer) is inner


def test_unknown_failure_without_a_log_is_none() -> None:
    assert classify_ks2_failure(NOTHING, Exception("kilosort2 returned a non-zero exit code")) is None


def test_end_of_a_very_long_log_is_read(tmp_path: Path) -> None:
    assert isinstance(ks2(tmp_path, "x" * 3 * 2**20 + "\nOut of memory on device."), errors.GPUOutOfMemoryError)


def test_table_is_in_order_and_every_error_can_be_built_and_pickled() -> None:
    bases = (errors.EnvironmentSortFailure, errors.ResourceSortFailure, errors.BiologicalSortFailure)
    for category, base in zip(CATEGORIES, bases, strict=True):
        for signature in category:
            assert issubclass(signature.error, base)
            assert "check" in signature.message.lower()
    assert len({signature.pattern for signature in SIGNATURES}) == len(SIGNATURES)
    error = classify_ks4_failure(NOTHING, RuntimeError("CUDA out of memory"))
    copy = pickle.loads(pickle.dumps(error))
    assert vars(copy) == vars(error)
