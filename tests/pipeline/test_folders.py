"""Folders: whose they are, who may use them, and what stays in them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spikeinterface.core import generate_ground_truth_recording

from simulated import FS, simulate
from spikelab.spike_sorting import sort_multistream, sort_recording, stages
from spikelab.spike_sorting._exceptions import (
    ConcurrentSortError,
    EnvironmentSortFailure,
    InsufficientActivityError,
    SorterNotInstalledError,
)
from spikelab.spike_sorting.backends.threshold import ThresholdBackend
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.run.jobs import plan_jobs
from spikelab.spike_sorting.stages.manifest import MANIFEST, Key
from spikelab.spike_sorting.stages.store import StageStore
from spikelab.system import files
from spikelab.system.runlog import logged_warnings, run_log

Saved = Callable[..., Path]
LOOSE: dict[str, Any] = {"sorter": "threshold", "spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1}


def sort_into(folder: Path, recording: Any, **settings: Any) -> Any:
    (found,) = sort_recording(
        [recording],
        results_folders=[folder / "out"],
        intermediate_folders=[folder / "inter"],
        **{**LOOSE, **settings},
    )
    return found


def stages_that_ran(results: Path) -> list[str]:
    record = json.loads((results / "run.json").read_text())
    return [name for name, stage in record["stages"].items() if not stage["loaded"]]


@pytest.mark.parametrize("name", ["recording", "sorting", "waveforms"])
def test_a_folder_of_somebody_else_is_not_touched(saved: Saved, tmp_path: Path, name: str) -> None:
    mine = tmp_path / name
    if name == "recording":
        path = saved("recording")  # the input itself
    else:
        path = saved("culture")
        mine.mkdir()
        (mine / "notes.txt").write_text("keep")
    before = sorted(entry.name for entry in mine.iterdir())
    with pytest.raises(EnvironmentSortFailure, match="did not write"):
        sort_recording([path], results_folders=[tmp_path / "out"], intermediate_folders=[tmp_path], **LOOSE)
    assert sorted(entry.name for entry in mine.iterdir()) == before


def test_figures_of_the_user_stay(tmp_path: Path) -> None:
    recording = simulate(duration_s=3.0).recording
    (tmp_path / "out" / "figures").mkdir(parents=True)
    (tmp_path / "out" / "figures" / "mine.png").write_text("keep")
    sort_into(tmp_path, recording, create_figures=True)
    assert (tmp_path / "out" / "figures" / "mine.png").read_text() == "keep"
    assert (tmp_path / "out" / "figures" / "raster_pop_rate.png").exists()
    sort_into(tmp_path, recording, snr_min=1000)  # another outcome, and no figures of that: none where they would lie
    assert [path.name for path in (tmp_path / "out" / "figures").iterdir()] == ["mine.png"]
    assert len(list((tmp_path / "out" / "earlier").glob("*/figures/raster_pop_rate.png"))) == 1
    assert "figures/all_templates_plot.png and 4 more: of an earlier run" in (
        tmp_path / "out" / "sort_with_kilosort2.out"
    ).read_text(encoding="utf-8")


def test_files_of_another_kind_of_run_do_not_stay(tmp_path: Path) -> None:
    sort_into(tmp_path, simulate(duration_s=3.0, n_segments=2).recording)
    assert (tmp_path / "out" / "chunk1" / "sorted.npz").exists()
    sort_into(tmp_path, simulate(duration_s=3.0).recording)
    assert not (tmp_path / "out" / "chunk0").exists()


def test_an_interrupted_compilation_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikelab.spike_sorting.compilation import results

    recording = simulate(duration_s=3.0).recording
    sort_into(tmp_path, recording)
    before = (tmp_path / "out" / "sorted.npz").read_bytes()

    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(results, "_write_mat", interrupt)
        with pytest.raises(KeyboardInterrupt):
            sort_into(tmp_path, recording, save_dl_data=True, compile_to_mat=True)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "interrupted"
    sort_into(tmp_path, recording)
    assert (tmp_path / "out" / "sorted.npz").read_bytes() == before


@pytest.mark.parametrize("kind", ["new", "old"])
def test_a_run_killed_between_two_renames_loses_nothing(tmp_path: Path, kind: str) -> None:
    sort_into(tmp_path, simulate(duration_s=3.0).recording)
    folder = tmp_path / "out" / "stages"
    (folder / "sorting").rename(folder / f".sorting.{kind}")
    sort_into(tmp_path, simulate(duration_s=3.0).recording)
    assert stages_that_ran(tmp_path / "out") == []


def test_a_half_written_manifest_does_not_replace_a_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def run(folder: Path, run_id: str) -> None:
        (folder / "value").write_text("x")

    arguments: dict[str, Any] = {"run": run, "load": lambda folder: None}
    StageStore(tmp_path).load_or_run(Key("stage", {"a": 1}), **arguments)

    def full(path: Path, text: str) -> None:
        path.write_text(text[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files, "write_text", full)
        with pytest.raises(OSError, match="No space"):
            StageStore(tmp_path).load_or_run(Key("stage", {"a": 2}), **arguments)
    assert json.loads((tmp_path / "stages" / "stage" / MANIFEST).read_text())["settings"] == {"a": 1}


HOLD = """
import sys
from pathlib import Path
from spikelab.spike_sorting.run.lock import locked
with locked(Path(sys.argv[1]), Path(sys.argv[2])):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("shared", ["out", "inter"])
def test_two_runs_on_one_folder_are_refused(tmp_path: Path, shared: str) -> None:
    folders = [str(tmp_path / (name if name == shared else f"other-{name}")) for name in ("out", "inter")]
    command = [sys.executable, "-c", HOLD, *folders]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(ConcurrentSortError, match="in use"):
            sort_into(tmp_path, simulate(duration_s=3.0).recording)
        other.kill()  # a lock does not outlive its process
        other.wait()
        assert sort_into(tmp_path, simulate(duration_s=3.0).recording).N == 5


