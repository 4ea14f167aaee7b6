"""Units that several sorts agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spikelab.spike_sorting.comparison.sides import Side
    from spikelab.spike_sorting.data.matching import Overlap

Pair = tuple[int, int]
Unit = tuple[int, int]  # number of the sort, row of the unit


def consensus_of(
    sides: Sequence[Side], overlaps: Mapping[Pair, Overlap], matches: Mapping[Pair, Sequence[Pair]]
) -> list[dict[str, Any]]:
    """Gather matched units of all sorts, the most agreed first: at most one unit of each sort in a group.

    Pairs are joined from the best agreement on; one that would bring a second unit of a sort into a group is not.
    """
    group: dict[Unit, set[Unit]] = {
        (number, row): {(number, row)} for number, side in enumerate(sides) for row in side.rows().tolist()
    }
    least: dict[Unit, float] = {}
    for agreement, one, other in sorted(_edges(overlaps, matches), key=lambda edge: (-edge[0], edge[1:])):
        joined = group[one] | group[other]
        if len({number for number, _ in joined}) == len(joined):
            group |= dict.fromkeys(joined, joined)
            least |= dict.fromkeys(joined, agreement)
    groups = {min(units): units for units in group.values()}
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [_row(number, sides, units, least.get(first)) for number, (first, units) in enumerate(ordered)]


def _edges(overlaps: Mapping[Pair, Overlap], matches: Mapping[Pair, Sequence[Pair]]) -> list[tuple[float, Unit, Unit]]:
    """List the matched units of each pair of sorts, with their agreement."""
    return [
        (float(overlaps[pair].agreement[mine, theirs]), (pair[0], mine), (pair[1], theirs))
        for pair, found in matches.items()
        for mine, theirs in found
    ]


def _row(number: int, sides: Sequence[Side], units: set[Unit], least: float | None) -> dict[str, Any]:
    ids = {sides[side].name: sides[side].ids[row] for side, row in units}
    own = {f"unit in {side.name}": ids.get(side.name) for side in sides}
    return {"consensus": number, "n_agree": len(units), "least_agreement": least, **own}
