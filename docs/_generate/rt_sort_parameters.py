"""Page of the parameters of `detect_sequences`: ``python -m docs._generate.rt_sort_parameters [FILE]``."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

from docs._generate.pages import write_page

from spikelab.spike_sorting.rt_sort.parameters import DEFAULTS, NAMES, PUBLISHED, SequenceParameters

PROBES = ("mea", "neuropixels")
FIRST_OF_OURS = "match_threshold"  # it and those after it are not in the publication

INTRODUCTION = """\
# Parameters of RT-Sort

Keywords of `detect_sequences`, keys of `rt_sort_params`, and fields of `SequenceParameters`. *Default* is what
spikelab uses: one value, or that for `probe="mea"` / `probe="neuropixels"`. *Published* is what the publication
(van der Molen, Lim et al. 2024) gives for the two probes; all of them at once are
`detect_sequences(recording, probe="mea", **PUBLISHED["mea"])`. `inf` switches a limit off. This page is
generated from `spikelab.spike_sorting.rt_sort.parameters` by `make docs`.
"""


def render_markdown() -> str:
    """Write the table of all parameters as Markdown; those that share a meaning share a row."""
    split = NAMES.index(FIRST_OF_OURS)
    return "\n".join(
        [
            INTRODUCTION,
            "## Those of the publication",
            "",
            "| Parameter | Default | Published | Meaning |",
            "|---|---|---|---|",
            *(_row(names, published=True) for names in _rows(NAMES[:split])),
            "",
            "## Those of spikelab",
            "",
            "| Parameter | Default | Meaning |",
            "|---|---|---|",
            *(_row(names, published=False) for names in _rows(NAMES[split:])),
            "",
        ]
    )


def _rows(names: tuple[str, ...]) -> list[list[str]]:
    return [list(together) for _, together in groupby(names, meanings().__getitem__)]


def _row(names: list[str], *, published: bool) -> str:
    cells = [", ".join(f"`{name}`" for name in names), _values(names, DEFAULTS)]
    if published:
        cells.append(_values(names, PUBLISHED))
    return f"| {' | '.join([*cells, meanings()[names[0]]])} |"


def _values(names: list[str], by_probe: dict[str, dict[str, Any]]) -> str:
    """Values of the parameters, comma between them; those of the two probes with a slash where they differ."""
    both = [[by_probe[probe].get(name, getattr(SequenceParameters, name)) for probe in PROBES] for name in names]
    texts = [[f"{value:.3g}" if isinstance(value, float) else str(value) for value in values] for values in both]
    return ", ".join(" / ".join(dict.fromkeys(values)) for values in texts)


def meanings() -> dict[str, str]:
    """Read the meaning of each parameter from the Attributes section of the docstring of `SequenceParameters`."""
    text = (SequenceParameters.__doc__ or "").split("----------\n", 1)[1]
    found: dict[str, str] = {}
    for names, doc in re.findall(r"^ {4}(\w[\w, ]*) : .*\n((?: {8}.*\n)+)", text, flags=re.MULTILINE):
        line = " ".join(doc.split()).replace("``", "`")
        line = re.sub(r":mod:`\.([\w.]+)`", lambda name: f"`rt_sort/{name[1].replace('.', '/')}.py`", line)
        found |= dict.fromkeys(names.split(", "), line)
    return found


if __name__ == "__main__":
    write_page(render_markdown())
