"""The failure classifier: known texts of the field, its order, its silence about what it does not know."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from spikelab.spike_sorting import _exceptions as errors
from spikelab.spike_sorting._classifier import (
    classify_failure,
    classify_ks2_failure,
    classify_ks4_failure,
    classify_rt_sort_failure,
    exception_chain,
)
from spikelab.spike_sorting._signatures import CATEGORIES, SIGNATURES
from spikelab.spike_sorting.backends._child import SorterProcessError

KNOWN = Path(__file__).resolve().parents[2] / "shared" / "failures" / "known.json"
NOTHING = Path("folder-that-does-not-exist")


def known_failures() -> list[dict]:
    return json.loads(KNOWN.read_text(encoding="utf-8")) if KNOWN.is_file() else []


def sorter_of(entry: dict) -> str:
    name = entry.get("sorter", entry.get("kind", "any")).split()[0]
    return name if name.startswith(("kilosort", "pykilosort", "rt_sort")) else "kilosort2"


def exception_and_log(entry: dict, folder: Path) -> Exception:
    """Put the text where it was found: Kilosort 2 speaks in its log only, the others in the exception."""
    text = entry["text"] + "\n" + entry.get("log_context", "")
    sorter = sorter_of(entry)
    if "log_context" in entry or "log" in entry.get("kind", ""):
        folder = folder / "run" / "sorter_output"
        folder.mkdir(parents=True)
        (folder / f"{sorter}.log").write_text(text, encoding="utf-8")
        return Exception(f"{sorter} returned a non-zero exit code")
    return RuntimeError(text)


def test_the_list_of_known_failures_is_there() -> None:
    if not known_failures():
        pytest.skip(f"the list of known failures is not at {KNOWN}")


@pytest.mark.parametrize(
    "entry",
    [pytest.param(e, id=f"{i}-{e.get('id', e.get('kind'))}") for i, e in enumerate(known_failures()) if e["decides"]],
)
def test_known_failure(entry: dict, tmp_path: Path) -> None:
    error = classify_failure(sorter_of(entry), tmp_path, exception_and_log(entry, tmp_path))
    assert type(error).__name__ == entry["spec_class"]
    if "reason" in entry:
        assert isinstance(error, errors.DockerEnvironmentError)
        assert error.reason == entry["reason"]


BASES = {
    "biological": errors.BiologicalSortFailure,
    "environment": errors.EnvironmentSortFailure,
    "resource": errors.ResourceSortFailure,
}


@pytest.mark.parametrize(
    "entry", [pytest.param(e, id=f"{i}-{e.get('id', e.get('kind'))}") for i, e in enumerate(known_failures())]
)
def test_known_failure_is_never_put_into_a_wrong_category(entry: dict, tmp_path: Path) -> None:
    same_words = "same text" in entry.get("note", "") or "identical" in entry.get("note", "")
    if entry["category"] == "input_or_config" and (
        same_words or "TruncatedSVD" in entry["text"] or "n_samples" in entry["text"]
    ):
        pytest.skip("the words are those of a silent recording; the message says what to check")
    error = classify_failure(sorter_of(entry), tmp_path, exception_and_log(entry, tmp_path))
    if error is None:
        assert not entry["decides"]
    elif entry["category"] == "ambiguous":
        assert type(error).__name__ == entry["spec_class"]
    else:
        assert isinstance(error, BASES[entry["category"]])


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
    assert ks2(tmp_path, "Recording has 64 channels\nfound 63 bad channels \n") is None


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


def test_environment_before_resource_before_biology(tmp_path: Path) -> None:
    biology = "n_samples=2 should be >= n_clusters=6."
    resource = "CUDA out of memory."
    environment = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
    assert type(classify_ks4_failure(NOTHING, RuntimeError(biology))) is errors.InsufficientActivityError
    assert type(classify_ks4_failure(NOTHING, RuntimeError(biology + resource))) is errors.GPUOutOfMemoryError
    everything = RuntimeError(biology + resource + environment)
    assert type(classify_ks4_failure(NOTHING, everything)) is errors.DockerEnvironmentError


def test_units_at_failure_are_read() -> None:
    error = classify_ks4_failure(NOTHING, ValueError("n_samples=5 should be >= n_clusters=6."))
    assert isinstance(error, errors.InsufficientActivityError)
    assert error.units_at_failure == 5


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
