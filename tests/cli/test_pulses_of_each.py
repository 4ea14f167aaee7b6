"""A list of pulse times gives each recording its own: files of a command, wells of a file, streams in Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import Result

from plates import FS
from spikelab.spike_sorting import pipeline, sort_multistream
from spikelab.spike_sorting.batch.manifest import ManifestError, jobs_from_entries
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.recording.maxwell_writer import add_well, write_header
from spikelab.spike_sorting.run.jobs import plan_jobs
from spikelab.spike_sorting.run.parts import parts_of_files
from spikelab.spike_sorting.run.wanted import wanted

TIMES: list[Any] = [[0.05, 0.1], None]


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    counts = np.random.default_rng(0).integers(500, 524, (4, 2_000)).astype(np.uint16)
    places = np.column_stack([np.arange(4) * 17.5, np.zeros(4)])
    with h5py.File(tmp_path / "plate.raw.h5", "w") as file:
        write_header(file)
        for number in range(2):
            add_well(file, counts, FS, places, well=f"well{number:03d}")
    return tmp_path / "plate.raw.h5"


def asked(times: Any) -> Any:
    found, problems = wanted("threshold", None, {"stim_times_s": times, "freq_max": 4500})
    assert not problems
    return found


def test_files_and_wells_have_their_own(plate: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.raw.h5"
    other.write_bytes(plate.read_bytes())
    of_wells = parts_of_files([plate], asked(TIMES))
    assert [part.wanted.config.recording.stim_times_s for part in of_wells] == TIMES
    assert [part.seen and part.seen.config.recording.stim_times_s for part in of_wells] == TIMES
    of_files = parts_of_files([plate, other], asked(TIMES))
    assert [part.wanted.config.recording.stim_times_s for part in of_files] == [TIMES[0], TIMES[0], None, None]
    for_all = parts_of_files([plate, other], asked(TIMES[0]))
    assert [part.wanted.config.recording.stim_times_s for part in for_all] == [TIMES[0]] * 4
    with pytest.raises(ValueError, match="has 3 entries for 2 recordings"):
        parts_of_files([plate], asked([None, None, [0.1]]))


@pytest.mark.filterwarnings("ignore:.*nothing is seen within")
def test_the_command_line_sorts_each_with_its_own(plate: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    (tmp_path / "pa.csv").write_text("0.05\n0.1\n", encoding="utf-8")
    about = ("--set", f'stim_times_s=["{tmp_path / "pa.csv"}","none"]', "--set", "freq_max=4500")
    run("sort", plate, "--sorter", "threshold", *about, "--results", tmp_path / "out")
    manifests = [
        tmp_path / "out" / f"sorted_threshold_plate_well00{number}" / "stages" / "recording" / "manifest.json"
        for number in range(2)
    ]
    first, second = (json.loads(path.read_text(encoding="utf-8")) for path in manifests)
    assert first["info"]["files"] == {"stim_times_s": "pa.csv"}
    assert (second["settings"]["stim_times_s"], "files" in second["info"]) == (None, False)


def test_streams_and_entries_of_a_list_have_their_own(plate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[Any] = []
    monkeypatch.setattr(pipeline, "run_jobs", lambda jobs: planned.extend(jobs) or [])
    with pytest.raises(ValueError, match="zip"):
        sort_multistream(plate, ["well000", "well001"], sorter="threshold", stim_times_s=TIMES)
    jobs = jobs_from_entries(
        [{"file": str(plate), "stream": "all", "config": {"stim_times_s": TIMES, "freq_max": 4500}}]
    )
    for found in (planned, jobs):
        assert [job.config.recording.stim_times_s for job in found] == TIMES
    with pytest.raises(ManifestError, match="config: stim_times_s has 2 entries for 1 recordings"):
        jobs_from_entries([{"file": str(plate), "stream": "well000", "config": {"stim_times_s": TIMES}}])


def test_periods_that_several_recordings_share_are_asked_about(tmp_path: Path) -> None:
    def plan(*settings: Any) -> None:
        configs = [SortingPipelineConfig().override(artifacts=own) for own in settings]
        plan_jobs([(tmp_path / f"day{number}.raw.h5", config) for number, config in enumerate(configs)])

    with pytest.warns(
        UserWarning, match=r"the same periods, \[\(1.0, 2.0\)\] s, are dead time in each of 2 recordings"
    ):
        plan([(1.0, 2.0)], [(1.0, 2.0)], "auto")
    plan([(1.0, 2.0)], [(1.5, 2.0)], "auto", None, None)
    wells = [SortingPipelineConfig().override(artifacts=[(1.0, 2.0)], stream_id=name) for name in ("a", "b")]
    plan_jobs([(tmp_path / "plate.raw.h5", config) for config in wells])
