"""SpikeInterface's curation format (JSON): decisions in it, and decisions as it has them.

A file is checked by SpikeInterface's own model. Version 2 is written; versions 1 and 2 are read, and sequences of them.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.decisions import Decisions, State, packed, with_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.decisions import DecidedUnit, Step

VERSION = "2"
LABEL, DECIDED = "label", "decided"
"""Names of the labels that :func:`curation_of` writes."""
# What labels of other programs mean: name of the label here, and whether the unit is kept.
KNOWN = {"good": ("good", "keep"), "mua": ("multi-unit", "drop"), "noise": ("noise", "drop")}
SAME = {"multi-unit": "mua", "multiunit": "mua", "multi unit": "mua"}


def is_curation(content: Mapping[str, Any]) -> bool:
    """Whether the content of a JSON file is of SpikeInterface's curation format."""
    return "curation_steps" in content or "format_version" in content


def curation_of(decisions: Decisions, states: Sequence[State]) -> dict[str, Any]:
    """Write decisions as SpikeInterface's curation format.

    Parameters
    ----------
    decisions : Decisions
    states : sequence of State
        Before the first step, and after each step that counts.

    Returns
    -------
    dict
        One curation or, where a unit that was merged or split is merged, split or labelled again, ``curation_steps``.
        Units that are dropped are ``removed``; labels and verdicts are the labels ``label`` and ``decided``.
    """
    curations = [_empty(states[0])]
    for step, before in zip(decisions.counted, states, strict=False):
        if step["do"] == "mark":
            continue
        touched = step["units"] if step["do"] == "merge" else [step["unit"]]
        _begin_another(curations, touched, before)
        curations[-1]["merges" if step["do"] == "merge" else "splits"].append(_operation(step, before))
    marked = [unit for unit in states[-1].units.values() if unit.verdict is not None or unit.label is not None]
    _begin_another(curations, [unit.unit_id for unit in marked], states[-1])
    _mark(curations[-1], marked)
    return curations[0] if len(curations) == 1 else {"curation_steps": curations}


def _begin_another(curations: list[dict[str, Any]], units: Sequence[int], state: State) -> None:
    """Begin another curation where the last one does not begin with these units."""
    if not set(units) <= set(curations[-1]["unit_ids"]):
        curations.append(_empty(state))


def _empty(state: State) -> dict[str, Any]:
    return {
        "format_version": VERSION,
        "unit_ids": list(state.units),
        "label_definitions": {},
        "manual_labels": [],
        "removed": [],
        "merges": [],
        "splits": [],
    }


def _operation(step: Step, before: State) -> dict[str, Any]:
    if step["do"] == "merge":
        return {"unit_ids": list(step["units"]), "new_unit_id": step["into"]}
    return {
        "unit_id": step["unit"],
        "mode": "indices",
        "indices": [np.flatnonzero(~before.second_part(step)).tolist()],  # the other spikes are the second new unit
        "new_unit_ids": list(step["into"]),
    }


def _mark(curation: dict[str, Any], units: Sequence[DecidedUnit]) -> None:
    """Add what was said of units."""
    labels = dict.fromkeys(unit.label for unit in units if unit.label is not None)
    curation["label_definitions"] = {
        LABEL: {"label_options": list(dict.fromkeys(["good", "multi-unit", "noise", *labels])), "exclusive": True},
        DECIDED: {"label_options": ["keep", "drop"], "exclusive": True},
    }
    for unit in units:
        said = {LABEL: unit.label, DECIDED: unit.verdict}
        given = {name: [value] for name, value in said.items() if value is not None}
        curation["manual_labels"].append({"unit_id": unit.unit_id, "labels": given})
    curation["removed"] = [unit.unit_id for unit in units if unit.verdict == "drop"]


def with_curation(
    content: Mapping[str, Any], decisions: Decisions, state: State, number_of: Callable[[Any], int | None]
) -> tuple[Decisions, State]:
    """Add a curation in SpikeInterface's format to decisions.

    Parameters
    ----------
    content : mapping
        Content of the JSON file.
    decisions : Decisions
        That the curation is based on.
    state : State
        After these.
    number_of : callable
        Returns the unit id for an id in the file, or None where there is no such unit.

    Raises
    ------
    ValueError
        SpikeInterface's model refuses the file, or it has units or spikes that there are not.
    """
    known: dict[Any, int] = {}

    def number(unit: Any) -> int | None:
        found = known.get(unit)
        return number_of(unit) if found is None else found

    for model in _models(content):
        _require_units(model.unit_ids, number, state)
        for new_ids, step in _operations(model, number, state):
            decisions, state = with_step(decisions, step, state)
            made = decisions.steps[-1]["into"]
            known.update(zip(new_ids, made if isinstance(made, list) else [made], strict=False))
        for step in _marks(model, number, state):
            decisions, state = with_step(decisions, step, state)
    return decisions, state


