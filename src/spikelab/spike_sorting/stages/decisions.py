"""Decisions of a person in the results folder, and the spike trains of the units that they make."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting import decisions as decided
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.stages.manifest import Key
from spikelab.spike_sorting.stages.outdated import set_aside

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting.data import BinaryRecording
    from spikelab.spike_sorting.stages.context import Context
    from spikelab.spike_sorting.stages.store import StageResult

logger = logging.getLogger(__name__)

NAME = "decisions"
SPIKES = "spikes.npz"


@dataclass(frozen=True)
class Decided:
    """Decisions that count for a run."""

    decisions: decided.Decisions
    record: dict[str, Any]  # for the history
    trains: StageResult[SpikeTrains] | None  # None where nothing was merged or split

    @property
    def key(self) -> str:
        """Identity of the decisions, with their number for people who read the log."""
        return f"{self.decisions.done} ({_digest(self.decisions.counted)})"


def decisions_stage(
    context: Context, recording: StageResult[BinaryRecording], sorting: StageResult[SpikeTrains]
) -> Decided | None:
    """Take up the decisions in the results folder; merged and split units are an artifact of their own.

    Returns
    -------
    Decided or None
        None where there is no decision. Decisions on other units or spikes are moved away, with a warning.
    """
    trains = sorting.value.inside(recording.value.n_samples)
    found = _found(context, trains, recording.value.sampling_frequency)
    if found is None:
        return None
    decisions, state = found
    record = decided.record_of(decisions, state)
    if not decisions.regroups:
        return Decided(decisions, record, None)

    regrouped = decided.regrouped(trains, state)

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        regrouped.save(folder / SPIKES)
        return {"n_units": len(state.units), "new_units": len(state.new), "duplicates_removed": state.n_removed}

    # By what comes of the steps, not by the steps: what comes after stays where others lead to the same units.
    settings = {"units": decided.content_id(regrouped)}
    result = context.store.load_or_run(
        Key(NAME, settings, {"sorting": sorting.run_id}),
        run=run,
        load=lambda folder: SpikeTrains.load(folder / SPIKES),
    )
    return Decided(decisions, record, result)


def _found(
    context: Context, trains: SpikeTrains, sampling_frequency: float
) -> tuple[decided.Decisions, decided.State] | None:
    """Read the decisions in the results folder, and their state; those that do not fit are set aside."""
    path = context.results / decided.FILE
    try:
        found = decided.read(path)
        state = decided.state_of(found, trains, sampling_frequency)
    except FileNotFoundError:
        return None
    except ValueError as error:
        if context.store.read_only:
            logger.warning("%s is left out: %s", path, error)
        else:
            logger.warning("%s does not fit, and is moved into the folder 'earlier': %s", path, error)
            set_aside([decided.FILE], [], context.results, context.results)
        return None
    return (found, state) if found.done else None


def _digest(steps: tuple[decided.Step, ...]) -> str:
    return hashlib.blake2b(json.dumps(steps, sort_keys=True).encode(), digest_size=8).hexdigest()
