"""The harness: when it loads, when it runs and why, what a reader can find on disk."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.stages.store import MANIFEST, Done, StageStore


class Counter:
    """A stage that writes how often it ran."""

    def __init__(self, store: StageStore) -> None:
        self.store, self.runs = store, 0

    def __call__(self, **changed: Any) -> Done[str]:
        def run(folder: Path, run_id: str) -> dict[str, Any]:
            self.runs += 1
            (folder / "value.txt").write_text(str(self.runs))
            return {"note": "made"}

        arguments: dict[str, Any] = {"settings": {"a": 1, "b": (2, 3)}, "inputs": {"before": "x"}}
        return self.store.load_or_run(
            "stage", run=run, load=lambda folder: (folder / "value.txt").read_text(), **{**arguments, **changed}
        )


@pytest.fixture
def stage(tmp_path: Path) -> Counter:
    return Counter(StageStore(tmp_path, {"numpy": "1"}))


def test_second_call_loads(stage: Counter) -> None:
    first, second = stage(), stage()
    assert (first.loaded, second.loaded, stage.runs) == (False, True, 1)
    assert first.value == second.value == "1"
    assert first.run_id == second.run_id
    assert second.info == {"note": "made"}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"settings": {"a": 5, "b": (2, 3)}}, "a changed from 1 to 5"),
        ({"settings": {"a": 1, "b": (2, 4)}}, "b changed from [2, 3] to [2, 4]"),
        ({"inputs": {"before": "y"}}, "before changed"),
        ({"forced_by": "recompute_sorting"}, "recompute_sorting is set"),
    ],
)
def test_what_makes_it_run_again(stage: Counter, changed: dict[str, Any], reason: str) -> None:
    stage()
    again = stage(**changed)
    assert (again.loaded, stage.runs, again.reason) == (False, 2, reason)


def test_missing_file_makes_it_run_again(stage: Counter, tmp_path: Path) -> None:
    stage()
    (tmp_path / "stages" / "stage" / "value.txt").unlink()
    assert stage().value == "2"


def test_unreadable_manifest_makes_it_run_again(
    stage: Counter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage()
    (tmp_path / "stages" / "stage" / MANIFEST).write_text("{ half")
    with caplog.at_level(logging.WARNING):
        assert stage().value == "2"
    assert "unreadable" in caplog.text


def test_failed_run_leaves_the_old_artifact_and_no_rubbish(stage: Counter, tmp_path: Path) -> None:
    stage()

    def fail(folder: Path, run_id: str) -> None:
        (folder / "half").write_text("...")
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        stage.store.load_or_run("stage", settings={"a": 9}, inputs={}, run=fail, load=lambda folder: None)
    assert [path.name for path in (tmp_path / "stages").iterdir()] == ["stage"]
    assert stage().loaded


def test_leftovers_of_a_killed_run_are_removed(stage: Counter, tmp_path: Path) -> None:
    for name in (".stage.new", ".stage.old"):
        (tmp_path / "stages" / name).mkdir(parents=True)
        (tmp_path / "stages" / name / "half").write_text("...")
    stage()
    assert [path.name for path in (tmp_path / "stages").iterdir()] == ["stage"]


def test_biological_failure_is_remembered(stage: Counter, tmp_path: Path) -> None:
    runs = []

    def silent(folder: Path, run_id: str) -> None:
        runs.append(1)
        log = tmp_path / "sorter.log"
        log.write_text("no spikes at all")
        raise InsufficientActivityError(f"silent: {log}", sorter="threshold", threshold_crossings=3, log_path=log)

    arguments: dict[str, Any] = {"settings": {}, "inputs": {}, "run": silent, "load": lambda folder: None}
    with pytest.raises(InsufficientActivityError) as first:
        stage.store.load_or_run("stage", **arguments)
    (tmp_path / "sorter.log").unlink()
    with pytest.raises(InsufficientActivityError, match="silent") as raised:
        stage.store.load_or_run("stage", **arguments)
    assert len(runs) == 1
    copy = tmp_path / "stages" / "stage" / "sorter.log"
    for error in (first.value, raised.value):  # neither names the original, which goes with the scratch
        assert str(error) == f"silent: {copy}"
        assert Path(str(error.log_path)) == copy  # type: ignore[attr-defined]
    assert (raised.value.sorter, raised.value.threshold_crossings) == ("threshold", 3)
    assert Path(str(raised.value.log_path)).read_text() == "no spikes at all"
    with pytest.raises(InsufficientActivityError):
        stage.store.load_or_run("stage", **arguments, retry_failure=True)
    assert len(runs) == 2


def test_other_versions_are_logged_and_do_not_run_again(
    stage: Counter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage()
    stage.store = StageStore(tmp_path, {"numpy": "2"})
    with caplog.at_level(logging.INFO, logger="spikelab"):
        assert stage().loaded
    assert "made with numpy 1, this is 2" in caplog.text


def test_manifest_says_what_it_cost(stage: Counter, tmp_path: Path) -> None:
    stage()
    manifest = json.loads((tmp_path / "stages" / "stage" / MANIFEST).read_text())
    assert set(manifest["usage"]) == {"wall_s", "cpu_s", "peak_memory_mib"}
    assert manifest["settings"] == {"a": 1, "b": [2, 3]}
