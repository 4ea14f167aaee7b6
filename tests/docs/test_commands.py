"""The page of the command line is made from the commands; what it shows is understood by them."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest
from docs._generate.commands import EXAMPLES, render_markdown

from spikelab.cli import cli

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_markdown(), (
        "run python -m docs._generate.commands docs/commands.md"
    )


def test_every_command_and_option_is_on_the_page_with_an_example() -> None:
    text = render_markdown()
    shown = {name: command for name, command in cli.commands.items() if not command.hidden}
    assert len(shown) > 9
    for name, command in shown.items():
        assert EXAMPLES.get(name), f"{name} has no example in docs/_generate/commands.py"
        section = text.split(f"\n## spikelab {name}\n")[1].split("\n## ")[0]
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert all(name in section for name in option.opts)


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_the_commands_understand_the_examples(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program, name, *words = shlex.split(line.partition(">")[0])
    assert program == "spikelab"
    for word in words:  # what has to exist
        if word.endswith(".toml"):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
    Path("results").mkdir()
    with click.Context(cli, info_name="spikelab") as parent:
        cli.commands[name].make_context(name, words, parent=parent)
