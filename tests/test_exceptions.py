"""Classified errors: the published constructors, survival of pickling, and the batch error."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spikelab.spike_sorting import _exceptions
from spikelab.spike_sorting._exceptions import (
    BiologicalSortFailure,
    ConcurrentSortError,
    DiskExhaustionError,
    DockerEnvironmentError,
    EmptyWaveformMetricsError,
    EnvironmentSortFailure,
    FolderUnusableError,
    GPUOutOfMemoryError,
    GPUUnavailableError,
    HDF5PluginMissingError,
    HostOutOfMemoryError,
    InsufficientActivityError,
    ModelLoadingError,
    NoGoodChannelsError,
    ResourceSortFailure,
    SaturatedSignalError,
    SortBatchError,
    SorterNotInstalledError,
    SorterTimeoutError,
    SpikeSortingClassifiedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = Path("run") / "sorter.log"
EXAMPLES: dict[type[Exception], dict[str, Any]] = {
    InsufficientActivityError: {
        "sorter": "kilosort2",
        "threshold_crossings": 12,
        "units_at_failure": 3,
        "nspks_at_failure": 2.5,
        "log_path": LOG,
    },
    NoGoodChannelsError: {"sorter": "kilosort2", "total_channels": 64, "bad_channels": 64, "log_path": LOG},
    SaturatedSignalError: {"channels_saturated": 64, "total_channels": 64},
    EmptyWaveformMetricsError: {"metric_name": "snr"},
    HDF5PluginMissingError: {"configured_path": "/plugins"},
    DockerEnvironmentError: {"reason": "daemon_down"},
    ModelLoadingError: {"sorter": "rt_sort", "model_path": Path("model")},
    GPUUnavailableError: {"sorter": "kilosort4", "device": "cuda:3", "log_path": LOG},
    SorterNotInstalledError: {"sorter": "kilosort2", "log_path": LOG},
    FolderUnusableError: {"unusable": Path("out")},
    ConcurrentSortError: {"folder": Path("inter"), "pid": 17, "host": "here"},
    GPUOutOfMemoryError: {"sorter": "kilosort4", "log_path": LOG},
    HostOutOfMemoryError: {"sorter": "kilosort4", "log_path": LOG},
    DiskExhaustionError: {
        "sorter": "kilosort4",
        "path": Path("inter"),
        "required_bytes": 10,
        "free_bytes": 1,
        "log_path": LOG,
    },
    SorterTimeoutError: {"sorter": "kilosort4", "timeout_s": 60.0, "log_path": LOG},
}
CATEGORIES = (SpikeSortingClassifiedError, BiologicalSortFailure, EnvironmentSortFailure, ResourceSortFailure)


def defined_classes() -> set[type]:
    return {
        value
        for value in vars(_exceptions).values()
        if isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == _exceptions.__name__
    }


def test_the_examples_cover_every_class() -> None:
    assert defined_classes() == {*EXAMPLES, *CATEGORIES, SortBatchError}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_each_class_stores_every_keyword(kind: type[Exception]) -> None:
    error = kind("what happened", **EXAMPLES[kind])
    assert str(error) == "what happened"
    assert vars(error) == EXAMPLES[kind]
    message, *keywords = inspect.signature(kind).parameters.values()
    assert message.name == "message"
    assert {keyword.name for keyword in keywords} == set(EXAMPLES[kind])
    assert all(keyword.kind is keyword.KEYWORD_ONLY for keyword in keywords)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_each_specific_class_has_exactly_one_category(kind: type[Exception]) -> None:
    assert sum(issubclass(kind, category) for category in CATEGORIES[1:]) == 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", EXAMPLES)
def test_each_class_survives_pickling(kind: type[Exception], protocol: int) -> None:
    error = kind("what happened", **EXAMPLES[kind])
    error.add_note("seen before")
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is kind
    assert back.args == ("what happened",)
    assert vars(back) == EXAMPLES[kind] | {"__notes__": ["seen before"]}


@pytest.mark.parametrize("kind", CATEGORIES)
def test_the_categories_survive_pickling(kind: type[Exception]) -> None:
    back = pickle.loads(pickle.dumps(kind("what happened")))
    assert (type(back), back.args) == (kind, ("what happened",))


def test_a_missing_metric_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match="no waveforms"):
        raise EmptyWaveformMetricsError("no waveforms")


def test_the_module_docstring_draws_every_class() -> None:
    assert _exceptions.__doc__ is not None
    assert [kind.__name__ for kind in defined_classes() if kind.__name__ not in _exceptions.__doc__] == []


@pytest.fixture
def batch() -> SortBatchError:
    silent = InsufficientActivityError("silent", sorter="kilosort4")
    missing = FileNotFoundError("missing.h5")
    return SortBatchError(
        "2 of 4 recordings failed",
        [silent, missing],
        results=["sorted", None, None, None],
        failures=[("a.h5", silent), ("missing.h5", missing)],
        not_attempted=["d.h5"],
    )


def test_a_batch_error_is_a_classified_error_and_a_group(batch: SortBatchError) -> None:
    assert isinstance(batch, SpikeSortingClassifiedError)
    assert isinstance(batch, ExceptionGroup)
    with pytest.raises(SpikeSortingClassifiedError) as caught:
        raise batch
    assert caught.value is batch


def test_except_star_sorts_the_failures_and_keeps_the_attributes(batch: SortBatchError) -> None:
    caught: dict[str, ExceptionGroup[Exception]] = {}
    try:
        raise batch
    except* BiologicalSortFailure as biology:
        caught["biology"] = biology
    except* FileNotFoundError as missing:
        caught["missing"] = missing
    assert [str(error) for error in caught["biology"].exceptions] == ["silent"]
    assert [str(error) for error in caught["missing"].exceptions] == ["missing.h5"]
    for group in caught.values():
        assert isinstance(group, SortBatchError)
        assert vars(group) == vars(batch)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_batch_error_survives_copying_and_pickling(
    batch: SortBatchError, duplicate: Callable[[SortBatchError], SortBatchError]
) -> None:
    back = duplicate(batch)
    assert type(back) is SortBatchError
    assert back.message == batch.message
    assert back.results == batch.results
    assert back.not_attempted == batch.not_attempted
    assert [source for source, _ in back.failures] == ["a.h5", "missing.h5"]
    assert tuple(error for _, error in back.failures) == back.exceptions
    assert vars(back.exceptions[0]) == vars(batch.exceptions[0])


def test_the_results_of_a_multi_stream_sort_are_by_stream() -> None:
    error = ValueError("no such well")
    batch = SortBatchError("1 failed", [error], results={"well000": None}, failures=[("well000", error)])
    assert batch.results == {"well000": None}
    assert batch.not_attempted == []
