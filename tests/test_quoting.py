"""Names that are written into scripts, tables and logs stay names there."""

from __future__ import annotations

import csv
import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spikelab.cli._output import message_for, table
from spikelab.spike_sorting.batch.jobfile import write_job
from spikelab.spike_sorting.config import KILOSORT4
from spikelab.spike_sorting.run.jobs import Job
from spikelab.system.quoting import PrintableFormatter, from_spreadsheet, in_shell, in_spreadsheet, printable
from spikelab.system.runlog import run_log

NAMES = [
    "plain",
    "my plan",
    "x$(touch RUN)",
    "x`touch RUN`",
    "it's",
    'a "b"',
    "$HOME",
    "$(JOB_COMPLETION_INDEX)",
    "two\nlines",
    "tab\there",
    "back\\slash",
    "r\u00e9sum\u00e9",
    "\x1b[31mred",
    "-n",
    "a;b&c|d",
    os.fsdecode(b"caf\xe9"),
    "\u2028",
]


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_word_of_bash_on_one_printable_line(name: str) -> None:
    word = in_shell(name)
    assert word.isprintable()
    done = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert done.stdout == os.fsencode(name)


@pytest.mark.parametrize("name", NAMES)
def test_kubernetes_expands_nothing_in_it_and_yaml_keeps_it(name: str) -> None:
    word = in_shell(name)
    assert "$(" not in word
    assert yaml.safe_load(f"args:\n  - |\n    {word}\n") == {"args": [word + "\n"]}


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-2+3",
        "@SUM(1)",
        "\tx",
        "\rx",
        "\nx",
        " =1",
        "\uff1d1+1",
        "=cmd|' /C calc'!A0",
        "-",
        "'=1",
        "''@x",
    ],
)
def test_a_formula_becomes_text_and_comes_back(text: str) -> None:
    cell = in_spreadsheet(text)
    assert cell == "'" + text
    assert from_spreadsheet(cell) == text


@pytest.mark.parametrize("value", [-1, -0.5, "-1", "+1.5e-3", "-inf", "ch-1", "a=b", "'quoted'", "", None, True, 7.0])
def test_what_is_no_formula_stays(value: object) -> None:
    assert in_spreadsheet(value) == value
    assert type(in_spreadsheet(value)) is type(value)


@given(st.text(max_size=12))
def test_every_text_comes_back_from_a_table(text: str) -> None:
    cell = in_spreadsheet(text)
    assert from_spreadsheet(cell) == text
    file = io.StringIO()
    csv.writer(file).writerow([cell])
    (read,) = next(csv.reader(io.StringIO(file.getvalue(), newline=""))) if text else [""]
    assert from_spreadsheet(read) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b2J", "\\x9b2J"),
        ("\udce9", "\\udce9"),
        ("r\u00e9sum\u00e9", "r\u00e9sum\u00e9"),
        ("", ""),
    ],
)
def test_control_characters_are_shown_and_not_sent(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_names_in_tables_messages_and_logs_send_nothing_to_the_terminal(tmp_path: Path) -> None:
    name = "\x1b[2Jred\x9b\x07"
    assert table(["recording"], [[name + "\n"]]) == "recording\n\\x1b[2Jred\\x9b\\x07\\n"
    assert message_for(ValueError(f"two\nlines of {name}")) == "two\nlines of \\x1b[2Jred\\x9b\\x07"
    record = logging.LogRecord("spikelab", logging.INFO, "x", 1, "a\tb %s", (name,), None)
    assert PrintableFormatter("%(message)s").format(record) == "a\tb \\x1b[2Jred\\x9b\\x07"
    with run_log(tmp_path / "run.log"):
        logging.getLogger("spikelab.spike_sorting").warning("reading %s", name)
    assert "reading \\x1b[2Jred" in (tmp_path / "run.log").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are UTF-8 there")
def test_a_job_file_refuses_a_name_that_it_cannot_hold(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.h5")
    with pytest.raises(ValueError, match=r"caf\\udce9.*rename"):
        write_job(Job(odd, "x", KILOSORT4, tmp_path / "r", tmp_path / "i"), tmp_path / "job.toml")
    write_job(Job(tmp_path / "caf\u00e9\n.h5", "x", KILOSORT4, tmp_path / "r", tmp_path / "i"), tmp_path / "job.toml")
