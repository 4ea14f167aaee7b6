"""A batch as it happens: some recordings are fine, some never will be, one needs a second try."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from simulated import FS, Simulated, save_recording, simulate
from spikelab.spike_sorting import sort_multistream, sort_recording
from spikelab.spike_sorting._exceptions import (
    BiologicalSortFailure,
    ConcurrentSortError,
    DockerEnvironmentError,
    EnvironmentSortFailure,
    FolderUnusableError,
    GPUOutOfMemoryError,
    InsufficientActivityError,
    SaturatedSignalError,
    SortBatchError,
    SpikeSortingClassifiedError,
)
from spikelab.spike_sorting.backends.threshold import ThresholdBackend
from spikelab.spike_sorting.batch.columns import TAKEN
from spikelab.spike_sorting.batch.in_process import run_jobs
from spikelab.spike_sorting.batch.manifest import jobs_from_entries
from spikelab.spike_sorting.recording.maxwell_writer import add_well, write_header
from spikelab.spike_sorting.run.results import Results
from spikelab.spikedata import SpikeData

LOOSE: dict[str, Any] = {"sorter": "threshold", "spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1}
NAMES = ["fine", "silent", "saturated", "corrupt", "hungry", "fine too"]
NOT_SORTED = [1, 2, 3]
DOCKER_DOWN = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


def saturated(duration_s: float) -> Simulated:
    """On the rail of its converter, all the time."""
    made = simulate(duration_s=duration_s, n_units=0)
    made.recording.get_traces()[:] = 3000.0
    return made


@pytest.fixture
def six(tmp_path: Path) -> list[Path]:
    """The recordings of `NAMES`, as files."""
    paths = [tmp_path / name for name in NAMES]
    for i, path in enumerate(paths):
        if path.name == "corrupt":
            paths[i] = path.with_suffix(".raw.h5")
            paths[i].write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(2000))
        elif path.name == "saturated":
            save_recording(saturated(3.0).recording, path)
        else:
            save_recording(simulate(duration_s=3.0, seed=i, n_units=0 if path.name == "silent" else 5).recording, path)
    return paths


class Sorter:
    """Stands in for the threshold sorter: counts calls, and runs out of GPU memory where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.needs_less: set[str] = {"hungry"}
        self.raises: Exception | None = None
        original = ThresholdBackend.sort

        def sort(backend: ThresholdBackend, recording: Any, rec_path: Path, *folders: Path) -> Any:
            params = backend.config.sorter.sorter_params or {}
            self.calls.append((rec_path.name, params.get("exclude_ms")))
            if self.raises is not None:
                raise self.raises
            if rec_path.name in self.needs_less and "exclude_ms" not in params:
                raise RuntimeError("CUDA out of memory. Tried to allocate 1.61 GiB.")
            return original(backend, recording, rec_path, *folders)

        monkeypatch.setattr(ThresholdBackend, "sort", sort)
        monkeypatch.setattr(ThresholdBackend, "batch_parameter", "exclude_ms")
        monkeypatch.setattr(ThresholdBackend, "batch_default", 2)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@pytest.fixture
def sorter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sorter]:
    return Sorter(monkeypatch)


def run_of(path: Path) -> dict[str, Any]:
    stem = path.name.removesuffix(".raw.h5")
    record: dict[str, Any] = json.loads((path.parent / f"sorted_threshold_{stem}" / "run.json").read_text())
    return record


def test_six_recordings(six: list[Path], sorter: Sorter) -> None:
    with pytest.raises(SortBatchError, match="3 of 6 recordings failed") as caught:
        sort_recording(six, **LOOSE)
    error = caught.value
    assert [type(result) for result in error.results] == [
        type(None) if i in NOT_SORTED else SpikeData for i in range(6)
    ]
    assert [path for path, _ in error.failures] == [six[i] for i in NOT_SORTED]
    silent, flat, corrupt = error.exceptions
    assert (type(silent), type(flat), type(corrupt)) == (InsufficientActivityError, SaturatedSignalError, ValueError)
    assert silent.sorter == "threshold"
    assert (flat.channels_saturated, flat.total_channels) == (8, 8)
    assert "corrupt.raw.h5" in str(corrupt)
    assert isinstance(corrupt.__cause__, OSError)
    assert error.not_attempted == []
    assert [name for name, _ in sorter.calls] == ["fine", "silent", "hungry", "hungry", "fine too"]
    first, second = run_of(six[4])["attempts"]
    assert first["error"].startswith("GPUOutOfMemoryError")
    assert (second["sorter_params"], second["error"]) == ({"exclude_ms": 1}, None)
    statuses = [run_of(path)["status"] for path in six]
    assert statuses == ["done", "biological failure", "biological failure", "failed", "done", "done"]


