"""What SpikeInterface is asked for when it measures our units, and what becomes of its answer."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import spikeinterface.core

from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
from spikelab.spike_sorting.config import WaveformConfig
from spikelab.spike_sorting.data import BinaryRecording, Waveforms
from spikelab.spike_sorting.waveforms import compute_waveforms
from spikelab.spike_sorting.waveforms.quality import compute_quality_metrics

Measured = tuple[BinaryRecording, Waveforms]


@pytest.fixture
def measured(make_binary: Callable[..., BinaryRecording], make_culture: Callable[..., Any]) -> Measured:
    counts, trains = make_culture(n_samples=20_000, n_units=2)
    binary = make_binary(counts, (12_000,))
    return binary, compute_waveforms(
        binary, trains, WaveformConfig(save_waveform_files=False), seed=1, n_jobs=1, total_memory="1G"
    )


class Analyzer:
    """Remembers what it is asked for, and answers the same to everybody."""

    recording = object()

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def compute(self, name: str, **kwargs: Any) -> None:
        warnings.warn("SpikeInterface is worried", RuntimeWarning, stacklevel=1)
        self.asked.append((name, kwargs))

    def get_extension(self, name: str) -> Analyzer:
        assert name == "quality_metrics"
        return self

    def get_data(self) -> pd.DataFrame:
        return pd.DataFrame({"snr": [5.0, np.nan], "num_spikes": [7, 8]}, index=np.array([3, 10]))


@pytest.fixture
def analyzer(monkeypatch: pytest.MonkeyPatch) -> Analyzer:
    made = Analyzer()

    def create(sorting: Any, recording: Any, **kwargs: Any) -> Analyzer:
        made.asked.append(("create", {"sorting": sorting, "recording": recording} | kwargs))
        return made

    def noise(recording: Any, **kwargs: Any) -> None:
        assert recording is made.recording
        made.asked.append(("noise", kwargs))

    monkeypatch.setattr(spikeinterface.core, "create_sorting_analyzer", create)
    monkeypatch.setattr(spikeinterface.core, "get_noise_levels", noise)
    return made


@pytest.mark.parametrize(
    ("given", "window", "seed", "n_jobs"),
    [
        ({}, {"ms_before": 2.0, "ms_after": 2.0}, 0, 1),
        ({"ms_before": 1.0, "ms_after": 1.5, "seed": 7, "n_jobs": 2}, {"ms_before": 1.0, "ms_after": 1.5}, 7, 2),
    ],
)
def test_windows_seeds_and_workers_are_handed_on(
    measured: Measured, analyzer: Analyzer, given: dict[str, Any], window: dict[str, float], seed: int, n_jobs: int
) -> None:
    job, alone = ({"n_jobs": n, "pool_engine": "thread", "progress_bar": False} for n in (n_jobs, 1))
    compute_quality_metrics(*measured, **given)
    (first, of_analyzer), *others = analyzer.asked
    assert first == "create"
    assert of_analyzer["job_kwargs"] == job
    assert others == [
        ("random_spikes", {"seed": seed} | job),
        ("templates", window | alone),  # sums hang on who finishes first
        ("noise_levels", {"random_slices_kwargs": {"seed": seed}} | alone),
        ("spike_amplitudes", job),
        ("spike_locations", job),
        ("noise", {"method": "std", "random_slices_kwargs": {"seed": seed}} | alone),
        ("quality_metrics", {"skip_pc_metrics": True, "periods": None, "seed": seed} | job),
    ]


def test_an_epoch_is_a_segment_and_neighbours_are_within_100_um(measured: Measured, analyzer: Analyzer) -> None:
    compute_quality_metrics(*measured)
    asked = analyzer.asked[0][1]
    assert [asked["recording"].get_num_samples(segment_index=k) for k in (0, 1)] == [12_000, 8_000]
    assert asked["sorting"].get_num_segments() == 2
    assert asked["sorting"].get_unit_ids().tolist() == [3, 10]
    assert asked["sorting"].count_total_num_spikes() == sum(map(len, measured[1].spikes))
    assert asked["main_channel_indices"] is measured[1].main_channels
    assert asked["sparsity_kwargs"] == {"method": "radius", "radius_um": 100.0}
    assert asked["format"] == "memory"


def test_the_answer_is_by_metric_and_unit_and_a_warning_is_a_line_of_the_log(
    measured: Measured, analyzer: Analyzer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    found = compute_quality_metrics(*measured)
    assert analyzer.asked
    assert repr(found) == "{'snr': {3: 5.0, 10: nan}, 'num_spikes': {3: 7.0, 10: 8.0}}"
    assert caplog.text.count("SpikeInterface is worried") == 1


def test_without_pandas_the_package_is_named(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(EnvironmentSortFailure, match=r'^si_quality_metrics needs the package pandas.*"pandas>='):
        compute_quality_metrics(*measured)
