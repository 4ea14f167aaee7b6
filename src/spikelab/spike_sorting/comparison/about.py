"""Names of sorts that are compared, doubts that they are of one recording, and how they were made."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from spikelab.spike_sorting.comparison.sides import Side
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

RATE_TOLERANCE, LENGTH_TOLERANCE_S = 1e-4, 0.01


def named(sides: Sequence[Side], names: Sequence[str] | None) -> list[Side]:
    """Give the sides their names; equal ones are numbered."""
    wanted = [side.name for side in sides] if names is None else _checked(names, len(sides))
    for number, name in enumerate(wanted):
        if name in wanted[:number]:
            wanted[number] = f"{name} ({number + 1})"
    return [replace(side, name=name) for side, name in zip(sides, wanted, strict=True)]


def _checked(names: Sequence[str], n_sides: int) -> list[str]:
    if len(names) != n_sides:
        raise ValueError(f"names has {len(names)} names for {n_sides} sorts")
    if len(set(names)) < len(names):
        raise ValueError(f"names has a name twice: {', '.join(names)}")
    return list(map(str, names))


def doubts(sides: Sequence[Side]) -> list[str]:
    """Say what speaks against the sorts being of one recording."""
    return [note for first, other in combinations(sides, 2) for note in _doubts_of(first, other)]


def _doubts_of(first: Side, other: Side) -> Iterator[str]:
    if _differ(first.rate, other.rate, RATE_TOLERANCE * (first.rate or 0.0)):
        yield (
            f"{first.name} was sorted at {first.rate:g} Hz and {other.name} at {other.rate:g} Hz: are they of one "
            "recording?"
        )
    if _differ(first.length_s, other.length_s, LENGTH_TOLERANCE_S):
        shorter = min(first.length_s or 0.0, other.length_s or 0.0)
        yield (
            f"{first.name} lasts {first.length_s:g} s and {other.name} {other.length_s:g} s: are they of one "
            f"recording? The first {shorter:g} s are compared"
        )
    elif first.recording and other.recording and not first.recording & other.recording:
        yield f"{first.name} and {other.name} were not sorted from the same file, or it was changed since"


def _differ(one: float | None, other: float | None, tolerance: float) -> bool:
    return one is not None and other is not None and abs(one - other) > tolerance


def over_the_same_time(sides: Sequence[Side]) -> list[Side]:
    """Leave out the spikes after the end of the shortest."""
    lengths = [side.length_s for side in sides if side.length_s]
    if not lengths or max(lengths) - min(lengths) <= LENGTH_TOLERANCE_S:
        return list(sides)
    return [side.until(1000 * min(lengths)) for side in sides]


def differing_settings(sides: Sequence[Side]) -> list[dict[str, Any]]:
    """List the settings that differ and can change a result; None for the default."""
    return _differing({side.name: _changed(side.config) for side in sides if side.config is not None})


def _changed(config: SortingPipelineConfig) -> dict[str, Any]:
    """Return the settings that are not the defaults."""
    from spikelab.spike_sorting.settings.presets import differences
    from spikelab.spike_sorting.stages.effective import effective_settings

    effective = effective_settings(config)
    return {name: effective[name] for name in differences(config) if name in effective}


def differing_versions(sides: Sequence[Side]) -> list[dict[str, Any]]:
    """List the programs whose versions differ; None for one that was not used."""
    return _differing({side.name: dict(side.versions) for side in sides if side.versions})


def _differing(values: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = dict.fromkeys(name for of_one in values.values() for name in of_one)
    rows = {name: [of_one.get(name) for of_one in values.values()] for name in names}
    columns = [f"in {side}" for side in values]
    return [
        {"name": name, **dict(zip(columns, row, strict=True))}
        for name, row in rows.items()
        if len(set(map(repr, row))) > 1
    ]
