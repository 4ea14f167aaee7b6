"""Where the words of a failure prove nothing alone, the look at the data decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spikelab.spike_sorting import _exceptions as errors
from spikelab.spike_sorting.failures.classifier import classify_failure
from spikelab.spike_sorting.recording.signal_checks import RecordingReport
from spikelab.spike_sorting.stages.diagnosis import diagnose

NOTHING = Path("folder-that-does-not-exist")
EMPTY = "Found array with 0 sample(s) (shape=(0, 61)) while a minimum of 1 is required by TruncatedSVD."
LAUNCH = "The CUDA error was: invalid configuration argument"


def report(noise: list[float], largest: float, flat: int = 0, saturated: int = 0) -> dict[str, Any]:
    names = tuple(map(str, range(len(noise))))
    made = RecordingReport(0.1, 0, largest, tuple(noise), names[:flat], names[flat : flat + saturated])
    return made.to_dict()


ACTIVE = report([5.0] * 8, 120.0)
SILENT = report([5.0] * 8, 27.0)


def meaning(sorter: str, text: str, seen: dict[str, Any]) -> Exception | None:
    error = RuntimeError(text)
    return diagnose(classify_failure(sorter, NOTHING, error), sorter, NOTHING, error, seen)


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (ACTIVE, errors.InsufficientActivityError),
        (SILENT, errors.InsufficientActivityError),
        (report([0.0] * 7 + [5.0], 60.0, flat=4, saturated=3), errors.SaturatedSignalError),
        (report([0.0] * 8, 60.0, saturated=8), errors.SaturatedSignalError),
        (report([0.0] * 4 + [5.0] * 4, 60.0, flat=4), errors.InsufficientActivityError),
        (report([0.001] * 8, 0.5), ValueError),
        (report([5000.0] * 8, 40_000.0), ValueError),
        ({}, errors.InsufficientActivityError),
        ({"noise_uv": "x", "max_abs_uv": 1}, errors.InsufficientActivityError),
    ],
)
def test_the_same_words_mean_what_was_seen(seen: dict[str, Any], kind: type[Exception]) -> None:
    found = meaning("kilosort4", EMPTY, seen)
    assert type(found) is kind
    if kind is ValueError:
        assert "gain_to_uv" in str(found)
    if isinstance(found, errors.SaturatedSignalError):
        assert found.total_channels == 8
        assert found.channels_saturated in (7, 8)


@pytest.mark.parametrize(
    ("sorter", "text"),
    [("kilosort2", LAUNCH), ("kilosort4", "linalg.svd: failed because the input matrix contained non-finite values.")],
)
def test_words_that_prove_nothing_need_a_silent_recording(sorter: str, text: str) -> None:
    assert meaning(sorter, text, ACTIVE) is None
    assert isinstance(meaning(sorter, text, SILENT), errors.InsufficientActivityError)
    assert isinstance(meaning(sorter, text, report([0.001] * 8, 0.5)), ValueError)


@pytest.mark.parametrize("text", ["CUDA out of memory", "Cannot connect to the Docker daemon at unix:///x"])
def test_what_the_machine_lacks_is_not_the_recordings_fault(text: str) -> None:
    dead = report([0.0] * 8, 0.0, flat=8)
    assert type(meaning("kilosort4", text, dead)) is type(meaning("kilosort4", text, ACTIVE))
    assert not isinstance(meaning("kilosort4", text, dead), errors.BiologicalSortFailure)


def test_an_error_that_nobody_knows_stays_one() -> None:
    assert meaning("kilosort4", "it broke", report([0.0] * 8, 0.0, flat=8)) is None
