"""Why a unit of one sort has no partner in the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from spikelab.spike_sorting.data.matching import best_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikelab.spike_sorting.comparison.sides import Side
    from spikelab.spike_sorting.data.matching import Overlap

DROPPED, SPLIT, MERGED, PARTLY, SMALL, NOISE = (
    "dropped by curation", "split", "merged", "found in part", "below its amplitudes", "in its noise",
)  # fmt: skip
WHYS = (DROPPED, SPLIT, MERGED, PARTLY, SMALL, NOISE)
MOST = 0.5  # share of the spikes of a unit that are most of them
PARTLY_FROM = 0.1
Reason: TypeAlias = tuple[str, str, list[int]]  # why, in detail, and the rows of the units that are meant


def alone_in(
    own: Side, other: Side, overlap: Overlap, partners: Mapping[int, int], least: float
) -> list[dict[str, Any]]:
    """List the units of `own` without a partner, by row, and why that is.

    `overlap` is of all units of both, those too that curation dropped; `partners` are the rows of `other` that are
    matched, by the row of `own`.
    """
    rows = [row for row in own.rows().tolist() if row not in partners]
    dropped = _dropped_partners(rows, other, overlap, least)
    smallest = _smallest(other)
    return [
        {
            "in": own.name,
            "not_in": other.name,
            "unit": own.ids[row],
            **_why(row, own, other, overlap, dropped.get(row), smallest),
            "n_spikes": len(own.trains[row]),
            "amplitude": own.value(row, "amplitude"),
            "snr": own.value(row, "snr"),
            "label": own.value(row, "imported_label"),
        }
        for row in rows
    ]


def _dropped_partners(rows: list[int], other: Side, overlap: Overlap, least: float) -> dict[int, int]:
    """Match the units that are left to those that curation of the other sort dropped."""
    (gone,) = np.nonzero(~other.kept)
    if not len(gone) or not rows:
        return {}
    agreement = overlap.agreement[rows][:, gone]
    return {rows[mine]: int(gone[theirs]) for mine, theirs in best_pairs(agreement, least)}


def _smallest(side: Side) -> float | None:
    """Return the least amplitude in uV that the sort found, dropped units included; None where it is not known."""
    known = [side.value(row, "amplitude") for row in range(len(side.ids))]
    values = [float(value) for value in known if value is not None]
    return min(values) if values else None


def _why(
    row: int, own: Side, other: Side, overlap: Overlap, dropped: int | None, smallest: float | None
) -> dict[str, Any]:
    """Say why a unit has no partner, its best agreement, and the units of the other sort that are meant."""
    if not overlap.n_common.shape[1]:
        why, detail, units = NOISE, "there is no unit there", []
    elif dropped is not None:
        why, detail, units = DROPPED, _dropped_words(other, other.ids[dropped]), [dropped]
    else:
        why, detail, units = _shared(row, own, other, overlap) or _small(own.value(row, "amplitude"), smallest)
    best = float(overlap.agreement[row].max(initial=0.0))
    return {
        "why": why,
        "detail": detail,
        "units": [other.ids[unit] for unit in units],
        "best_agreement": round(best, 4),
    }


def _dropped_words(other: Side, unit: Any) -> str:
    reason = other.dropped.get(unit, "curation")
    return f"unit {unit} there, {'' if reason.startswith('merged') else 'dropped by '}{reason}"


def _shared(row: int, own: Side, other: Side, overlap: Overlap) -> Reason | None:
    """Say which units of the other sort have spikes of a unit; None where none has many of them."""
    parts = _parts(row, overlap)
    if len(parts) > 1:
        among = _listed([other.ids[part] for part in parts])
        return (
            SPLIT,
            f"split over units {among} there, which have {_percent(_covered(row, parts, overlap))} of it",
            parts,
        )
    largest = int(np.argmax(overlap.share_of_a[row]))
    share, unit = float(overlap.share_of_a[row, largest]), other.ids[largest]
    together = _together(row, largest, own, overlap)
    if share >= MOST and together:
        with_units = _listed([own.ids[one] for one in together])
        words = f"{_percent(share)} of it is in unit {unit} there, together with unit{'s' * (len(together) > 1)}"
        return MERGED, f"{words} {with_units}", [largest]
    if share >= PARTLY_FROM:
        return (
            PARTLY,
            f"unit {unit} there has {_percent(share)} of its spikes, among {len(other.trains[largest])}",
            [largest],
        )
    return None


def _small(size: float | None, smallest: float | None) -> Reason:
    if size is not None and smallest is not None and size < smallest:
        return SMALL, f"{size:.3g} uV; the smallest unit there has {smallest:.3g} uV", []
    return NOISE, "no unit there fires with it", []


def _together(row: int, whole: int, own: Side, overlap: Overlap) -> list[int]:
    """Return the other units of a sort that have most of their spikes in a unit of the other sort."""
    return [unit for unit in own.rows().tolist() if unit != row and overlap.share_of_a[unit, whole] >= MOST]


def _parts(row: int, overlap: Overlap) -> list[int]:
    """Return the units of the other sort whose spikes are most of them of this unit, and that make up most of it."""
    inside = overlap.share_of_b[row] >= MOST
    enough = overlap.share_of_a[row] >= PARTLY_FROM
    parts = np.flatnonzero(inside & enough).tolist()
    return sorted(parts, key=lambda part: -overlap.n_common[row, part]) if _covered(row, parts, overlap) >= MOST else []


def _covered(row: int, parts: list[int], overlap: Overlap) -> float:
    return float(min(1.0, overlap.share_of_a[row, parts].sum()))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _listed(units: list[Any]) -> str:
    return f"{', '.join(map(str, units[:-1]))} and {units[-1]}" if len(units) > 1 else str(units[0])
