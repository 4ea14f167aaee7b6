"""Page of the command line, from the commands' own help: ``python -m docs._generate.commands [FILE]``."""

from __future__ import annotations

import inspect

import click
from docs._generate.pages import write_page

from spikelab.cli import cli

INTRODUCTION = """\
# The command line

Every command has `--help`, which says what this page says: the page is written from the commands by
`python -m docs._generate.commands docs/commands.md`. An option that may be repeated is given once for each value:
`--set snr_min=8 --set fr_min=0.1`. The [settings](configuration.md) have a page of their own.

| I want to | command |
|---|---|
| see what works on this machine | [`doctor`](#spikelab-doctor) |
| try it on data with known neurons | [`demo`](#spikelab-demo) |
| see what is in a file | [`inspect`](#spikelab-inspect) |
| sort recordings | [`sort`](#spikelab-sort) |
| sort many of them, on workers or a cluster | [`batch`](#spikelab-batch), [`status`](#spikelab-status) |
| see or keep the settings | [`show-config`](#spikelab-show-config) |
| take the units that another program found | [`import`](#spikelab-import) |
| compare sorts, with each other or with a ground truth | [`compare`](#spikelab-compare) |
| look at units, decide on them | [`view`](#spikelab-view), [`curate`](#spikelab-curate) |
| go on in Phy, NWB or MATLAB, and come back | [`export`](#spikelab-export), [`import`](#spikelab-import) |

## Exit codes

| code | |
|---|---|
| 0 | done |
| 1 | an error that is none of those below |
| 2 | the command or an option was not understood; of `batch`: the list has faults |
| 3 | bad input: a file that is missing or damaged, a setting that is impossible |
| 10 | nothing to sort: the recording is silent, or all channels are bad |
| 11 | the machine: no sorter, GPU, container, or folder; nothing else would run either |
| 12 | memory, disk or time ran out |
| 130 | interrupted; the same command continues |
| 129, 143 | ended by a batch system or a closed terminal; the same command continues |

Of several failures the gravest counts. `inspect` ends with 3 where something cannot be read or sorted.
[Failures](failures.md) has them all. Progress and the log go to stderr, what a command has found to stdout,
so `spikelab inspect plate.raw.h5 > plate.txt` keeps what one wants to keep.

## What is chosen for you

What `sort`, `batch` and `inspect` are not told they choose for each recording, and say so first; `run.json` keeps
it. The defaults in Python are others, and fixed.

| | chosen | in Python |
|---|---|---|
| sorter | Kilosort 4 where it is installed and there is a GPU that it can use, else RT-Sort | `kilosort2` |
| preset of RT-Sort | by how the electrodes lie, and the sampling rate: in columns or in a plane | `rt_sort_mea` |
| movement of the tissue | measured where electrodes are in columns, up to 50 um apart; no unit changes | no |
| band-pass | up to 6000 Hz, or 0.45 times the sampling rate where that is less | up to 6000 Hz |
| streams | all that hold electrodes | the one there is; of several an error that names them |
| name of the log | `sort_with_SORTER.out` | `sort_with_kilosort2.out` |

The sorter is chosen by the machine the command is given on. Where a run may be continued on another one, or `batch` is
given on a login node without a GPU (`--plan`, `--scheduler`), name it: `--sorter kilosort4`. Results of two sorters
are in two folders.

`python -m spikelab` is `spikelab`, where that is not on the path. The Tab key completes commands, options, sorters,
presets and settings after `eval "$(_SPIKELAB_COMPLETE=bash_source spikelab)"` (`zsh_source`, `fish_source`),
which belongs in `~/.bashrc`.
"""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "sort": (
        "spikelab sort culture.raw.h5",
        "spikelab sort plate.raw.h5 --stream well000 --stream well003 --all-recordings --preset evidence",
        "spikelab sort culture.raw.h5 --sorter spikeinterface:tridesclous2 --set snr_min=4",
        "spikelab sort day1.raw.h5 day2.raw.h5 --config run.toml --results results",
    ),
    "export": (
        "spikelab export sorted_rt_sort_culture --to phy",
        "spikelab export sorted_rt_sort_culture culture.nwb --to nwb --units all",
    ),
    "validate": (
        "spikelab validate sorted_rt_sort_culture",
        "spikelab validate sorted_rt_sort_culture --grid 'rt_sort_params.match_threshold=[15, 20, 25]'",
    ),
    "compare": (
        "spikelab compare sorted_rt_sort_culture culture_kilosort4 --out compared.html",
        "spikelab compare sorted_rt_sort_culture --truth true_units.npz",
    ),
    "import": (
        "spikelab import kilosort4_output --to culture_kilosort4",
        "spikelab import sorted_rt_sort_culture sorted_rt_sort_culture/export/phy --from phy",
    ),
    "curate": ("spikelab curate sorted_rt_sort_culture --from decisions.json",),
    "view": ("spikelab view sorted_rt_sort_culture",),
    "batch": ("spikelab batch plates.toml --workers 2", "spikelab batch plates.toml --plan plan"),
    "sort-one": ("spikelab sort-one plan/jobs/00000.toml",),
    "status": ("spikelab status results",),
    "demo": ("spikelab demo --duration 30",),
    "inspect": (
        "spikelab inspect culture.raw.h5 --picture electrodes.png",
        "spikelab inspect traces.dat --set dtype=int16 --set num_channels=16 --set sampling_frequency=20000",
    ),
    "doctor": ("spikelab doctor",),
    "show-config": ("spikelab show-config --sorter rt_sort --set snr_min=4 > run.toml",),
}
"""A test gives them to the commands, which parse them."""


def render_markdown() -> str:
    """Write the page as Markdown."""
    parts = [INTRODUCTION]
    with click.Context(cli, info_name="spikelab", **cli.context_settings) as context:
        for name in cli.list_commands(context):
            command = cli.get_command(context, name)
            if command is not None and not command.hidden:
                parts.append(_section(name, command, context))
    return "\n".join(parts)


def _section(name: str, command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, parent=parent, info_name=name)
    usage = " ".join(["spikelab", name, *command.collect_usage_pieces(context)])
    records = [option.get_help_record(context) for option in command.params if isinstance(option, click.Option)]
    rows = [f"| `{names}` | {_cell(words)} |" for names, words in filter(None, records)]
    examples = EXAMPLES.get(name, ())
    return "\n".join(
        [
            f"## spikelab {name}",
            "",
            *(_cell(line) for line in inspect.cleandoc(command.help or "").splitlines()),
            "",
            *("```text", usage, "```", ""),
            *(("| option | |", "|---|---|", *rows, "") if rows else ()),
            *(("For example:", "", "```text", *examples, "```", "") if examples else ()),
        ]
    )


def _cell(text: str) -> str:
    """Escape what Markdown and its tables would take for markup."""
    return text.replace("|", r"\|").replace("<", "&lt;").replace("*", r"\*").replace("_", r"\_")


if __name__ == "__main__":
    write_page(render_markdown())
