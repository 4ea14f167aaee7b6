"""Name groups of channels by what tells them from each other: ``probe A, shank 1``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from spikelab.spike_sorting.recording.geometry.electrodes import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.recording.geometry.electrodes import Label

# Names of each kind on each group.
Names: TypeAlias = "dict[str, list[tuple[str, ...]]]"


def names_of_groups(labels: Sequence[Label], groups: IntArray) -> tuple[str, ...]:
    """Name each group; one group has no name.

    Of kinds that tell groups apart alike only one is named, rather one whose names are not mere numbers.
    """
    n_groups = int(groups.max(initial=-1)) + 1
    if n_groups < 2:
        return ("",)
    names = _names(labels, groups, n_groups)
    kinds = _telling_kinds(names)
    texts = [_text(names, kinds, group) for group in range(n_groups)]
    counts = Counter(texts)
    return tuple(f"{text} ({group + 1})" if counts[text] > 1 else text for group, text in enumerate(texts))


def _names(labels: Sequence[Label], groups: IntArray, n_groups: int) -> Names:
    own = [list(dict.fromkeys(labels[i] for i in np.flatnonzero(groups == g).tolist())) for g in range(n_groups)]
    return {
        kind: [tuple(dict.fromkeys(label[k] for label in of_group if label[k])) for of_group in own]
        for k, kind in enumerate(KINDS)
    }


def _text(names: Names, kinds: list[str], group: int) -> str:
    parts = [f"{kind} {'+'.join(names[kind][group])}" for kind in kinds if names[kind][group]]
    return ", ".join(parts) or f"no {kinds[0]}"


def _telling_kinds(names: Names) -> list[str]:
    """Choose the fewest kinds that tell all groups apart."""
    chosen = _different_divisions(names)
    told = [kind for kind in KINDS if kind in chosen]
    # Numbers of groups are often made by a program from probes and shanks.
    good = [kind for kind in told if kind != "group" or not _are_numbers(names[kind])]
    candidates = [*([kind] for kind in chosen if kind in good), good]
    return next((kinds for kinds in candidates if _are_distinct(names, kinds)), told)


def _different_divisions(names: Names) -> list[str]:
    """Choose one kind of those that divide the groups alike, the most telling first."""
    divisions: dict[tuple[int, ...], str] = {}
    for kind in sorted(KINDS, key=lambda kind: (_are_numbers(names[kind]), kind == "group")):
        different = list(dict.fromkeys(names[kind]))
        if len(different) > 1:
            divisions.setdefault(tuple(map(different.index, names[kind])), kind)
    return list(divisions.values())


def _are_numbers(names: list[tuple[str, ...]]) -> bool:
    return all(name.strip().isdigit() for of_group in names for name in of_group)


def _are_distinct(names: Names, kinds: list[str]) -> bool:
    described = list(zip(*(names[kind] for kind in kinds), strict=True))
    return bool(described) and len(set(described)) == len(described)
