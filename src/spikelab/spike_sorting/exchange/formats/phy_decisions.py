"""Decisions in a folder that was exported to Phy and saved there: groups, merges and splits as steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import rows_of_each
from spikelab.spike_sorting.decisions import packed, with_step
from spikelab.spike_sorting.exchange.formats.phy_curation import UNSORTED, require_same_spikes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.decisions import Decisions, State
    from spikelab.spike_sorting.exchange.formats.phy_curation import PhyFolder
    from spikelab.spikedata import SpikeData

# What Phy's groups say: label and verdict.
GROUPS = {"good": ("good", "keep"), "mua": ("multi-unit", "drop"), "noise": ("noise", "drop")}


def with_phy(
    phy: PhyFolder, exported: SpikeData, group_before: Mapping[int, str], decisions: Decisions, state: State
) -> tuple[Decisions, State]:
    """Add what was done in Phy to decisions.

    Parameters
    ----------
    phy : PhyFolder
    exported : SpikeData
        Units that were exported, as the results have them now.
    group_before : mapping of int to str
        Group that each unit was exported with, by unit id.
    decisions : Decisions
        That the results were made with.
    state : State
        After these.

    Raises
    ------
    ValueError
        The folder was exported from other units or spikes.
    """
    require_same_spikes(phy, exported)
    clusters = np.unique(phy.after).tolist()
    rows = dict(zip(clusters, rows_of_each(phy.after, clusters), strict=True))
    whole = dict(zip(phy.unit_ids, rows_of_each(phy.before, range(len(phy.unit_ids))), strict=True))
    groups: dict[int, str] = {}  # by unit, where it changed
    pieces: dict[int, list[int]] = {}  # units that are merged into a cluster

    def add(step: dict[str, Any]) -> list[int]:
        nonlocal decisions, state
        decisions, state = with_step(decisions, step, state)
        made: Any = decisions.steps[-1].get("into", [])
        return made if isinstance(made, list) else [made]

    for unit, spikes in whole.items():
        parts = np.unique(phy.after[spikes]).tolist()
        if len(parts) > 1:
            _require_whole(unit, len(spikes), state)
        for cluster, piece in _divided(unit, spikes, phy.after, parts, add):
            pieces.setdefault(cluster, []).append(piece)
    for cluster, units in pieces.items():
        (unit,) = add({"do": "merge", "units": units}) if len(units) > 1 else units
        group = phy.groups.get(cluster, UNSORTED)
        if group != group_before.get(unit, UNSORTED):
            groups[unit] = group
    assert len(pieces) == len(rows)
    for unit, group in groups.items():
        label, verdict = GROUPS.get(group, (None, None))
        add({"do": "mark", "units": [unit], "verdict": verdict, "label": label})
    return decisions, state


def _divided(
    unit: int, spikes: IntArray, after: IntArray, clusters: list[int], add: Callable[[dict[str, Any]], list[int]]
) -> list[tuple[int, int]]:
    """Split a unit, one cluster after the other: pairs of cluster and unit."""
    found, left = [], spikes
    for position, cluster in enumerate(clusters[:-1]):
        second = np.isin(after[left], clusters[position + 1 :])
        first, unit = add({"do": "split", "unit": unit, "by": "given", "second": packed(second)})
        found.append((cluster, first))
        left = left[second]
    return [*found, (clusters[-1], unit)]


def _require_whole(unit: int, n_spikes: int, state: State) -> None:
    """Check that an exported unit has the spikes that decisions are made on."""
    found = len(state.units[unit].frames)
    if found != n_spikes:
        raise ValueError(
            f"unit {unit} was exported with {n_spikes} spikes and has {found} before 'merge_duplicates': export with "
            "units='all' to split it"
        )
