"""Every Python and shell block of the documentation runs.

A page is one session: its Python blocks share their names, and all its blocks share a working folder that holds small
recordings under the names that the page uses (see `recordings`). What cannot run on every machine has a comment before
it that says why::

    <!-- skip: next "needs docker" -->
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser
from tests.docs.recordings import make_those_named

from spikelab.cli import cli

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("_build", "gallery", "notebooks")  # the notebooks are run by test_site
PAGES = [
    ROOT / "README.md",
    *(
        page
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if page.relative_to(ROOT / "docs").parts[0] not in GENERATED
    ),
]
# Pages that take half a minute and more, whose commands and calls other tests make too.
LONG = ("custom_sorter.md", "handoffs.md", "rt_sort.md", "spike_sorting.md", "tutorial.md")
RUN, SHOWN = {"python", "console"}, {"mermaid", "toml", "text", "ini", "matlab"}
OPENING = re.compile(r"^ *```+(\S+)", flags=re.MULTILINE)
REASONS = ("needs ", "installs", "takes minutes")
# Warnings about our recordings, which a reader may see as well.
HARMLESS = (
    "The extractor is not serializable to file",
    "the recording in memory is not continuous",
    "the tissue moved by",
)


def run_console(example: Example) -> None:
    """Run the commands of a block in one shell, with the commands of this environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed],
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{example.parsed}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def session() -> Sybil:
    return Sybil([PythonCodeBlockParser(), CodeBlockParser("console", run_console), SkipParser()])


def named(page: Path) -> Any:
    marks = [pytest.mark.slow] if page.name in LONG else []
    return pytest.param(page, id=str(page.relative_to(ROOT)), marks=marks)


@pytest.mark.parametrize("page", [named(page) for page in PAGES])
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    examples = list(session().parse(page).examples())
    if examples:
        make_those_named(page.read_text(encoding="utf-8"), tmp_path)
    reasons = [reason for example in examples if (reason := run(example)) is not None]
    assert [reason for reason in reasons if not reason.startswith(REASONS)] == []


def run(example: Example) -> str | None:
    """Run a block; the reason, where it is one to be skipped."""
    try:
        with warnings.catch_warnings():
            for text in HARMLESS:
                warnings.filterwarnings("ignore", text, UserWarning)
            example.evaluate()
    except SkipTest as skipped:
        return str(skipped)
    return None


@pytest.mark.parametrize("page", [page for page in PAGES if page.name in LONG], ids=lambda page: page.name)
def test_a_long_page_imports_and_calls_what_there_is(page: Path) -> None:
    """The blocks of these pages run with the slow tests."""
    for block in blocks_of(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("spikelab"):
                exec(ast.unparse(node), {})
    for line in "\n".join(blocks_of(page, "console")).replace("\\\n", " ").splitlines():
        if line.startswith("spikelab "):
            _, name, *arguments = shlex.split(line, comments=True)
            known = {option for parameter in cli.commands[name].params for option in parameter.opts}
            assert {word for word in arguments if re.match("--?[a-z]", word)} <= known


def blocks_of(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_is_overlooked(page: Path) -> None:
    """Languages that are neither run nor only shown are spelt in another way than the others."""
    found = {language for language in OPENING.findall(page.read_text(encoding="utf-8")) if language[0] != "{"}
    assert found <= RUN | SHOWN


def test_a_block_that_fails_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    for block in ("```console\nls missing\n```\n", "```python\nassert 1 == 2\n```\n"):
        page.write_text(block, encoding="utf-8")
        (example,) = session().parse(page).examples()
        with pytest.raises(AssertionError):
            example.evaluate()
