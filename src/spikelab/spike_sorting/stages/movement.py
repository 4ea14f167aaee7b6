"""Movement of the tissue: measured on the filtered recording, or when the recording was corrected."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.backends.registry import SPIKEINTERFACE_PREFIX
from spikelab.spike_sorting.data import Geometry
from spikelab.spike_sorting.data.spike_trains import MOVED_UM
from spikelab.spike_sorting.settings.validation import DRIFT_PARAMETERS
from spikelab.spike_sorting.stages.manifest import Key
from spikelab.spike_sorting.stages.recording import MOVEMENT_FOLDER, ensure_traces
from spikelab.spike_sorting.stages.recording import NAME as RECORDING
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains
    from spikelab.spike_sorting.recording.motion import Movement
    from spikelab.spike_sorting.recording.motion.course import Course
    from spikelab.spike_sorting.stages.context import Context
    from spikelab.spike_sorting.stages.store import StageResult
    from spikelab.spikedata import SpikeData

NAME = "movement"
# Sorters that correct movement themselves, unless the traces are corrected or their parameters say otherwise.
CORRECT_THEMSELVES = ("kilosort2", "kilosort2_5", "kilosort3", "kilosort4", "spykingcircus2")
BLOCKS = "nblocks"  # parameter of Kilosort: blocks along the probe that move each on its own, 0 for no correction
# The range of 90 % of the time up to which a sorter is taken to find as much as on tissue at rest. RT-Sort found
# all on a ramp of 36 um, and half on breaths of 39 um, which it cannot follow: the limit is between what was measured.
BEARS_UM = {"rt_sort": 20.0}
BEARS_UNKNOWN_UM = 10.0  # less than the distance of contacts, by which templates become others


def movement_stage(context: Context, recording: StageResult[BinaryRecording]) -> StageResult[list[Movement]] | None:
    """Measure how the tissue moved; None where the settings do not want it, or it was measured to be corrected.

    An artifact of its own, so that a finished sort is not made again to have it.
    """
    from spikelab.spike_sorting.recording.motion import (
        ESTIMATE,
        described,
        load_movements,
        measure_binary,
        save_movements,
    )

    if context.config.recording.motion != ESTIMATE:
        return None

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        found = measure_binary(ensure_traces(context, recording), context.config.execution.n_jobs)
        save_movements(found, folder / MOVEMENT_FOLDER)
        return {"motion": described(found, ESTIMATE)}

    return context.store.load_or_run(
        Key(NAME, {}, {"recording": recording.run_id}),
        run=run,
        load=lambda folder: load_movements(folder / MOVEMENT_FOLDER),
    )


def movements(context: Context, movement: StageResult[list[Movement]] | None) -> list[Movement]:
    """Return what was found, in a stage of its own or when the recording was corrected; nothing where it was not."""
    from spikelab.spike_sorting.recording.motion import load_movements

    return movement.value if movement else load_movements(context.store.folder / RECORDING / MOVEMENT_FOLDER)


def with_movement(
    recording: StageResult[BinaryRecording], movement: StageResult[list[Movement]] | None
) -> StageResult[BinaryRecording]:
    """Return the recording with what was found of its movement."""
    if movement is None:
        return recording
    return replace(recording, value=replace(recording.value, motion=movement.info["motion"]))


def corrects_itself(sorter: str, given: Mapping[str, Any]) -> bool:
    """Tell whether a sorter corrects movement itself, with the parameters that somebody gave it."""
    asked = [bool(given[name]) for name in (*DRIFT_PARAMETERS, BLOCKS) if name in given]
    if not all(asked):
        return False
    switched_on = any(given.get(name) for name in DRIFT_PARAMETERS)
    return switched_on or sorter.removeprefix(SPIKEINTERFACE_PREFIX) in CORRECT_THEMSELVES


def warn_of_movement(context: Context, binary: BinaryRecording) -> None:
    """Warn where the tissue moved more than the sorter bears, and nothing corrects that."""
    sorter, motion = context.config.sorter.sorter_name, binary.motion
    if motion is None or motion["corrected"] or corrects_itself(sorter, context.config.sorter.sorter_params or {}):
        return
    bears = BEARS_UM.get(sorter, BEARS_UNKNOWN_UM)
    moved = max((group["moved_um"] or 0.0 for group in motion["groups"]), default=0.0)
    if moved > bears:
        warn(
            f"the tissue moved by {moved:.3g} um, and {sorter} loses or splits units where it moves by more than "
            f"{bears:g} um: set motion='correct', which moves the traces back, and compare"
        )


def warn_of_moved_units(context: Context, binary: BinaryRecording, trains: SpikeTrains) -> None:
    """Warn where a sorter saw its units move by more than it bears, and nobody measured the tissue itself."""
    from spikelab.spike_sorting.recording.geometry.columns import by_shank, is_column

    moved, motion = trains.measures.get(MOVED_UM), binary.motion
    if moved is None or not np.isfinite(moved).any() or not is_column(by_shank(_geometry(binary))):
        return
    if motion is not None and (motion["corrected"] or any(group["moved_um"] is not None for group in motion["groups"])):
        return
    sorter, middle = context.config.sorter.sorter_name, float(np.nanmedian(moved))
    bears = BEARS_UM.get(sorter, BEARS_UNKNOWN_UM)
    if middle > bears:
        warn(
            f"{sorter} saw its units move by {middle:.3g} um (median of {len(moved)}), and it loses or splits units "
            f"where they move by more than {bears:g} um: set motion='estimate' to see how the tissue moved, or "
            "motion='correct', which moves the traces back, and compare"
        )


def with_moved_units(units: SpikeData, binary: BinaryRecording, found: Sequence[Movement]) -> SpikeData:
    """Say of units how far the tissue moved at their depth, where the sorter did not see them move.

    Where the traces were moved back, units stand still in them, and nothing is said.
    """
    courses = {movement.summary["group"]: movement.course for movement in found if movement.course is not None}
    if binary.motion is None or binary.motion["corrected"] or not courses:
        return units
    moved = _moved_at(binary, courses)
    return units.replace(
        neuron_attributes=[
            {MOVED_UM: moved[unit["channel"]], **unit} if unit["channel"] in moved else unit
            for unit in units.unit_attributes
        ]
    )


def _moved_at(binary: BinaryRecording, courses: Mapping[str, Course]) -> dict[int, float]:
    """Say of channels how far the tissue moved at their depth, in um, by the courses of their columns."""
    from spikelab.spike_sorting.recording.motion import ESTIMATE, columns_of

    moved: dict[int, float] = {}
    for column in columns_of(_geometry(binary), ESTIMATE):
        course = courses.get(column.name)
        if course is not None:
            depths = zip(column.channels.tolist(), column.places[:, 0].tolist(), strict=True)
            moved |= {channel: round(course.range_at(depth), 2) for channel, depth in depths}
    return moved


def _geometry(binary: BinaryRecording) -> Geometry:
    return binary.geometry or Geometry.of(binary.locations)
