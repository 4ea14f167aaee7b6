"""Heavy folders are ours until they are gone, also for a run that follows one that was killed while it deleted them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spikelab.spike_sorting.stages.scratch import OWNER, delete_scratch, empty_folder, may_empty


def fill(folder: Path) -> None:
    empty_folder(folder)
    (folder / "traces.dat").touch()
    (folder / "parts" / "deep").mkdir(parents=True)
    (folder / "parts" / "deep" / "one").touch()
    (folder / "zz_last").touch()


@pytest.mark.parametrize("deleted", range(7))
def test_what_a_kill_leaves_of_a_folder_is_still_ours(
    deleted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "recording")
    left = deleted

    def killed(name: str) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt(name)
        left -= 1

    def killing(function: str) -> None:
        original = getattr(os, function)
        monkeypatch.setattr(os, function, lambda path, **known: (killed(str(path)), original(path, **known))[1])

    killing("unlink")
    killing("rmdir")
    with pytest.raises(KeyboardInterrupt):
        delete_scratch(tmp_path)
    monkeypatch.undo()
    assert may_empty(tmp_path / "recording")
    delete_scratch(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_others_wrote_stays(tmp_path: Path) -> None:
    (tmp_path / "recording").mkdir()
    (tmp_path / "recording" / "mine").touch()
    (tmp_path / "notes").mkdir()
    delete_scratch(tmp_path)
    assert (tmp_path / "recording" / "mine").exists()
    assert (tmp_path / "notes").exists()
    assert not (tmp_path / "recording" / OWNER).exists()
