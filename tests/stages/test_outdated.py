"""What an earlier run wrote where users look, and a new one does not."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from spikelab.spike_sorting.stages.outdated import EARLIER, record_files, tell_outdated

NOON = 1_700_000_000


def written(record: Path, target: Path, *names: str, results: Path | None = None) -> None:
    """What a run does that writes the files `names`."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(name)
        os.utime(target / name, (NOON, NOON))
    record.mkdir(exist_ok=True)
    record_files(record, record, [target / name for name in names], target, results or target)


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_kind_that_is_not_written_any_more_is_moved_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record, target = tmp_path / "record", tmp_path / "results"
    written(record, target, "sorted.npz", "sorted.mat", "chunk0/sorted.mat", "chunk0/sorted.npz")
    (target / "mine.mat").write_text("mine")
    with caplog.at_level(logging.INFO, "spikelab"):
        written(record, target, "sorted.npz", "chunk0/sorted.npz")
    earlier = target / EARLIER
    (made,) = earlier.iterdir()
    assert below(made) == ["chunk0/sorted.mat", "sorted.mat"]
    assert sorted(path.name for path in target.iterdir()) == ["chunk0", EARLIER, "mine.mat", "sorted.npz"]
    assert f"chunk0/sorted.mat and 1 more: of an earlier run, and not among what this call asks for; now in {made}" in (
        caplog.text
    )
    written(record, target, "sorted.mat")
    written(record, target)  # drawn in the same second: nothing is written over
    assert sorted(path.name for path in earlier.iterdir()) == [made.name, f"{made.name}_2"]


def test_files_of_a_kind_that_is_written_again_are_replaced(tmp_path: Path) -> None:
    record, results = tmp_path / "record", tmp_path / "results"
    figures = results / "figures"
    written(record, figures, "units/curated/unit_0001.png", "units/failed/unit_0002.png", results=results)
    written(record, figures, "units/failed/unit_0001.png", results=results)
    assert below(results) == ["figures/units/failed/unit_0001.png"]
    assert not (figures / "units" / "curated").exists()


def test_what_the_user_exported_is_told_to_be_of_an_earlier_curation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "spikelab"):
        tell_outdated(tmp_path)
        assert not caplog.messages
        (tmp_path / "export" / "phy").mkdir(parents=True)
        (tmp_path / "sorted_spikedata_phy.npz").touch()
        tell_outdated(tmp_path)
    assert "export/phy, sorted_spikedata_phy.npz: of an earlier curation" in caplog.text
