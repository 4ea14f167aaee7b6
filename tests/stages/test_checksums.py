"""Files where users look: whose they are, which are out of date, and which are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spikelab.spike_sorting.stages.checksums import FILES, DamagedError, recorded_files
from spikelab.spike_sorting.stages.outdated import record_files
from spikelab.spike_sorting.stages.scratch import OWNER, empty_folder, owner, set_owner
from spikelab.system.json_files import read_sealed, sealed


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The record's folder and the one where users look, with the files a and deep/b in it."""
    record, target = tmp_path / "record", tmp_path / "results"
    for folder in (record, target / "deep"):
        folder.mkdir(parents=True)
    for name in ("a", "deep/b"):
        (target / name).write_text(name)
    record_files(record, record, [target / "a", target / "deep/b"], target, target)
    return record, target


@pytest.mark.parametrize(("content", "found"), [("", "size 0, expected 6"), ("deep/c", "checksum")])
def test_what_is_damaged_is_named(folders: tuple[Path, Path], content: str, found: str) -> None:
    record, target = folders
    (target / "deep/b").write_text(content)
    with pytest.raises(DamagedError, match=f"deep/b is damaged .{found}"):
        recorded_files(record, target)
    (target / "deep/b").unlink()
    with pytest.raises(DamagedError, match="deep/b is missing"):
        recorded_files(record, target)


@pytest.mark.parametrize("is_sealed", [True, False])
def test_names_that_lead_out_of_the_folder_are_left_alone(folders: tuple[Path, Path], is_sealed: bool) -> None:
    record, target = folders
    outside = target.parent / "precious"
    outside.write_text("x")
    (target / "link").symlink_to(target.parent)
    names = ["../precious", str(outside), "link/precious", "deep/../../precious", "", "..\\precious", "a\0b"]
    files = {**read_sealed(record / FILES)["files"], **{name: {"size": 1, "crc32": "8cdc1683"} for name in names}}
    content = {"files": files}
    (record / FILES).write_text(json.dumps(sealed(content) if is_sealed else content))
    with pytest.raises(DamagedError):
        recorded_files(record, target)
    record_files(record, record, [target / "a"], target, target)
    assert outside.read_text() == "x"
    assert (target / "link").is_symlink()
    assert (target / "deep/b").exists() != is_sealed  # a list that is damaged is not believed at all


def test_heavy_files_are_known_by_size_and_sampled_blocks(tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    empty_folder(folder)
    assert owner(folder) is None
    traces = folder / "traces.dat"
    content = bytes(range(256)) * 40_000  # ten megabytes: not all of it is looked at
    traces.write_bytes(content)
    set_owner(folder, "run", [traces])
    assert owner(folder) == "run"
    for damaged in (b"", content[:-1], b"\1" + content[1:], content[:-1] + b"\0", bytes(len(content))):
        traces.write_bytes(damaged)
        assert owner(folder) is None
    traces.write_bytes(content)
    assert owner(folder) == "run"
    (folder / OWNER).write_text((folder / OWNER).read_text().replace('"run"', '"ran"'))
    assert owner(folder) is None