def test_the_same_call_again_tries_only_what_may_succeed(six: list[Path], sorter: Sorter) -> None:
    first = sort_recording(six, on_failure="skip", **LOOSE)
    sorter.calls.clear()
    with pytest.raises(SortBatchError) as caught:
        sort_recording(six, **LOOSE)
    assert sorter.calls == []  # fine, silent, or done with less memory: nothing to sort
    for before, now in zip(first, caught.value.results, strict=True):
        assert (before is None) == (now is None)
        assert before is None or [*map(len, before.train)] == [*map(len, now.train)]
    assert [type(error) for error in caught.value.exceptions] == [
        InsufficientActivityError, SaturatedSignalError, ValueError,
    ]  # fmt: skip
    save_recording(simulate(duration_s=3.0, seed=9).recording, six[3].with_name("repaired"))
    six[3].unlink()
    six[3].with_name("repaired").rename(six[3])
    assert sort_recording(six, on_failure="skip", **LOOSE)[3] is not None
    assert sorter.names == ["corrupt.raw.h5"]


def test_except_star_picks_the_failures_apart(six: list[Path], sorter: Sorter) -> None:
    caught = {}
    try:
        sort_recording(six, **LOOSE)
    except* BiologicalSortFailure as group:
        caught["biology"] = group
    except* ValueError as group:
        caught["input"] = group
    assert [type(error) for error in caught["biology"].exceptions] == [InsufficientActivityError, SaturatedSignalError]
    assert [type(error) for error in caught["input"].exceptions] == [ValueError]
    for group in caught.values():
        assert isinstance(group, SortBatchError)
        assert sum(result is not None for result in group.results) == 3


def test_a_plain_except_catches_the_batch(six: list[Path], sorter: Sorter) -> None:
    with pytest.raises(SpikeSortingClassifiedError) as caught:
        sort_recording(six, **LOOSE)
    assert isinstance(caught.value, SortBatchError)
    assert len(caught.value.failures) == 3


def test_without_docker_it_stops_at_the_first(six: list[Path], sorter: Sorter) -> None:
    sorter.raises = RuntimeError(DOCKER_DOWN)
    with pytest.raises(SortBatchError, match="1 of 6 recordings failed, 5 were not attempted") as caught:
        sort_recording(six, **LOOSE)
    (error,) = caught.value.exceptions
    assert isinstance(error, DockerEnvironmentError)
    assert error.reason == "daemon_down"
    assert error.__cause__ is sorter.raises
    assert caught.value.results == [None] * 6
    assert caught.value.not_attempted == six[1:]
    assert sorter.names == ["fine"]
    assert not (six[5].parent / "sorted_threshold_fine too").exists()
    assert sort_recording(six, on_failure="skip", **LOOSE) == [None] * 6
    sorter.raises = None  # somebody started it
    results = sort_recording(six, on_failure="skip", **LOOSE)
    assert [i for i, result in enumerate(results) if result is None] == NOT_SORTED


@pytest.mark.parametrize("what", ["in use", "a file", "holds something else"])
def test_a_folder_that_cannot_be_used_is_the_matter_of_one_recording(
    six: list[Path], sorter: Sorter, tmp_path: Path, what: str
) -> None:
    inputs = [six[0], six[5]]
    results, scratch = ([tmp_path / f"{kind}{i}" for i in range(2)] for kind in ("results", "scratch"))
    if what == "in use":
        results[0].mkdir()
        (results[0] / ".spikelab.lock.json").write_text(json.dumps({"pid": 1, "host": "another"}))
    elif what == "a file":
        results[0].write_text("in the place of a folder")
    else:
        (scratch[0] / "recording").mkdir(parents=True)
        (scratch[0] / "recording" / "thesis.txt").touch()
    with pytest.raises(SortBatchError, match="1 of 2 recordings failed$") as caught:
        sort_recording(inputs, results_folders=results, intermediate_folders=scratch, **LOOSE)
    (error,) = caught.value.exceptions
    assert type(error) is (ConcurrentSortError if what == "in use" else FolderUnusableError)
    assert caught.value.not_attempted == []
    assert [result is None for result in caught.value.results] == [True, False]
    assert sorter.names == ["fine too"]


