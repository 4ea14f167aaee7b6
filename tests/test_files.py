"""Files that are old or new, never half; and what a killed writer leaves does not stay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from spikelab.system import files

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
WRITE_OFTEN = """
import sys
from pathlib import Path
from spikelab.system.files import write_text
for number in range(300):
    write_text(Path(sys.argv[1]), sys.argv[2] * 5000)
"""
KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from spikelab.system.files import folder_beside, replacing
with folder_beside(Path(sys.argv[1])) as folder, replacing(Path(sys.argv[1])) as temporary:
    (folder / "deep").mkdir()
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
THEN_WRITE = """
import sys
from pathlib import Path
from spikelab.system.files import write_text
write_text(Path(sys.argv[1]), 'new')
"""


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_old_or_new(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "page.html"
    files.write_text(path, "old\n", durable=durable)

    def fail() -> None:
        with files.replacing(path, durable=durable) as temporary:
            temporary.write_text("half")
            assert path.read_bytes() == b"old\n"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert names(tmp_path) == ["page.html"]
    assert path.read_bytes() == b"old\n"
    with files.replacing(path, durable=durable) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["page.html"]


def test_a_temporary_keeps_the_suffix_and_fits_into_a_file_system(tmp_path: Path) -> None:
    for name in ("sorted.npz", "x" * 251 + ".npz", "\N{GREEK SMALL LETTER MU}" * 120 + ".npz", "a." + "b" * 250):
        path = tmp_path / name
        with files.replacing(path) as temporary:
            assert files.LEFTOVER.fullmatch(temporary.name)
            with temporary.open("wb") as file:
                np.savez(file, a=np.arange(3))
        assert np.load(path)["a"].tolist() == [0, 1, 2]
    assert len(names(tmp_path)) == 4


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"there is no folder {tmp_path / 'none'}"):
        files.write_text(tmp_path / "none" / "page.html", "x")


def test_two_processes_write_one_page(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    writers = [run(WRITE_OFTEN, page, letter) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if page.exists():
            seen.add(page.read_text())
    assert [writer.communicate()[1] for writer in writers] == ["", ""]
    assert seen <= {"a" * 5000, "b" * 5000}
    assert names(tmp_path) == ["index.html"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    run(KILLED_WHILE_WRITING, path).communicate()
    assert len(names(tmp_path)) == 2
    assert run(THEN_WRITE, path).communicate()[1] == ""
    assert names(tmp_path) == ["run.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_sweep_takes_the_dead_and_spares_the_living(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.json"
    path.parent.mkdir()
    with files.replacing(path) as living:
        living.write_text("under way")
        killed = run(KILLED_WHILE_WRITING, path)
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # a zombie: dead, and its number is taken
        assert len(names(path.parent)) == 3
        files.sweep(tmp_path)
        assert len(names(path.parent)) == 3
        files.sweep(tmp_path, below=True)
        assert names(path.parent) == [living.name]
        killed.communicate()
    assert path.read_text() == "under way"


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        ({}, True),
        ({"start": 5}, False),  # another process has the number now
        ({"host": "0" * 8}, True),  # another host's: nobody here knows
        ({"host": "0" * 8, "age": 2 * files.FOREIGN_AGE_S}, False),
    ],
)
def test_who_is_dead(tmp_path: Path, change: dict[str, float], stays: bool) -> None:
    match = files.LEFTOVER.fullmatch(files.temporary_name(tmp_path / "a.npz").name)
    assert match is not None
    who = {**match.groupdict(), **change}
    left = tmp_path / f".a.npz.{who['host']}-{who['pid']}-{who['start']}-0.new.npz"
    left.touch()
    then = time.time() - float(change.get("age", 0))
    os.utime(left, (then, then))
    for other in (".a.npz.new", "a.new.npz", ".hidden"):  # somebody else's
        (tmp_path / other).touch()
    files.sweep(tmp_path)
    assert left.exists() == stays
    assert len(names(tmp_path)) == 3 + stays


def test_json_of_one_writer_among_many_threads(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "record.json"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: files.write_text(path, json.dumps([number] * 100)), range(200)))
    assert len(set(json.loads(path.read_text()))) == 1
    assert names(tmp_path) == ["record.json"]


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("a_file", "a_file is no folder but a file"),
        ("a_file/below", "a_file is no folder but a file"),
        ("new/below", ""),
        pytest.param("/proc/results", "/proc is no disk: it belongs to the system", marks=ON_LINUX),
    ],
)
def test_a_folder_that_cannot_be_made_says_why(folder: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "a_file").touch()
    found = files.why_unusable(tmp_path / folder)
    assert why in found
    assert bool(found) == bool(why)


def test_paths_are_tidied_where_that_is_the_same_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "deep")
    monkeypatch.chdir(tmp_path)
    assert files.tidy(Path("a/../b/./c")) == tmp_path / "b" / "c"
    assert files.tidy(Path("link/../c")) == tmp_path / "link" / ".." / "c"  # far/c
