"""Files that settings name: the same file from wherever a call is repeated, and no harm where they are gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulated import simulate
from spikelab.spike_sorting import config_from_toml, sort_recording

pytestmark = pytest.mark.filterwarnings("ignore:.*nothing is seen within")


def sort(recording: Any, folder: Path, **settings: Any) -> None:
    sort_recording(
        [recording],
        sorter="threshold",
        results_folders=[folder / "out"],
        intermediate_folders=[folder / "inter"],
        n_jobs=1,
        create_figures=False,
        **settings,
    )


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "run.json").read_text(encoding="utf-8"))


def test_a_finished_sort_outlives_the_file_of_its_pulses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording, other = simulate(duration_s=4.0).recording, tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(tmp_path)
    Path("pa.csv").write_text("0.5\n1.5\n", encoding="utf-8")
    sort(recording, tmp_path, stim_times_s="pa.csv")
    used = config_from_toml(tmp_path / "out" / "config_used.toml")
    assert used.recording.stim_times_s == str(tmp_path / "pa.csv")
    before = {stage: about["run_id"] for stage, about in record(tmp_path)["stages"].items()}

    monkeypatch.chdir(other)  # where "pa.csv" is no file
    with pytest.warns(UserWarning, match="there is no file .*pa.csv: what was read of pa.csv before is kept"):
        sort(recording, tmp_path, stim_times_s="pa.csv")
    assert record(tmp_path)["status"] == "done"
    assert {stage: about["run_id"] for stage, about in record(tmp_path)["stages"].items()} == before
    assert all(about["loaded"] for about in record(tmp_path)["stages"].values())

    page = (tmp_path / "out" / "report.html").read_bytes()
    with pytest.raises(FileNotFoundError, match="there is no file .*pb.csv"):
        sort(recording, tmp_path, stim_times_s="pb.csv")
    assert record(tmp_path)["status"] == "done"
    assert (tmp_path / "out" / "report.html").read_bytes() == page

    Path("pa.csv").write_text("0.5\n1.6\n", encoding="utf-8")
    sort(recording, tmp_path, stim_times_s="pa.csv")
    assert record(tmp_path)["stages"]["recording"]["run_id"] != before["recording"]
