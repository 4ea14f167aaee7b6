"""What scripts rely on that were written for the peer of the same name: classes of failures by their words."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikelab.spike_sorting import _exceptions as errors
from spikelab.spike_sorting._classifier import classify_ks2_failure, classify_ks4_failure, classify_rt_sort_failure

NOTHING = Path("/nowhere")
CLASSIFIERS = [classify_ks2_failure, classify_ks4_failure, classify_rt_sort_failure]
EMPTY = "Found array with 0 sample(s) (shape=(0, 61)) while a minimum of 1 is required by TruncatedSVD."
SILENT = "Recording has 60 channels\nfound 12 threshold crossings\nCUDA error: invalid configuration argument\n"


@pytest.mark.parametrize("classify", CLASSIFIERS)
@pytest.mark.parametrize(
    "text",
    [
        "HDF5_PLUGIN_PATH is not set",
        "check HDF5_PLUGIN_PATH",
        "HDF5_PLUGIN_PATH=/nope does not exist",
        "missing HDF5 filter",
        "HDF5 filter missing",
        "no HDF5 plugin found: install it",
        "missing HDF5 compression plugin",
        "compression plugin not found",
        "the compression filter is missing",
        "failed to load HDF5 plugin",
        "HDF5 compression not available",
        "Can't synchronously read data (can't open directory (/plugins). Please verify its existence)",
        "Unable to synchronously open object (can't open directory)",
    ],
)
def test_words_of_the_filter_are_enough(
    classify: type, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HDF5_PLUGIN_PATH", "/some/where")
    (tmp_path / "kilosort2.log").write_text(SILENT)
    alone, outer, inner = (RuntimeError(text) for _ in range(3))
    outer.__cause__ = ValueError(EMPTY)
    whole = ValueError(EMPTY)
    whole.__cause__ = inner
    for exc in (alone, outer, whole):
        error = classify(tmp_path, exc)
        assert isinstance(error, errors.HDF5PluginMissingError)
        assert error.configured_path == "/some/where"


@pytest.mark.parametrize("classify", CLASSIFIERS)
@pytest.mark.parametrize(
    "text", ["can't open directory", "can't open directory /data/x", "PermissionError: can't open directory (/data)"]
)
def test_a_directory_that_cannot_be_opened_is_no_plugin(classify: type, text: str) -> None:
    assert classify(NOTHING, OSError(text)) is None


@pytest.mark.parametrize(
    ("text", "units"),
    [
        (EMPTY, 0),
        ("Found array with 0 sample(s) (shape=(0, 6)) while a minimum of 1 is required by KMeans.", 0),
        ("n_samples=0 should be >= n_clusters=6.", 0),
        ("n_samples=3 should be >= n_clusters=6.", 3),
        ("n_samples=3 is less than n_clusters=6", 3),
        ("n_samples=3 < n_clusters=6", 3),
    ],
)
def test_kilosort4_says_how_many_it_had(text: str, units: int) -> None:
    error = classify_ks4_failure(NOTHING, ValueError(text))
    assert isinstance(error, errors.InsufficientActivityError)
    assert (error.sorter, error.units_at_failure) == ("kilosort4", units)


def test_kilosort4_has_no_good_channels_of_its_own(tmp_path: Path) -> None:
    log = "Recording has 64 channels\nfound 64 bad channels\nfound 0 good channels\nfound 0 threshold crossings\n"
    (tmp_path / "kilosort4.log").write_text(log)
    for text in (log, "all channels are bad", "it failed"):
        assert classify_ks4_failure(tmp_path, RuntimeError(text)) is None
    assert isinstance(classify_ks2_failure(tmp_path, RuntimeError("it failed")), errors.NoGoodChannelsError)
    assert isinstance(classify_ks4_failure(tmp_path, ValueError(EMPTY)), errors.InsufficientActivityError)


@pytest.mark.parametrize("classify", CLASSIFIERS[:2])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("No module named 'docker'", "client_missing"),
        ("docker not installed", "client_missing"),
        ("docker: not found", "client_missing"),
        ("docker client missing", "client_missing"),
        ("docker-py missing", "client_missing"),
        ("the docker client could not be imported", "client_missing"),
        ("cannot import docker", "client_missing"),
        ("docker daemon down", "daemon_down"),
        ("Cannot connect to the Docker daemon", "daemon_down"),
        ("cannot reach docker", "daemon_down"),
        ("connection refused: /var/run/docker.sock", "daemon_down"),
        ("docker image not found", "image_pull_failed"),
        ("failed to pull image", "image_pull_failed"),
        ("docker: image pull failed", "image_pull_failed"),
        ("docker pull error: unauthorized", "image_pull_failed"),
        ("manifest unknown", "image_pull_failed"),
        ("docker: permission denied", "permission_denied"),
        ("PermissionError: docker socket", "permission_denied"),
        ("permission denied on /var/run/docker.sock", "permission_denied"),
        ("permission denied, is the docker daemon running?", "permission_denied"),
        ("docker daemon not running: permission denied", "permission_denied"),
        ("docker failed", "other"),
        ("something odd in docker", "other"),
    ],
)
def test_short_messages_of_docker(classify: type, text: str, reason: str) -> None:
    error = classify(NOTHING, RuntimeError(text))
    assert isinstance(error, errors.DockerEnvironmentError)
    assert error.reason == reason


@pytest.mark.parametrize("text", ["PyTorch is required for the detection model", "torch is required"])
def test_a_detection_model_needs_pytorch(text: str) -> None:
    assert isinstance(classify_rt_sort_failure(NOTHING, ImportError(text)), errors.ModelLoadingError)


@pytest.mark.parametrize("folder", ["/models/mea", "C:\\models\\mea", "~/models/mea", "/models/my mea"])
@pytest.mark.parametrize(
    "text",
    [
        "{} does not contain init_dict.json and state_dict.pt",
        "The folder {} must contain init_dict.json and state_dict.pt",
        "Folder '{}' has no init_dict.json or state_dict.pt",
        "init_dict.json and state_dict.pt not found in {}",
        "model_path={} lacks init_dict.json and state_dict.pt",
    ],
)
def test_the_folder_without_a_model_is_named(folder: str, text: str) -> None:
    error = classify_rt_sort_failure(NOTHING, ValueError(text.format(folder)))
    assert isinstance(error, errors.ModelLoadingError)
    assert error.model_path == folder


@pytest.mark.parametrize("name", ["rt_sort.log", "below/detect_sequences.log"])
@pytest.mark.parametrize(
    ("text", "is_silent"),
    [
        ("Found 0 propagation sequences", True),
        ("0 preliminary propagation sequences remain", True),
        ("Found 150 propagation sequences", False),
        ("10 propagation sequences", False),
    ],
)
def test_sequences_are_counted_in_the_log(name: str, text: str, is_silent: bool, tmp_path: Path) -> None:
    log = tmp_path / name
    log.parent.mkdir(exist_ok=True)
    log.write_text(f"detecting\n{text}\nended\n")
    error = classify_rt_sort_failure(tmp_path, RuntimeError("it failed"))
    if not is_silent:
        assert error is None
        return
    assert isinstance(error, errors.InsufficientActivityError)
    assert (error.sorter, error.log_path) == ("rt_sort", log)
