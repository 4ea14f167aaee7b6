"""File of decisions: ``decisions.json`` in the results folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.decisions.model import Decisions
from spikelab.spike_sorting.decisions.steps import require_step
from spikelab.system import files
from spikelab.system.json_files import read_object, readable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE = "decisions.json"
FORMAT = "spikelab decisions 1"
KEYS = ("format", "sort", "steps", "done")


def read(path: Path) -> Decisions:
    """Read a file of decisions.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It holds something else; the message names the file, what was found and what was expected.
    """
    content = read_object(path)
    try:
        return from_content(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write(path: Path, decisions: Decisions) -> None:
    """Write decisions into a file, which holds the old ones or the new ones at any time, whatever happens."""
    files.write_text(path, readable(to_content(decisions), levels=2) + "\n", durable=True)


def to_content(decisions: Decisions) -> dict[str, Any]:
    """Return decisions as the JSON file has them."""
    return {"format": FORMAT, "sort": decisions.sort, "steps": list(decisions.steps), "done": decisions.done}


def from_content(content: Mapping[str, Any]) -> Decisions:
    """Make decisions from what the JSON file has; a ValueError says what was found and expected."""
    if content.get("format") != FORMAT:
        raise ValueError(f"format: found {content.get('format')!r:.80}, expected {FORMAT!r}")
    odd = {*content} ^ {*KEYS}
    if odd:
        raise ValueError(f"found the keys {', '.join(map(str, content)):.200}; expected {', '.join(KEYS)}")
    sort, steps, done = content["sort"], content["steps"], content["done"]
    if not isinstance(sort, str):
        raise ValueError(f"sort: found {sort!r:.80}, expected text")  # noqa: TRY004 - a file's value
    if not isinstance(steps, list):
        raise ValueError(f"steps: found {steps!r:.80}, expected a list")  # noqa: TRY004 - a file's value
    if not isinstance(done, int) or isinstance(done, bool) or not 0 <= done <= len(steps):
        raise ValueError(f"done: found {done!r:.80}, expected how many of the {len(steps)} steps count")
    return Decisions(sort, tuple(_step(number, step) for number, step in enumerate(steps, 1)), done)


def _step(number: int, step: Any) -> dict[str, Any]:
    try:
        return require_step(step)
    except ValueError as error:
        raise ValueError(f"step {number}: {error}") from error