def _models(content: Mapping[str, Any]) -> list[Any]:
    from pydantic import ValidationError
    from spikeinterface.curation.curation_model import Curation, SequentialCuration

    try:
        with redirect_stdout(StringIO()):
            if "curation_steps" in content:
                return list(SequentialCuration(**content).curation_steps)
            return [Curation(**content)]
    except ValidationError as error:
        told = "; ".join(str(fault["msg"]) for fault in error.errors()[:3])
        raise ValueError(f"SpikeInterface's model of a curation refuses it: {told}") from error
    except (TypeError, LookupError, AttributeError) as error:  # of its validators, on values of another type
        raise ValueError(f"it is no curation in SpikeInterface's format: {type(error).__name__}: {error}") from error


def _require_units(unit_ids: Iterable[Any], number: Callable[[Any], int | None], state: State) -> None:
    missing = [str(unit) for unit in unit_ids if number(unit) not in state.units]
    if missing:
        listed = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise ValueError(
            f"it has units that these results do not have: {listed}; there are {len(state.units)} units, of which the "
            f"first are {', '.join(map(str, list(state.units)[:10]))}"
        )


def _operations(
    model: Any, number: Callable[[Any], int | None], state: State
) -> list[tuple[list[Any], dict[str, Any]]]:
    """List merges and splits with the ids that the file gives to the new units, in the order of these."""
    merges = [
        ([merge.new_unit_id], {"do": "merge", "units": [number(unit) for unit in merge.unit_ids]})
        for merge in model.merges or ()
    ]
    splits = [(list(split.new_unit_ids or [None]), _split(split, number, state)) for split in model.splits or ()]
    found = merges + splits
    whole = all(isinstance(new, int) for new_ids, _ in found for new in new_ids)
    return sorted(found, key=lambda pair: min(pair[0])) if whole else found


def _split(split: Any, number: Callable[[Any], int | None], state: State) -> dict[str, Any]:
    unit = number(split.unit_id)
    assert unit is not None  # the model has checked that it is among the ids, which are all known
    parts = _parts(split, len(state.units[unit].frames))
    if len(parts) != 2:
        raise ValueError(
            f"the split of unit {split.unit_id} has {len(parts)} parts, expected 2: give one split after the other "
            "(curation_steps)"
        )
    second = np.zeros(len(state.units[unit].frames), dtype=bool)
    second[parts[1]] = True
    return {"do": "split", "unit": unit, "by": "given", "second": packed(second)}


def _parts(split: Any, n_spikes: int) -> list[IntArray]:
    """Return the spikes of each part, in the order of the parts."""
    if split.mode == "labels":
        labels = np.array(split.labels)
        if len(labels) != n_spikes:
            raise ValueError(f"the split of unit {split.unit_id} has {len(labels)} labels for {n_spikes} spikes")
        return [np.flatnonzero(labels == value) for value in np.unique(labels)]
    parts = [np.array(indices, dtype=np.int64) for indices in split.indices]
    listed = np.concatenate(parts)
    wrong = listed[(listed < 0) | (listed >= n_spikes)]
    if wrong.size:
        raise ValueError(f"the split of unit {split.unit_id} has spike {wrong[0]}; the unit has {n_spikes} spikes")
    rest = np.setdiff1d(np.arange(n_spikes), listed)
    return [*parts, rest] if rest.size else parts


def _marks(model: Any, number: Callable[[Any], int | None], state: State) -> list[dict[str, Any]]:
    """List what is said of units that are there after merges and splits; labels of the merged ones are lost there."""
    said: dict[int, dict[str, Any]] = {}
    exact = DECIDED in (model.label_definitions or {})
    for label in model.manual_labels or ():
        unit = number(label.unit_id)
        if unit in state.units:
            said[unit] = _said(label.labels, exact=exact)
    for unit_id in model.removed or ():
        said.setdefault(number(unit_id), {})["verdict"] = "drop"  # type: ignore[arg-type]
    return [{"do": "mark", "units": [unit], **values} for unit, values in said.items() if values]


def _said(labels: Mapping[str, Sequence[str]], *, exact: bool) -> dict[str, Any]:
    """Return label and verdict of a unit; `exact` in a file that this program wrote."""
    if exact:
        named = ((LABEL, "label"), (DECIDED, "verdict"))
        return {name: labels[theirs][0] for theirs, name in named if labels.get(theirs)}
    # The model has the labels of a unit in no order: those that mean something here come first.
    found = [(_meant(value), value) for _, values in sorted(labels.items()) for value in values]
    found.sort(key=lambda pair: pair[0] is None)
    if not found:
        return {}
    first, _ = found[0]
    label = ", ".join(value if meant is None else meant[0] for meant, value in found)
    return {"label": label} | ({} if first is None else {"verdict": first[1]})


def _meant(value: str) -> tuple[str, str] | None:
    """Return label and verdict that a label of another program stands for; None for one that means nothing here."""
    lower = value.lower()
    return KNOWN.get(SAME.get(lower, lower))
