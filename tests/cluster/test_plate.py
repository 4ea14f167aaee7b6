"""A plate of twelve wells, as a user would have it sorted: two workers give the same bytes as one process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from simulated import DENSE_PITCH_UM, FS, simulate_dense
from spikelab.spike_sorting import sort_multistream
from spikelab.spike_sorting.recording.maxwell_writer import add_well, write_header

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="slow to start processes"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

WELLS = tuple(f"well{number:03d}" for number in range(12))
SILENT = "well007"
SETTINGS: dict[str, Any] = {
    "n_jobs": 1, "total_memory": "1G", "spikes_min_first": 5, "spikes_min_second": 5, "on_failure": "skip",
    "create_figures": False,
}  # fmt: skip
FILES = ("sorted.npz", "sorted_spikedata_curated.npz", "unit_metrics.csv")


def write_plate(path: Path, duration_s: float) -> Path:
    y, x = np.mgrid[:4, :4]
    locations = np.column_stack([x.ravel(), y.ravel()]) * DENSE_PITCH_UM
    with h5py.File(path, "w") as file:
        write_header(file)
        for seed, well in enumerate(WELLS):
            traces = simulate_dense(duration_s=duration_s, rate_hz=12.0, seed=seed).recording.get_traces()
            if well == SILENT:
                traces = np.random.default_rng(seed).normal(0, 6, traces.shape)
            counts = np.clip(np.rint(traces) + 512, 0, 1023).astype(np.uint16).T
            add_well(file, counts, FS, locations, 1.0, well=well)
    return path


def outcome(results: Path) -> dict[str, Any]:
    record = json.loads((results / "run.json").read_text())
    files = {name: (results / name).read_bytes() for name in FILES if (results / name).is_file()}
    return {"status": record["status"], "units": record.get("units"), "error": record.get("error"), **files}


@pytest.mark.parametrize(
    ("sorter", "duration_s"),
    [pytest.param(*case, marks=pytest.mark.slow) for case in (("threshold", 3.0), ("rt_sort", 20.0))],
)
def test_two_workers_make_the_same_bytes_as_one_process(sorter: str, duration_s: float, tmp_path: Path) -> None:
    from spikelab.spike_sorting.distributed import sort_many

    plate = write_plate(tmp_path / "plate.raw.h5", duration_s)
    sort_multistream(plate, ["all"], sorter=sorter, **SETTINGS)
    expected = {folder.name: outcome(folder) for folder in tmp_path.glob(f"sorted_{sorter}_*well*")}
    assert len(expected) == len(WELLS)
    done = {name for name, what in expected.items() if what["status"] == "done"}
    assert {name for name in expected if SILENT in name} == set(expected) - done

    entry = {"file": plate, "stream": "all", "sorter": sorter, "results": tmp_path / "there", "config": SETTINGS}
    outcomes = sort_many([entry], workers=2)
    assert [one.job.config.recording.stream_id for one in outcomes] == list(WELLS)
    assert {one.job.results.name: outcome(one.job.results) for one in outcomes} == expected
