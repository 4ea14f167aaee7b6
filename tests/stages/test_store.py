"""The harness: when it loads, when it runs and why, what a reader can find on disk."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.stages.manifest import MANIFEST, Key, Manifest
from spikelab.spike_sorting.stages.store import StageResult, StageStore
from spikelab.system import files
from spikelab.system.json_files import sealed


class Counter:
    """A stage that writes how often it ran."""

    def __init__(self, store: StageStore) -> None:
        self.store, self.runs = store, 0

    def __call__(self, **changed: Any) -> StageResult[str]:
        def run(folder: Path, run_id: str) -> dict[str, Any]:
            self.runs += 1
            (folder / "value.txt").write_text(str(self.runs))
            return {"note": "made"}

        key = Key("stage", **{"settings": {"a": 1, "b": (2, 3)}, "inputs": {"before": "x"}, **changed})
        return self.store.load_or_run(key, run=run, load=lambda folder: (folder / "value.txt").read_text())


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
        ({"inputs": {}}, "before changed"),
        ({"inputs": {"before": "x", "more": "y"}}, "more changed"),
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
        stage.store.load_or_run(Key("stage", {"a": 9}), run=fail, load=lambda folder: None)
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

    arguments: dict[str, Any] = {"run": silent, "load": lambda folder: None}
    with pytest.raises(InsufficientActivityError) as first:
        stage.store.load_or_run(Key("stage", {}), **arguments)
    (tmp_path / "sorter.log").unlink()
    with pytest.raises(InsufficientActivityError, match="silent") as raised:
        stage.store.load_or_run(Key("stage", {}), **arguments)
    assert len(runs) == 1
    copy = tmp_path / "stages" / "stage" / "sorter.log"
    for error in (first.value, raised.value):  # neither names the original, which goes with the scratch
        assert str(error) == f"silent: {copy}"
        assert Path(str(error.log_path)) == copy  # type: ignore[attr-defined]
    assert (raised.value.sorter, raised.value.threshold_crossings) == ("threshold", 3)
    assert Path(str(raised.value.log_path)).read_text() == "no spikes at all"
    with pytest.raises(InsufficientActivityError):
        stage.store.load_or_run(Key("stage", {}), **arguments, retry_failure=True)
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
    assert set(manifest["usage"]) == {"wall_s", "cpu_s", "peak_memory_mib", "set_peak_memory"}
    assert manifest["settings"] == {"a": 1, "b": [2, 3]}


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"emptied": b"", "cut": content[:-1], "flipped": bytes([content[0] ^ 4]) + content[1:]}[how])


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("gone", "value.txt is missing"),
        ("emptied", "value.txt is damaged (size 0, expected 1)"),
        ("cut", "value.txt is damaged (size 0, expected 1)"),
        ("flipped", "value.txt is damaged (checksum 84b12bae, expected 83dcefb7)"),
        ("a folder", "value.txt is damaged"),
    ],
)
def test_what_is_damaged_is_made_again(stage: Counter, tmp_path: Path, how: str, reason: str) -> None:
    first = stage()
    damaged(tmp_path / "stages" / "stage" / "value.txt", how)
    again = stage()
    assert (again.loaded, again.value) == (False, "2")
    assert reason in again.reason
    assert again.run_id != first.run_id  # for its content is another
    assert stage().loaded


def test_what_is_made_again_and_is_the_same_keeps_its_run_id(tmp_path: Path) -> None:
    def run(folder: Path, run_id: str) -> None:
        (folder / "value").write_text("same")
        (folder / "sorter.log").write_text(run_id + str(len(ran)))
        ran.append(1)

    ran: list[int] = []
    arguments: dict[str, Any] = {"run": run, "load": lambda folder: None}
    first = StageStore(tmp_path).load_or_run(Key("stage", {}), **arguments)
    for name in ("value", "sorter.log"):
        damaged(tmp_path / "stages" / "stage" / name, "emptied")
        again = StageStore(tmp_path).load_or_run(Key("stage", {}), **arguments)
        assert not again.loaded
        assert again.run_id == first.run_id
    assert StageStore(tmp_path).load_or_run(Key("stage", {}), **arguments).loaded
    forced = StageStore(tmp_path).load_or_run(Key("stage", {}, {}, "recompute_sorting"), **arguments)
    assert forced.run_id != first.run_id  # what was made from it is to be made again


def test_an_artifact_of_an_earlier_version_is_loaded(stage: Counter, tmp_path: Path) -> None:
    stage()
    path = tmp_path / "stages" / "stage" / MANIFEST
    content = json.loads(path.read_text())
    del content["files"], content["checksum"]
    path.write_text(json.dumps(content))
    assert stage().loaded


JSON = [None, True, -1, 1e400, "text", [], [[]], {}, {"a": {"a": 1}}]


@pytest.mark.parametrize("seal", [True, False], ids=["sealed", "bare"])
@pytest.mark.parametrize("name", ["", *Manifest.__dataclass_fields__])
def test_a_manifest_of_other_types_makes_it_run_again_or_load(
    name: str, seal: bool, stage: Counter, tmp_path: Path
) -> None:
    stage()
    path = tmp_path / "stages" / "stage" / MANIFEST
    content = {key: value for key, value in json.loads(path.read_text()).items() if key != "checksum"}
    for value in JSON:
        changed = {**content, name: value} if name else value
        path.write_text(json.dumps(sealed(changed) if seal and isinstance(changed, dict) else changed))
        assert stage().value == str(stage.runs)
    path.write_text("[" * 100_000)
    assert not stage().loaded


def test_a_failure_is_remembered_until_the_version_changes(tmp_path: Path) -> None:
    def silent(folder: Path, run_id: str) -> None:
        ran.append(1)
        raise InsufficientActivityError("silent", sorter="threshold")

    ran: list[int] = []
    arguments: dict[str, Any] = {"run": silent, "load": lambda folder: None}
    reasons: list[str] = []
    for version, n_runs in (("1", 1), ("1", 1), ("2", 2), ("2", 2)):
        store = StageStore(tmp_path, {"spikelab": version}, lambda _, reason: reasons.append(reason))
        assert (store.find(Key("stage", {})) is None) == (len(ran) < n_runs)
        with pytest.raises(InsufficientActivityError):
            store.load_or_run(Key("stage", {}), **arguments)
        assert len(ran) == n_runs
    assert reasons == ["not done yet", "it failed with spikelab 1, this is 2"]


def stages_in(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "stages").iterdir())


def test_old_artifacts_that_cannot_be_deleted_are_in_nobodys_way(
    stage: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage()
    with monkeypatch.context() as patched:
        patched.setattr(files, "remove", lambda path: None)  # a file in it is open elsewhere
        for number in range(2, 5):
            assert stage(settings={"a": number}).value == str(number)
            assert stage(settings={"a": number}).loaded
        assert len(stages_in(tmp_path)) == 4
    assert stage(settings={"a": 4}).loaded
    assert stages_in(tmp_path) == ["stage"]


def test_what_cannot_take_its_place_is_kept_until_it_can(
    stage: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage()
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name == "stage":
            raise PermissionError(13, "in use", str(self))
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        for _ in range(2):
            with pytest.raises(OSError, match=r"stages/stage cannot be replaced.*is complete in .*\.new"):
                stage(settings={"a": 5})
    assert stage.runs == 3
    again = stage(settings={"a": 5})
    assert (again.loaded, again.value) == (True, "3")
    assert stages_in(tmp_path) == ["stage"]


def test_what_fails_is_put_back(stage: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stage()
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise PermissionError(13, "in use", str(self))
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="cannot be replaced"):
            stage(settings={"a": 5})
        assert json.loads((tmp_path / "stages" / "stage" / MANIFEST).read_text())["run_id"] == first.run_id
