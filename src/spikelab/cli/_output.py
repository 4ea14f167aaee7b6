"""What a command prints and returns: tables, messages of errors, exit codes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spikelab.system.quoting import printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE, OTHER, USAGE, BAD_INPUT, BIOLOGY, ENVIRONMENT, RESOURCE, INTERRUPTED = 0, 1, 2, 3, 10, 11, 12, 130
# Settings that a message asks for: "set rec_name to one of", "set probe_path, dtype"; "set freq_max=4500".
ASKED_FOR = re.compile(r"\b[Ss]et ([a-z]\w*(?:(?:, | and )[a-z]\w*)*)")
WITH_VALUE = re.compile(r"""\b([a-z]\w*)=("[^"]*"|'[^']*'|[\w+-]+(?:\.\d+)?)""")
FOLDERS = {"results_folders": "--results DIR", "intermediate_folders": "--intermediate DIR"}
OPTIONS = {"stream_id": "--stream ", "sorter": "--sorter ", "sorter_name": "--sorter "}
# The most severe of several failures decides; most severe first.
SEVERITY = (ENVIRONMENT, RESOURCE, OTHER, BAD_INPUT, BIOLOGY)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align the columns of the rows; the last column is not padded."""
    cells = [[printable(str(cell)) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def indented(lines: str) -> str:
    """Indent each of some lines."""
    return "\n".join(f"  {line}" for line in lines.splitlines())


def code_for(error: BaseException) -> int:
    """Return the exit code of a failure; of a batch, that of its most severe failure."""
    from spikelab.spike_sorting._exceptions import (
        BiologicalSortFailure,
        EnvironmentSortFailure,
        ResourceSortFailure,
        SortBatchError,
    )

    if isinstance(error, SortBatchError):
        return most_severe([code_for(single) for single in error.exceptions])
    for kind, code in (
        (BiologicalSortFailure, BIOLOGY),
        (EnvironmentSortFailure, ENVIRONMENT),
        (ResourceSortFailure, RESOURCE),
        ((ValueError, FileNotFoundError, PermissionError, FileExistsError), BAD_INPUT),
    ):
        if isinstance(error, kind):
            return code
    return OTHER


def most_severe(codes: Sequence[int]) -> int:
    """Return the most severe of several exit codes; 0 where there are none."""
    return min(codes, key=SEVERITY.index, default=DONE)


def message_for(error: BaseException) -> str:
    """Return the message of an error, with its class where the error is not one of this package or of bad input.

    Settings that the message asks for are named as options too: it was written for callers in Python.
    """
    from spikelab.spike_sorting.data.outcomes import words_of

    return printable_lines((words := words_of(error)) + as_options(words))


def as_options(message: str) -> str:
    """Return the options for the settings that a message asks for, in brackets; "" where it names none, or options."""
    from spikelab.spike_sorting.settings.keywords import keywords
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

    if " --" in message:
        return ""
    named = [name for listed in ASKED_FOR.findall(message) for name in re.split(r", | and ", listed)]
    asked = {**dict.fromkeys(named, "..."), **dict(WITH_VALUE.findall(message))}
    known = {*keywords(SortingPipelineConfig), "sorter"}
    ways = [OPTIONS.get(name, f"--set {name}=") + value.strip("\"'") for name, value in asked.items() if name in known]
    ways += [option for keyword, option in FOLDERS.items() if keyword in message]
    return f" (On the command line: {', '.join(ways)})" if ways else ""
