"""Try settings and sorters on a recording: each sorts the same known neurons in it."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting import stages
from spikelab.spike_sorting.backends import get_backend_class
from spikelab.spike_sorting.backends.base import MOST_LISTED
from spikelab.spike_sorting.backends.rt_sort_preset import with_fitting_preset
from spikelab.spike_sorting.backends.spikeinterface_generic import SpikeInterfaceBackend
from spikelab.spike_sorting.data.validation import FOUND
from spikelab.spike_sorting.run.jobs import require_sorter
from spikelab.spike_sorting.run.results import Results
from spikelab.spike_sorting.settings.keywords import Place, flat_names, keywords
from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
from spikelab.spike_sorting.settings.validation import validate_config
from spikelab.spike_sorting.trials.validate import opened, validation_job
from spikelab.system.json_files import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from spikelab.spike_sorting.data import BinaryRecording, Waveforms
    from spikelab.spike_sorting.stages import Context, StageResult
    from spikelab.spike_sorting.validation import Round

logger = logging.getLogger(__name__)

STAGE = "trial_"
SORTER = ("sorter", "sorter_name")
TRIED = ("sorter", "rt_sort")  # groups of settings that a trial can change
OF_MODEL = {"rt_sort_probe", "rt_sort_model_path"}  # where one is given, it is no preset that chooses
WITHOUT_CONTAINER = ("rt_sort", "threshold")


@dataclass(frozen=True)
class Trial:
    """What one choice of settings made of the known neurons.

    Attributes
    ----------
    settings : dict
        What differs from the sort.
    accuracy, recall, precision : float
        Means over the injected neurons; 0 for those that were not found.
    n_injected, n_found : int
        Neurons, and those found with an accuracy of 0.8 or more.
    stability : float
        Mean agreement of the units of the sort with their best partners.
    n_new : int
        Found units that are neither an injected neuron nor a unit of the sort.
    cpu_s : float
        CPU seconds that it took, compilation included; a sorter in a container is not counted.
    error : str
        Why the sorter failed; empty where it did not.

    Examples
    --------
    >>> from spikelab.spike_sorting import Trial
    >>> trials = [Trial({"rt_sort_params.match_threshold": 15}, accuracy=0.91), Trial({}, error="no GPU")]
    >>> [trial.accuracy for trial in trials if not trial.error]
    [0.91]
    """

    settings: dict[str, Any]
    accuracy: float = float("nan")
    recall: float = float("nan")
    precision: float = float("nan")
    n_injected: int = 0
    n_found: int = 0
    stability: float = float("nan")
    n_new: int = 0
    cpu_s: float = float("nan")
    error: str = field(default="")


def validate_grid(
    results: str | Path,
    grid: Mapping[str, Sequence[Any]],
    *,
    units: int | None = None,
    rounds: int = 1,
    recording: str | Path | None = None,
) -> list[Trial]:
    """Try settings on a recording: sort it, with the same known neurons in it, by each of them.

    Parameters
    ----------
    results : path
        Results folder of one recording, whose units lend the footprints. Nothing in it but the trials changes.
    grid : dict of str to list
        Values to try of each setting, by its flat name: ``{"sorter": ["rt_sort", "tridesclous2"]}``, or a parameter of
        the sorter behind a dot: ``{"rt_sort_params.match_threshold": [15, 20, 25]}``. All combinations are tried.
    units, rounds, recording
        As for :func:`validate_sort`.

    Returns
    -------
    list of Trial
        Best first, by the mean accuracy over the injected neurons. One whose sorter failed has its ``error``, at the
        end.

    Raises
    ------
    TypeError, ValueError
        For an unknown setting or an impossible value, before anything is sorted.
    CannotValidateError
        If there are too few units to lend their footprints, or no room on the array.

    Examples
    --------
    >>> from spikelab.spike_sorting import validate_grid
    >>> trials = validate_grid("sorted_rt_sort_culture", {"rt_sort_params.match_threshold": [15, 25]})
    >>> len(trials), trials[0].accuracy >= trials[1].accuracy
    (2, True)
    """
    job = validation_job(results, units=units, rounds=rounds, recording=recording)
    choices = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    binary = Results.open(job.results).recording
    configs = [configured(job.config, choice, binary) for choice in choices]
    for config in configs:
        validate_config(config)
        require_sorter(config)
    with opened(job) as (context, recorded, waveforms):
        contexts = [_context(context, config) for config in configs]
        keys = [
            stages.round_key(other, number, recorded, waveforms, _name(choice, number))
            for other, choice in zip(contexts, choices, strict=True)
            for number in range(rounds)
        ]
        stages.tell_how_long(context, keys, waveforms)
        trials = [_tried(other, choice, recorded, waveforms) for other, choice in zip(contexts, choices, strict=True)]
    return sorted(trials, key=lambda trial: (bool(trial.error), -np.nan_to_num(trial.accuracy)))


def configured(
    config: SortingPipelineConfig, choice: Mapping[str, Any], binary: BinaryRecording
) -> SortingPipelineConfig:
    """Return a configuration with other settings; a name with a dot is an entry of a dictionary of parameters.

    Another sorter starts from its own defaults, RT-Sort from the preset for the electrodes. Further sorts and limits of
    curation, which no trial has, are left out.
    """
    rest = {name: value for name, value in choice.items() if name not in SORTER}
    own = config.sorter.sorter_name
    sorter = choice.get("sorter", choice.get("sorter_name", own))
    for name in rest:
        _require_of_sorter(name, sorter)
    config = config.override(sort_again=0, metric_limits=None)
    if sorter != own:
        config = config.override(sorter_name=sorter, sorter_params=None)
        if not OF_MODEL & set(rest):
            config, words = with_fitting_preset(config, binary.geometry, binary.sampling_frequency)
            if words:
                logger.info("%s starts from %s", sorter, words)
    changes: dict[str, Any] = {}
    for name, value in rest.items():
        setting, dot, key = name.partition(".")
        changes[setting] = {**(changes.get(setting, _params(config, setting)) or {}), key: value} if dot else value
    return config.override(**changes)


def _require_of_sorter(name: str, sorter: str) -> None:
    """Raise ValueError for a setting that changes the traces, or nothing of the sort; unknown ones are told later."""
    setting = name.partition(".")[0]
    place = keywords(SortingPipelineConfig).get(setting)
    if place is None:
        return
    if place.group not in TRIED:
        raise ValueError(
            f"'{name}' is no setting of the sorter: a trial sorts the traces of these results, with the same neurons "
            "in them. To try it, sort into another results folder"
        )
    if _is_ignored(place, sorter):
        raise ValueError(f"'{name}' is a setting that {sorter} does not have: {_that_it_has(sorter)}")


def _is_ignored(place: Place, sorter: str) -> bool:
    """Whether a sorter does not read a setting."""
    readers = {"sorter_path": ("kilosort2",)}.get(place.name, ("rt_sort",) if place.group == "rt_sort" else (sorter,))
    return sorter not in readers or (place.name == "use_docker" and sorter in WITHOUT_CONTAINER)


def _that_it_has(sorter: str) -> str:
    """Say which settings of a sorter can be tried."""
    names = [
        "sorter_params" if place.name == "sorter_params" else name
        for name, place in flat_names(SortingPipelineConfig).items()
        if place.group in TRIED and place.name != "sorter_name" and not _is_ignored(place, sorter)
    ]
    parameters = _parameters(sorter)
    rest = f", {len(parameters) - MOST_LISTED} more" if len(parameters) > MOST_LISTED else ""
    own = f"; parameters behind a dot of sorter_params: {', '.join(parameters[:MOST_LISTED])}{rest}"
    return f"it has {', '.join(names)}{own if parameters else ''}"


def _parameters(sorter: str) -> list[str]:
    """List the parameters of a sorter of SpikeInterface, as far as it is installed; none of others."""
    backend = get_backend_class(sorter)(SortingPipelineConfig().override(sorter_name=sorter))
    try:
        return list(backend.default_params()) if isinstance(backend, SpikeInterfaceBackend) else []
    except ImportError:
        return []


def _params(config: SortingPipelineConfig, setting: str) -> Any:
    """Return the dictionary of parameters that a keyword names; None for another keyword."""
    return {"rt_sort_params": config.rt_sort.params}.get(setting, config.sorter.sorter_params)


def _context(context: Context, config: SortingPipelineConfig) -> Context:
    return replace(context, config=config, backend=get_backend_class(config.sorter.sorter_name)(config))


def _tried(
    context: Context,
    choice: Mapping[str, Any],
    recording: StageResult[BinaryRecording],
    waveforms: StageResult[Waveforms],
) -> Trial:
    """Sort by some settings; the trial is kept, and loaded where it is made again."""
    words = ", ".join(f"{name} = {value}" for name, value in choice.items())
    logger.info("trial: %s", words or "the settings of the sort")
    try:
        numbers = range(context.config.validation.validation_rounds)
        found = [stages.round_stage(context, n, recording, waveforms, _name(choice, n)) for n in numbers]
    except Exception as error:
        from spikelab.spike_sorting.validation import CannotValidateError

        if isinstance(error, CannotValidateError):
            raise
        logger.warning("trial of %s: %s: %s", words, type(error).__name__, error)
        return Trial(dict(choice), error=f"{type(error).__name__}: {error}")
    return _trial(choice, [each.value for each in found], sum(each.usage.get("cpu_s", np.nan) for each in found))


def _name(choice: Mapping[str, Any], number: int) -> str:
    """Name the artifact of a trial."""
    digest = hashlib.blake2b(json.dumps(plain(dict(choice)), sort_keys=True).encode(), digest_size=4).hexdigest()
    return f"{STAGE}{digest}_{number}"


def _trial(choice: Mapping[str, Any], rounds: Sequence[Round], cpu_s: float) -> Trial:
    scores = np.concatenate([each.scores for each in rounds])
    accuracy, recall, precision = scores.mean(axis=0).tolist()
    return Trial(
        dict(choice), accuracy, recall, precision, len(scores), int(np.sum(scores[:, 0] >= FOUND)),
        float(np.mean([each.stability.mean() for each in rounds])), round(sum(each.n_new for each in rounds)),
        float(cpu_s),
    )  # fmt: skip