def test_waveform_files_are_written_when_somebody_wants_them(tmp_path: Path) -> None:
    recording = simulate(duration_s=3.0).recording
    sort_into(tmp_path, recording, save_waveform_files=False, delete_inter=False)
    assert not list((tmp_path / "inter").rglob("waveforms_*.npy"))
    sort_into(tmp_path, recording, delete_inter=False)
    assert len(list((tmp_path / "inter").rglob("waveforms_*.npy"))) == 5
    (tmp_path / "inter" / "waveforms" / "waveforms_3.npy").unlink()
    sort_into(tmp_path, recording, compile_waveforms=True)
    assert len(list((tmp_path / "out").rglob("waveforms_*.npy"))) == 5


def test_compiled_waveforms_are_not_extracted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = simulate(duration_s=3.0).recording
    sort_into(tmp_path, recording, compile_waveforms=True)
    monkeypatch.setattr(ThresholdBackend, "load_recording", None)  # would be called to write the binary again
    sort_into(tmp_path, recording, compile_waveforms=True)
    assert stages_that_ran(tmp_path / "out") == []


def test_scratch_of_a_silent_recording_is_deleted(tmp_path: Path) -> None:
    with pytest.raises(InsufficientActivityError):
        sort_into(tmp_path, simulate(n_units=0, duration_s=3.0).recording)
    assert not (tmp_path / "inter").exists()


def test_attempts_are_remembered_with_the_artifact(tmp_path: Path) -> None:
    recording = simulate(duration_s=3.0).recording
    for _ in range(2):
        sort_into(tmp_path, recording, kilosort_params={"detect_threshold": 6})
        record = json.loads((tmp_path / "out" / "run.json").read_text())
        (attempt,) = record["attempts"]
        assert (attempt["sorter_params"], attempt["error"]) == ({"detect_threshold": 6}, None)
        assert attempt["wall_s"] > 0


