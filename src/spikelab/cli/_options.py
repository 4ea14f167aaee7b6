"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from spikelab.cli import _complete


def _times_or_sorters(_: click.Context, option: click.Parameter, value: str | None) -> int | list[str] | None:
    """Read a number of times, 1 or more, or names of sorters with commas between them."""
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    is_number = value.strip().lstrip("+-").isdecimal()
    if not all(names) or (is_number and int(value) < 1):
        raise click.BadParameter(
            f"{value!r} is neither a number, 1 or more, nor names of sorters (rt_sort,spikeinterface:lupin)",
            param=option,
        )
    return int(value) if is_number else names


TRUSTING = ("trust_input=true",)
SORTER_NAME = "Sorter to run, e.g. rt_sort, kilosort4, spikeinterface:lupin.  [default: the best that runs here]"
SORTER = click.option("--sorter", metavar="NAME", shell_complete=_complete.sorters, help=SORTER_NAME)
SETTING = click.option(
    "--set",
    "settings",
    metavar="FIELD=VALUE",
    multiple=True,
    shell_complete=_complete.settings,
    help="Change one setting, e.g. --set snr_min=8; may be repeated.",
)
PRESET = click.option(
    "--preset",
    "presets",
    metavar="NAME",
    multiple=True,
    shell_complete=_complete.presets,
    help="Settings that belong together, e.g. rt_sort_neuropixels, or evidence, which keeps units by statistics; "
    "may be repeated. --set goes before it.  [default: chosen by the electrodes]",
)
ANY_PATH = click.Path(path_type=Path)
PRESENT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
CONFIG = click.option("--config", "config_file", type=PRESENT_FILE, help="Settings as TOML.")
TRUST = click.option("--trust", is_flag=True, help="Follow whatever the recording names: it can run any program.")
ALL_RECORDINGS = click.option(
    "--all-recordings", is_flag=True, help="Of a well with several recordings sort each, with a result of its own."
)
RECORDING = click.option(
    "--recording", type=ANY_PATH, help="Where the recording is now, should it have to be read again."
)
AGAIN = click.option(
    "--again",
    metavar="TIMES",
    callback=_times_or_sorters,
    help="Sort so many more times, or by these sorters, e.g. rt_sort,spikeinterface:lupin, and tell how far each unit "
    "is found again.",
)
