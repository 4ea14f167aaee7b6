"""Texts are read at one boundary: what is wrong with them is said with file, place, found and expected."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from spikelab.cli._batch import status
from spikelab.spike_sorting.batch.status import job_state
from spikelab.spike_sorting.config import KILOSORT4
from spikelab.spike_sorting.distributed import ManifestError, read_manifest
from spikelab.spike_sorting.settings.toml import parse_value
from spikelab.spike_sorting.settings.validation import validate_config
from spikelab.system.texts import brief, parse_json, parse_toml, read_text, read_toml


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = 1\nb = \xe9", "line 2: the byte 0xe9 is not UTF-8"),
        ("a = 1".encode("utf-16-le"), "line 1: a NUL character"),
        ("a = 1".encode("utf-16")[:-1], "line 1: the file ends in the middle of a character of UTF-16"),
        ("a = 1".encode("utf-32"), "a NUL character"),
        ("a = \u201cx\u201d".encode(), "write straight ones"),
        (b'a = "C:\\data"', "write paths in single quotes"),
        (b'a = "C:\\Users"', "write paths in single quotes"),
        (b"a = 1\nb = '\0'", "line 2: a NUL character"),
        (b"a = 1\na = 2\nb = 3", "line 2"),
        (b"x = " + b"[" * 900 + b"]" * 900, "nested more than 32 deep"),
        (b"x = " + b"[" * 40 + b"]" * 40, "nested more than 32 deep"),
        (b"a" + b".a" * 20_000 + b" = 1", "line 1: a key of more than 32 parts"),
        (b"x = " + b"9" * 5000, "too many digits"),
        (b"x = 0x" + b"f" * 5000, "at most 64 bits"),
        (b"x = 123456789012345678901234567890", "at most 64 bits"),
    ],
)
def test_what_is_no_toml_of_ours_is_said(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="run.toml") as caught:
        read_toml(path, "settings")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfa = 1\r\n", "a = 1\r\n".encode("utf-16"), "\ufeffa = 1\n".encode("utf-16-be")]
)
def test_a_mark_of_byte_order_is_no_part_of_the_text(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(content)
    assert read_toml(tmp_path / "run.toml", "settings") == {"a": 1}


@pytest.mark.skipif(sys.platform == "win32", reason="fifos and devices")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    for name, kind in {"pipe": "a pipe", "zero": "a pipe or device", "folder": "a folder", "loop": "cannot"}.items():
        with pytest.raises(ValueError, match=f"{name}.*{kind}.*expected a list"):
            read_text(tmp_path / name, "a list")
    with pytest.raises(FileNotFoundError, match="expected a list"):
        read_text(tmp_path / "none", "a list")
    with pytest.raises(ValueError, match="cannot be read"):
        read_text(tmp_path / ("x" * 300), "a list")


@pytest.mark.parametrize("text", ["", "[" * 100_000, '{"a":' * 5000, "9" * 5000, "[1, 2", "[1] x"])
def test_what_is_no_json_of_ours_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"run\.json"):
        parse_json(text, "run.json")


def test_a_typed_value_of_several_lines_sets_nothing_else() -> None:
    assert parse_value("5\nother = 3") == "5\nother = 3"
    assert parse_value("[" * 2000) == "[" * 2000
    assert parse_value("[1, 2]") == [1, 2]


def test_values_are_shown_short() -> None:
    assert len(brief("x" * 10_000)) < 200
    assert brief(16**5000).startswith("a number of 2")
    with pytest.raises(ValueError, match="n_jobs") as caught:
        validate_config(KILOSORT4.override(n_jobs=10**400, total_memory="9" * 400))
    assert len(str(caught.value)) < 600
    assert parse_toml("x = 1", "the text") == {"x": 1}


LISTED = [
    ('file,stream\n"day1.dat,\n', r"line \d: no valid CSV"),
    ("file,file\nday1.dat,day1.dat\n", "column 'file' is there twice"),
    ("file,config\nday1.dat,snr_min=4; snr_min=5\n", "entry 1, line 2, config: snr_min is set twice"),
    ("file,config\nday1.dat,snr_min=4; 5\n", "expected FIELD=VALUE, got '5'"),
    ("file,sorter\nday1.dat,threshold,x\n", "entry 1, line 2: more values than columns"),
    ("file\n" + "x" * 200_000, "field larger than field limit"),
    ("file\n~nobody-of-that-name/x\n", "write the folder out"),
    ("file\n" + "x" * 300 + "\n", "entry 1 .*, file: .*too long"),
]


@pytest.mark.parametrize(("text", "said"), LISTED)
def test_faults_of_a_table_are_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "day1.dat").touch()
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=said):
        read_manifest(tmp_path / "list.csv")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_are_read_as_spreadsheets_write_them(separator: str, end: str, tmp_path: Path) -> None:
    (tmp_path / "day1.dat").touch()
    rows = [["file", "sorter", "config"], ["day1.dat", "threshold", '"snr_min=4; n_jobs=1"'], ["", "", ""]]
    text = end.join(separator.join(row) for row in rows) + end
    (tmp_path / "list.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (job,) = read_manifest(tmp_path / "list.csv")
    assert (job.name, job.config.curation.snr_min, job.config.execution.n_jobs) == ("day1", 4, 1)


@pytest.mark.parametrize(
    "entry",
    ["file = 5", "file = ['day1.dat']", "file = 'day1.dat'\nstream = 3", "file = 'day1.dat'\nresults = 4",
     "file = 'day1.dat'\nconfig = 7", "file = 'day1.dat'\nsorter = []", "file = 'day1.dat'\nresults = ''",
     "file = 'day1.dat'\nconfig = '~nobody-of-that-name/x.toml'"],
)  # fmt: skip
def test_values_of_the_wrong_kind_are_named(entry: str, tmp_path: Path) -> None:
    (tmp_path / "day1.dat").touch()
    (tmp_path / "list.toml").write_text(f"[[recording]]\n{entry}\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="entry 1"):
        read_manifest(tmp_path / "list.toml")


DAMAGED: list[Any] = ["", "[]", "{}", "{", '{"status": 3}', '{"status": "done", "stages": {"recording": 3}}',
                      '{"status": "done", "error": "x"}', '{"status": "running", "attempts": 4}',
                      "[" * 5000]  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_record_is_shown_as_one(text: str, tmp_path: Path) -> None:
    for name in ("broken", "fine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text if name == "broken" else '{"status": "done"}', encoding="utf-8")
    assert job_state("broken", tmp_path / "broken").state == "damaged record"
    told = status(tmp_path)
    assert told.endswith("1 done, 1 damaged record")
    assert "run.json" in told


def test_times_and_names_of_a_record_do_no_harm(tmp_path: Path) -> None:
    stages: dict[str, Any] = {"recording": {"wall_s": float("nan")}, "sorting": {"wall_s": None}}
    record = {"status": "done", "stages": stages, "host": {"node": "\x1b[31mhost\n"}, "started": "yesterday"}
    (tmp_path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    told = status(tmp_path)
    assert "\x1b" not in told
    assert "host\\n" in told
    stages["sorting"]["wall_s"] = "x"
    (tmp_path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert "the stage 'sorting' is {'wall_s': 'x'}" in status(tmp_path)
    (tmp_path / "run.json").write_text('{"status": "done"}', encoding="utf-8")
    (tmp_path / "batch.json").write_text('{"jobs": [3]}', encoding="utf-8")
    assert "job 1: expected a name" in status(tmp_path) or "damaged record" in status(tmp_path)