def test_a_missing_sorter_stops_what_wants_it_alone(
    six: list[Path], sorter: Sorter, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [{"file": six[i], "sorter": name} for i, name in ((0, "kilosort2"), (5, "threshold"), (1, "kilosort2"))]
    monkeypatch.setattr(ThresholdBackend, "batch_parameter", None)
    monkeypatch.setenv("PATH", str(six[0].parent))
    outcomes = run_jobs(jobs_from_entries([{**entry, "config": {"spikes_min_first": 5}} for entry in entries]))
    assert [type(outcome.error).__name__ for outcome in outcomes] == ["SorterNotInstalledError", "NoneType", "NoneType"]
    assert [outcome.attempted for outcome in outcomes] == [True, True, False]


def test_the_ladder_ends(six: list[Path], sorter: Sorter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThresholdBackend, "batch_default", 64)
    sorter.raises = RuntimeError("CUDA out of memory.")
    with pytest.raises(GPUOutOfMemoryError):
        sort_recording([six[0]], **LOOSE)
    assert [batch for _, batch in sorter.calls] == [None, 32, 16]
    record = run_of(six[0])
    assert record["status"] == "resource failure"
    assert all(attempt["error"].startswith("GPUOutOfMemoryError") for attempt in record["attempts"])
    sorter.raises = None
    assert sort_recording([six[0]], **LOOSE)[0].N == 5  # a resource may be there the next time
    record = run_of(six[0])
    assert (record["status"], len(record["attempts"])) == ("done", 1)
    (before,) = record["earlier_runs"]
    assert (before["status"], len(before["attempts"])) == ("resource failure", 3)
    assert before["error"]["class"] == "GPUOutOfMemoryError"


def test_what_nobody_knows_goes_on_with_the_next(six: list[Path], sorter: Sorter) -> None:
    sorter.raises = KeyError("surprise")
    with pytest.raises(SortBatchError) as caught:
        sort_recording([six[0], six[5]], **LOOSE)
    assert [type(error) for error in caught.value.exceptions] == [KeyError, KeyError]
    assert sorter.names == ["fine", "fine too"]
    assert run_of(six[0])["attempts"][0]["error"] == "KeyError: 'surprise'"


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """A file with three wells; the second is silent."""
    path = tmp_path / "plate.raw.h5"
    with h5py.File(path, "w") as file:
        write_header(file)
        for i, n_units in enumerate((4, 0, 4)):
            made = simulate(duration_s=3.0, seed=i, n_units=n_units).recording
            counts = np.round(made.get_traces() / 6.294 + 512).astype(np.uint16).T
            add_well(file, counts, FS, made.get_channel_locations(), well=f"well00{i}")
    return path


def test_streams_are_a_batch(plate: Path) -> None:
    with pytest.raises(SortBatchError, match="1 of 3") as caught:
        sort_multistream(plate, ["well000", "well001", "well002"], **LOOSE)
    error = caught.value
    assert list(error.results) == ["well000", "well001", "well002"]
    assert [result[0] is None for result in error.results.values()] == [False, True, False]
    ((stream, silent),) = error.failures
    assert stream == "well001"
    assert isinstance(silent, InsufficientActivityError)
    skipped = sort_multistream(plate, ["well000", "well001", "well002"], on_failure="skip", **LOOSE)
    assert [result[0] is None for result in skipped.values()] == [False, True, False]


def test_streams_stop_where_the_environment_is_broken(plate: Path, sorter: Sorter) -> None:
    sorter.raises = RuntimeError(DOCKER_DOWN)
    with pytest.raises(SortBatchError) as caught:
        sort_multistream(plate, ["well000", "well001", "well002"], **LOOSE)
    assert isinstance(caught.value.exceptions[0], EnvironmentSortFailure)
    assert caught.value.results == {"well000": [None], "well001": [None], "well002": [None]}
    assert caught.value.not_attempted == ["well001", "well002"]


def test_notes_reach_units_files_record_and_overview(saved: Callable[..., Path], tmp_path: Path) -> None:
    path, loose = saved("plate", duration_s=2.0), {"spikes_min_first": 2, "spikes_min_second": 2}
    common = {"file": path, "sorter": "threshold", "config": loose}
    noted = {"condition": "=drug", "day": 7, "well": "A1"}
    jobs = jobs_from_entries([{**common, "results": tmp_path / "out" / "a", **noted}])
    jobs += jobs_from_entries([{**common, "results": tmp_path / "out" / "b", "well": "A2"}])
    first, second = run_jobs(jobs)
    (units,) = first.aligned
    assert (units.metadata["condition"], units.metadata["day"], units.metadata["well"]) == ("=drug", 7, "A1")
    assert set(units.metadata) - {"condition", "day", "well"} < set(TAKEN)
    assert SpikeData.load(jobs[0].results / "sorted_spikedata_curated.npz").metadata["condition"] == "=drug"
    assert json.loads((jobs[0].results / "run.json").read_text())["metadata"] == jobs[0].metadata
    assert Results.open(jobs[0].results).units.metadata["day"] == 7
    assert "condition" not in second.aligned[0].metadata
    overview = tmp_path / "out" / "sorted_threshold_overview"
    with (overview / "units.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert {(row["recording"], row["well"], row["condition"]) for row in rows} == {
        ("plate", "A1", "'=drug"), ("plate", "A2", ""),
    }  # fmt: skip
    assert len(rows) == first.done.n_units + second.done.n_units  # type: ignore[union-attr]
    page = (overview / "index.html").read_text(encoding="utf-8")
    assert 'title="A1: ' in page
    assert 'href="units.csv"' in page

    (again,) = run_jobs([replace(jobs[0], metadata={"condition": "control"})])
    record = json.loads((jobs[0].results / "run.json").read_text())
    assert [name for name, stage in record["stages"].items() if not stage["loaded"]] == ["compilation"]
    assert again.aligned[0].metadata["condition"] == "control"
    assert "day" not in again.aligned[0].metadata
