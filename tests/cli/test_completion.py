"""What the shell offers, by the protocol of click's completion."""

from __future__ import annotations

import pytest
from click.shell_completion import ShellComplete

from spikelab.cli import cli


@pytest.mark.parametrize(
    ("typed", "incomplete", "offered"),
    [
        (["sort", "--sorter"], "rt", ["rt_sort"]),
        (["inspect", "--sorter"], "spikeinterface:kilosort4", ["spikeinterface:kilosort4"]),
        (["sort", "--preset"], "rt_sort_", ["rt_sort_mea", "rt_sort_neuropixels"]),
        (["show-config", "--set"], "snr", ["snr_min="]),
        (["sort", "--set"], "electrode_groups=", ["electrode_groups=auto", "electrode_groups=together"]),
        (["sort", "--set"], "create_figures=t", ["create_figures=true"]),
        (["sort", "--set"], "no_such=", []),
        (["sort", "--set"], "metric_limits=", ["metric_limits=none"]),  # its example names metrics
        (["export", "results", "--to"], "n", ["nwb", "npz"]),
        (["import", "a", "b", "--from"], "", ["phy"]),
    ],
)  # fmt: skip
def test_values_are_completed(typed: list[str], incomplete: str, offered: list[str]) -> None:
    completions = ShellComplete(cli, {}, "spikelab", "_SPIKELAB_COMPLETE").get_completions(typed, incomplete)
    assert [completion.value for completion in completions] == offered