def test_the_record_says_that_a_run_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(*args: Any) -> None:
        seen.append(json.loads((tmp_path / "out" / "run.json").read_text())["status"])
        raise InterruptedError

    monkeypatch.setattr(ThresholdBackend, "sort", look)
    with pytest.raises(InterruptedError):
        sort_into(tmp_path, simulate(duration_s=3.0).recording)
    assert seen == ["running"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "failed"


def test_a_batch_default_of_none_can_still_be_halved() -> None:
    from spikelab.spike_sorting.backends.kilosort2 import Kilosort2Backend
    from spikelab.spike_sorting.stages.sorter_runs import smaller_batch

    config = SortingPipelineConfig().override(kilosort_params={"NT": None})
    assert smaller_batch(Kilosort2Backend(config)) == ("NT", (64 * 1024 + 64) // 2)


def test_a_missing_sorter_is_said_before_anything_is_filtered(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SorterNotInstalledError, match="MATLAB"):
        sort_recording([saved("culture")], sorter="kilosort2")
    assert not (tmp_path / "inter_kilosort2_culture").exists()


def test_the_users_recording_still_works_afterwards(tmp_path: Path) -> None:
    recording, _ = generate_ground_truth_recording(
        durations=[3.0], sampling_frequency=FS, num_channels=8, num_units=3, seed=0
    )
    before = recording.get_traces(0, 0, 100).copy()
    sort_into(tmp_path, recording, snr_min=None)
    np.testing.assert_array_equal(recording.get_traces(0, 0, 100), before)
    two = simulate(duration_s=6.0, n_segments=2).recording
    sort_into(tmp_path / "two", two)
    assert two.get_traces(1, 0, 100).shape == (100, 8)


def test_recordings_in_memory_do_not_share_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1, 0):
        sort_recording([simulate(duration_s=3.0, seed=seed).recording], **LOOSE)
    assert len(list(tmp_path.glob("sorted_threshold_recording_*"))) == 2


def test_names_that_collide_get_a_hash_wherever_they_go(tmp_path: Path) -> None:
    config = SortingPipelineConfig()
    inputs = [tmp_path / "a" / "rec.h5", tmp_path / "b" / "rec.h5"]
    jobs = plan_jobs([(path, config) for path in inputs], results_parents=[tmp_path / "out"] * len(inputs))
    assert len({job.results for job in jobs}) == len({job.intermediate for job in jobs}) == 2
    streams = [config.override(stream_id=name) for name in ("a/b", "a-b")]
    jobs = plan_jobs([(inputs[0], stream) for stream in streams])
    assert len({job.results for job in jobs}) == 2
    (job,) = plan_jobs([(inputs[0], config)], [tmp_path / "x"], [tmp_path / "x"])
    assert job.intermediate == tmp_path / "x" / "intermediate"


def test_overview_is_drawn_once_and_never_fails_the_batch(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [saved(f"r{i}", duration_s=3.0, seed=i) for i in range(2)]
    sort_recording(inputs, create_figures=True, **LOOSE)
    overview = tmp_path / "sorted_threshold_overview"
    assert (overview / "curation_bar_plot.png").exists()
    drawn = (overview / "curation_bar_plot.png").stat().st_mtime_ns
    sort_recording(inputs, create_figures=True, **LOOSE)
    assert (overview / "curation_bar_plot.png").stat().st_mtime_ns == drawn

    def fail(*args: Any) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(stages, "draw_overview", fail)
    assert len(sort_recording(inputs, create_figures=True, figures_dpi=50, **LOOSE)) == 2
    sort_recording(inputs, **LOOSE, snr_min=1000)
    assert not (overview / "curation_bar_plot.png").exists()
    assert len(list(overview.glob("earlier/*/curation_bar_plot.png"))) == 1


def test_a_figure_that_cannot_be_drawn_does_not_cost_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "figures_stage", lambda *args: 1 / 0)
    assert sort_into(tmp_path, simulate(duration_s=3.0).recording, create_figures=True).N == 5
    assert "could not be drawn" in json.loads((tmp_path / "out" / "run.json").read_text())["warnings"][0]


def test_handlers_of_the_user_see_what_they_saw_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("spikelab.spike_sorting.test")
    with run_log(tmp_path / "log") as collected:
        logger.info("quiet")
        logger.warning("loud")
    assert [record.message for record in caplog.records] == ["loud"]
    assert collected == ["loud"]
    text = (tmp_path / "log").read_text()
    assert "quiet" in text
    assert "loud" in text


def test_warnings_reach_the_log_and_the_user(tmp_path: Path) -> None:
    import warnings

    with (
        run_log(tmp_path / "log") as collected,
        pytest.warns(UserWarning, match="look here") as raised,
        logged_warnings(logging.getLogger("spikelab.spike_sorting.test")),
    ):
        warnings.warn("look here", UserWarning, stacklevel=1)
    assert collected == ["look here"]
    assert raised[0].filename == __file__
    assert "look here" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config": "threshold"}, "SortingPipelineConfig"),
        ({"sorter": "threshold", "results_folder": "x"}, "results_folders"),
        ({"sorter": "tridesclous2"}, "spikeinterface:tridesclous2"),
    ],
)
def test_traps_of_the_call_have_hints(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        sort_recording([tmp_path / "x"], **arguments)


def test_streams_of_a_folder_with_one_stream(saved: Saved, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="twice"):
        sort_multistream(saved("culture"), ["0", "0"], sorter="threshold")


def test_save_script_repeats_the_call_where_the_folder_is(saved: Saved, tmp_path: Path) -> None:
    path = saved("culture", duration_s=3.0)
    sort_into(tmp_path, path, save_script=True)
    (tmp_path / "out").rename(tmp_path / "moved")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "moved" / "sort_again.py")], capture_output=True, text=True, check=True
    )
    assert "nothing to do" in done.stderr
