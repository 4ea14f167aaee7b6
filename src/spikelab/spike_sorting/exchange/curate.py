"""Decisions on the units of finished results: from a file of this program or of another one to new results."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting import decisions as decided
from spikelab.spike_sorting.decisions import Decisions, State
from spikelab.spike_sorting.exchange.formats.si_curation import curation_of, is_curation, with_curation
from spikelab.spike_sorting.run.again import job_again, require_traces, sort_again, without_further_sorts
from spikelab.spike_sorting.run.lock import locked
from spikelab.spike_sorting.run.results import Results
from spikelab.spike_sorting.stages.outdated import set_aside
from spikelab.system.texts import read_json_object

if TYPE_CHECKING:
    from spikelab.spike_sorting.exchange.export import AnyPath
    from spikelab.spikedata import SpikeData

logger = logging.getLogger(__name__)

EXPECTED = (
    "expected decisions.json, as 'spikelab view' and the report save it, a curation of SpikeInterface (JSON), or a "
    "folder that was exported to Phy and saved there"
)


@dataclass(frozen=True)
class Plan:
    """Decisions that fit results, before they are applied."""

    results: Results
    decisions: Decisions
    state: State

    def lines(self) -> list[str]:
        """Say in words what the decisions do."""
        units, before = self.state.units, self.results.trains.n_units
        new = [f"  unit {unit.unit_id}: {self._origin(unit)}" for unit in self.state.new]
        verdicts = [unit.verdict for unit in units.values()]
        labels = sum(unit.label is not None for unit in units.values())
        counts = (
            f"{verdicts.count('keep')} kept by hand, {verdicts.count('drop')} dropped by hand, {labels} with a label"
        )
        return [f"{before} units of the sort, {len(units)} after merges and splits; {counts}", *new]

    def _origin(self, unit: decided.DecidedUnit) -> str:
        parts = [f"{count} spikes of unit {source}" for source, count in unit.spikes_from.items()]
        removed = sum(unit.removed.values())
        return ", ".join(parts) + (f"; {removed} duplicates removed" if removed else "")


def curate_results(
    results: AnyPath,
    decisions: AnyPath | Mapping[str, Any] | Decisions | None = None,
    *,
    recording: AnyPath | None = None,
) -> list[SpikeData]:
    """Apply decisions of a person to finished results: verdicts, labels, merges and splits.

    They are written to ``decisions.json`` in the results folder, and the stages that depend on them run, as in any
    other run: waveforms where units were merged or split, curation, the files of the results, figures and report.

    Parameters
    ----------
    results : path
        Results folder of one recording.
    decisions : path, mapping or Decisions, optional
        A file ``decisions.json``, as ``spikelab view`` and the report save it; a curation in SpikeInterface's format
        (JSON, version 1 or 2), or the content of one of both; a folder that was exported to Phy and saved there. By
        default the ``decisions.json`` that is in the results folder.
    recording : path, optional
        Where the recording is now, should traces have to be filtered again and it was moved.

    Returns
    -------
    list of SpikeData
        Units that are kept, one entry per original file, as from :func:`sort_recording`.

    Raises
    ------
    ValueError
        The decisions do not fit the results: the message says what was found and what was expected. Nothing is changed.
    FileNotFoundError
        There are no such results or decisions.
    ConcurrentSortError
        A run is under way in the results folder.

    Examples
    --------
    >>> from spikelab.spike_sorting import curate_results, export_results
    >>> curation = export_results("sorted_rt_sort_culture", "curation", overwrite=True)
    >>> (units,) = curate_results("sorted_rt_sort_culture", curation)
    """
    return applied(planned(results, decisions, recording=recording), recording=recording)


def planned(
    results: AnyPath,
    decisions: AnyPath | Mapping[str, Any] | Decisions | None = None,
    *,
    recording: AnyPath | None = None,
) -> Plan:
    """Read decisions and check that they fit the results; nothing is written.

    Where decisions could not be applied before, the same or others can still be.
    """
    opened = Results.open(results, finished=False)
    given = opened.folder / decided.FILE if decisions is None else decisions
    if isinstance(given, Decisions):
        found = given
    elif isinstance(given, Mapping):
        found = _of_content(opened, given)
    else:
        found = _of_path(opened, Path(given))
    try:
        state = decided.state_of(found, opened.trains, opened.recording.sampling_frequency)
        decided.require_redo(found, state)
    except ValueError as error:
        raise ValueError(f"{given}: {error}" if isinstance(given, str | Path) else str(error)) from error
    require_traces(opened, state, None if recording is None else Path(recording))
    return Plan(opened, found, state)


def applied(plan: Plan, *, recording: AnyPath | None = None) -> list[SpikeData]:
    """Write the decisions of a plan, and run what follows."""
    job = job_again(plan.results, None if recording is None else Path(recording))
    job = without_further_sorts(job, plan.results, plan.state)
    with locked(job.results, job.intermediate):  # a run that is under way has its own decisions
        _keep_others(plan)
        decided.write(plan.results.folder / decided.FILE, plan.decisions)
    return sort_again(job).results or []


def _keep_others(plan: Plan) -> None:
    """Move decisions that are in the results folder, and not among those of a plan, into the folder 'earlier'."""
    folder, planned_steps = plan.results.folder, plan.decisions.counted
    try:
        there = decided.read(folder / decided.FILE).counted
    except FileNotFoundError:
        return
    except ValueError:
        there = None  # not readable, but somebody's
    if there is None or there != planned_steps[: len(there)]:
        logger.info("%s had other decisions: it is kept in the folder 'earlier'", folder / decided.FILE)
        set_aside([decided.FILE], [], folder, folder)


def curation_content(results: Results) -> dict[str, Any]:
    """Return the decisions that results were made with in SpikeInterface's format of a curation."""
    decisions, fs = results.decisions, results.recording.sampling_frequency
    states = [decided.state_of(Decisions.on(results.trains), results.trains, fs)]
    for step in decisions.counted:
        states.append(decided.after(states[-1], step))
    return curation_of(decisions, states)


