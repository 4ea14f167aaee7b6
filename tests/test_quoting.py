"""Names that are written into scripts, tables and logs stay names there."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spikelab.spike_sorting._quoting import from_spreadsheet, in_shell, in_spreadsheet, printable

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
