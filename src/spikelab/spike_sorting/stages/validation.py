"""Validation: the sort once more with known neurons in the recording; what it tells of every unit is the artifact.

Each round, which sorts, is an artifact of its own, so that one that was interrupted goes on.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.backends import get_backend_class
from spikelab.spike_sorting.data import Validation
from spikelab.spike_sorting.data.validation import ABOUT
from spikelab.spike_sorting.stages.checks import require_room
from spikelab.spike_sorting.stages.context import Context, stage_seed
from spikelab.spike_sorting.stages.manifest import STAGES_FOLDER, Key, Manifest, intact
from spikelab.spike_sorting.stages.recording import ensure_traces
from spikelab.spike_sorting.stages.scratch import delete_scratch, empty_folder
from spikelab.spike_sorting.stages.sorter_runs import SorterRuns, largest_group
from spikelab.spike_sorting.stages.sorting import NAME as SORTING
from spikelab.system.progress import part_of_work
from spikelab.system.texts import duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains, Waveforms
    from spikelab.spike_sorting.stages.plugin_metrics import PluginMetric
    from spikelab.spike_sorting.stages.store import StageResult
    from spikelab.spike_sorting.validation import Round

logger = logging.getLogger(__name__)

NAME = "validation"
ROUND = "validation_round"  # with its number, the name of a round
FOLDER = "validation"  # in the intermediate folder
VERSION = "1"  # of what is put in, and how it is compared


def validation_stage(
    context: Context, recording: StageResult[BinaryRecording], waveforms: StageResult[Waveforms]
) -> StageResult[Validation] | None:
    """Put known neurons into the recording, sort again, and compare; None where the settings do not want that.

    Raises
    ------
    CannotValidateError
        If there are too few units to lend their footprints, or there is no room on the array.
    """
    config = context.config.validation
    if not config.validate:
        return None
    from spikelab.spike_sorting.validation import model_digest

    _require_anew(context)
    numbers = range(config.validation_rounds)
    tell_how_long(context, [round_key(context, number, recording, waveforms) for number in numbers], waveforms)
    rounds = [round_stage(context, number, recording, waveforms) for number in numbers]

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        from spikelab.spike_sorting.validation import conclude

        found = conclude([each.value for each in rounds], recording.value, waveforms.value)
        found.save(folder)
        return {"summary": found.summary}

    inputs = {f"{ROUND}{number}": each.run_id for number, each in enumerate(rounds)}
    key = Key(NAME, {"model": model_digest(), "rounds": len(rounds)}, {"waveforms": waveforms.run_id, **inputs})
    return context.store.load_or_run(key, run=run, load=Validation.load)


def round_stage(
    context: Context,
    number: int,
    recording: StageResult[BinaryRecording],
    waveforms: StageResult[Waveforms],
    name: str | None = None,
) -> StageResult[Round]:
    """Sort once with known neurons in the recording, by the settings of `context`.

    The neurons follow from the number of the round, the random seed and the units in `waveforms`. `name` is that of the
    artifact, where it is not a round of the validation but a trial of other settings.
    """
    from spikelab.spike_sorting.validation import Round

    _require_anew(context)
    config = context.config
    seed = stage_seed(config.execution.random_seed, f"{ROUND}{number}", recording.info["content"])

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        with part_of_work(name or f"validation {number + 1} of {config.validation.validation_rounds}"):
            binary = ensure_traces(context, recording)
            found = _sorted_again(apart(context, FOLDER), seed, number, binary, recording, waveforms)
        found.save(folder)
        return {"n_injected": len(found.snr), "n_new": found.n_new}

    return context.store.load_or_run(round_key(context, number, recording, waveforms, name), run=run, load=Round.load)


def _require_anew(context: Context) -> None:
    """Raise CannotValidateError for a sorter that would not find a neuron which was put into the recording."""
    from spikelab.spike_sorting.validation import CannotValidateError

    if not context.backend.finds_anew():
        raise CannotValidateError(
            f"{context.backend.sorter_label} takes its units from a file or a folder here, and would not find neurons "
            "that are put into the recording: validate the sort that they are from"
        )


def round_key(
    context: Context,
    number: int,
    recording: StageResult[BinaryRecording],
    waveforms: StageResult[Waveforms],
    name: str | None = None,
) -> Key:
    """Return the key of a round; arguments as of :func:`round_stage`."""
    settings = {
        "version": VERSION, "units": context.config.validation.validation_units, **settings_of_sorter(context),
    }  # fmt: skip
    inputs = {"recording": recording.run_id, "waveforms": waveforms.run_id}
    return Key(name or f"{ROUND}{number}", settings, inputs)


def tell_how_long(context: Context, keys: Sequence[Key], waveforms: StageResult[Waveforms]) -> None:
    """Say in the log what it takes to sort as often as artifacts of these keys are missing: each time as the sort."""
    n_sorts = sum(context.store.find(key) is None for key in keys)
    sorting = Manifest.read(context.store.folder / SORTING)
    took = sum(usage.get("wall_s", 0.0) for usage in (waveforms.usage, {} if sorting is None else sorting.usage))
    if n_sorts and took >= 1:
        times = "once more" if n_sorts == 1 else f"{n_sorts} more times"
        logger.info("the recording is sorted %s, which takes about %s", times, duration(took * n_sorts))


def settings_of_sorter(context: Context) -> dict[str, Any]:
    """Return what a sort depends on, for a key."""
    return {
        **context.settings("sorter"), **context.backend.key(), "random_seed": context.config.execution.random_seed,
    }  # fmt: skip


def apart(context: Context, folder: str, **settings: Any) -> Context:
    """Return the context of a sort in a folder of its own, without the files of single waveforms."""
    config = context.config.override(save_waveform_files=False, **settings)
    backend = get_backend_class(config.sorter.sorter_name)(config)
    return replace(context, config=config, backend=backend, intermediate=context.intermediate / folder, sorts=True)


def _sorted_again(
    context: Context,
    seed: int,
    number: int,
    binary: BinaryRecording,
    recording: StageResult[BinaryRecording],
    waveforms: StageResult[Waveforms],
) -> Round:
    """Write the traces with the neurons in them, sort and measure these, and delete them."""
    from spikelab.spike_sorting.validation import injections_for, round_of, write_injected

    rng = np.random.default_rng(seed)
    injections = injections_for(binary, waveforms.value, rng, context.config.validation.validation_units)
    logger.info("%d known neurons are put into the recording, and it is sorted again", len(injections))
    require_room(context, binary.n_samples, binary.n_channels, with_traces=True, largest_group=largest_group(binary))
    try:
        empty_folder(context.traces_path.parent)
        mixed = write_injected(binary, injections, context.traces_path)
        trains = SorterRuns(context, recording.info.get("report", {}), []).sort(mixed).outside(mixed.dead_time)
        found = measured(context, mixed, trains, seed)
        return round_of(number, injections, binary, waveforms.value, found)
    finally:
        clear(context.intermediate)


def clear(folder: Path) -> None:
    """Delete the scratch folder of a sort apart."""
    delete_scratch(folder)
    with suppress(OSError):  # there is none, or it holds something else
        folder.rmdir()


def measured(context: Context, binary: BinaryRecording, trains: SpikeTrains, seed: int) -> Waveforms:
    """Measure the waveforms of what was found, as those of the sort are."""
    from spikelab.spike_sorting.waveforms import waveforms_from_extractor

    empty_folder(context.waveforms_folder)
    extractor = context.backend.extract_waveforms(
        binary.to_spikeinterface(),
        trains.to_spikeinterface(binary.sampling_frequency),
        context.waveforms_folder,
        context.waveforms_folder / "curation",
        rec_path=context.recording_input,
        rng=seed,
    )
    return waveforms_from_extractor(
        extractor, context.config.waveform, seed=seed, n_jobs=context.config.execution.n_jobs
    )


def stored_validation(results: Path, stages: Mapping[str, Any], waveforms_run_id: str) -> Validation | None:
    """Read the validation in a results folder, if its run has one of these waveforms."""
    folder = results / STAGES_FOLDER / NAME
    if NAME not in stages or not folder.exists() or intact(folder).inputs.get("waveforms") != waveforms_run_id:
        return None
    return Validation.load(folder)


def as_metrics(found: Validation | None) -> dict[str, PluginMetric]:
    """Return what a validation tells of units in the form of the metrics of other packages."""
    if found is None:
        return {}
    shared = {"unit": "", "low": 0.0, "high": 1.0, "version": VERSION, "package": "spikelab"}
    return {
        name: {"about": {"description": text, **shared}, "values": found.metric(name)} for name, text in ABOUT.items()
    }