def _of_path(results: Results, path: Path) -> Decisions:
    if path.is_dir():
        return _of_phy(results, path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}: {EXPECTED}")
    content = read_json_object(path, EXPECTED.removeprefix("expected "))
    try:
        return _of_content(results, content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _of_content(results: Results, content: Mapping[str, Any]) -> Decisions:
    if "format" in content:
        return decided.from_content(content)
    if is_curation(content):
        return _of_curation(results, content)
    keys = ", ".join(map(str, content)) or "no keys"
    raise ValueError(f"it is JSON with {keys:.200}: {EXPECTED}")


def _of_curation(results: Results, content: Mapping[str, Any]) -> Decisions:
    """Read a curation of SpikeInterface: it is of the units as they are now, or of those of the sort."""
    results = Results.open(results.folder)  # as the decisions before are needed, which an unfinished run may have left
    trains, fs = results.trains, results.recording.sampling_frequency
    names = {name: unit for unit, name in zip(trains.unit_ids.tolist(), trains.sorter_ids or (), strict=False)}

    def number_of(unit: Any) -> int | None:
        if isinstance(unit, int):
            return unit
        return int(unit) if unit.lstrip("-").isdigit() and unit not in names else names.get(unit)

    ids = {number_of(unit) for unit in _listed_units(content)}
    if results.decisions.regroups and not ids <= set(results.state.units) and ids <= set(trains.unit_ids.tolist()):
        logger.info("the curation is of the units of the sort: it replaces the decisions made before")
        start = Decisions.on(trains)
        return with_curation(content, start, decided.state_of(start, trains, fs), number_of)[0]
    return with_curation(content, _counted(results.decisions), results.state, number_of)[0]


def _listed_units(content: Mapping[str, Any]) -> list[int | str]:
    """List the units that a curation begins with, as far as the file, which is not checked yet, has a list of them."""
    first = content["curation_steps"][0] if content.get("curation_steps") else content
    listed = first.get("unit_ids") if isinstance(first, Mapping) else None
    return [unit for unit in listed if isinstance(unit, int | str)] if isinstance(listed, list) else []


def _of_phy(results: Results, folder: Path) -> Decisions:
    from spikelab.spike_sorting.exchange.export import handoff_of
    from spikelab.spike_sorting.exchange.formats.phy import groups_of
    from spikelab.spike_sorting.exchange.formats.phy_curation import read_phy
    from spikelab.spike_sorting.exchange.formats.phy_decisions import with_phy

    results, phy = Results.open(results.folder), read_phy(folder)
    if phy.units == "phy":
        raise ValueError(
            f"{folder} was exported with --units phy, which are no units of the sort: export with --units all"
        )
    handoff = handoff_of(results, phy.units)
    before = dict(zip(handoff.units.unit_ids, groups_of(handoff), strict=True))
    return with_phy(phy, handoff.units, before, _counted(results.decisions), results.state)[0]


def _counted(decisions: Decisions) -> Decisions:
    """Return the decisions without those that were undone."""
    return Decisions(decisions.sort, decisions.counted, decisions.done)
