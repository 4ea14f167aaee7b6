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
from spikelab.spike_sorting.data.validation import FOUND
from spikelab.spike_sorting.run.jobs import require_sorter
from spikelab.spike_sorting.settings.keywords import flat_names
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
    configs = [configured(job.config, choice) for choice in choices]
    for config in configs:
        validate_config(config)
        require_sorter(config)
    with opened(job) as (context, recorded, waveforms):
        trials = [
            _tried(context, config, choice, recorded, waveforms)
            for config, choice in zip(configs, choices, strict=True)
        ]
    return sorted(trials, key=lambda trial: (bool(trial.error), -np.nan_to_num(trial.accuracy)))


def configured(config: SortingPipelineConfig, choice: Mapping[str, Any]) -> SortingPipelineConfig:
    """Return a configuration with other settings; a name with a dot is an entry of a dictionary of parameters.

    Another sorter starts from its own defaults.
    """
    changes: dict[str, Any] = {}
    rest = {name: value for name, value in choice.items() if name not in SORTER}
    for name in rest:
        _require_of_sorter(name)
    sorter = choice.get("sorter", choice.get("sorter_name", config.sorter.sorter_name))
    if sorter != config.sorter.sorter_name:
        changes = {"sorter_name": sorter, "sorter_params": None}
    for name, value in rest.items():
        setting, dot, key = name.partition(".")
        changes[setting] = {**(changes.get(setting, _params(config, setting)) or {}), key: value} if dot else value
    return config.override(**changes)


def _require_of_sorter(name: str) -> None:
    """Raise ValueError for a setting that changes the traces, or nothing of the sort; unknown ones are told later."""
    place = flat_names(SortingPipelineConfig).get(name.partition(".")[0])
    if place is not None and place.group not in TRIED:
        raise ValueError(
            f"'{name}' is no setting of the sorter: a trial sorts the traces of these results, with the same neurons "
            "in them. To try it, sort into another results folder"
        )


def _params(config: SortingPipelineConfig, setting: str) -> Any:
    """Return the dictionary of parameters that a keyword names; None for another keyword."""
    return {"rt_sort_params": config.rt_sort.params}.get(setting, config.sorter.sorter_params)


def _tried(
    context: Context,
    config: SortingPipelineConfig,
    choice: Mapping[str, Any],
    recording: StageResult[BinaryRecording],
    waveforms: StageResult[Waveforms],
) -> Trial:
    """Sort by some settings; the trial is kept, and loaded where it is made again."""
    other = replace(context, config=config, backend=get_backend_class(config.sorter.sorter_name)(config))
    words = ", ".join(f"{name} = {value}" for name, value in choice.items())
    logger.info("trial: %s", words or "the settings of the sort")
    try:
        numbers = range(config.validation.validation_rounds)
        found = [stages.round_stage(other, n, recording, waveforms, _name(choice, n)) for n in numbers]
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
