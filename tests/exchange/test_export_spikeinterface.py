"""Sorting and SortingAnalyzer as SpikeInterface loads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import spikeinterface

from spikelab import SpikeData
from spikelab.spike_sorting import export_results
from spikelab.spike_sorting.run.results import TracesUnavailableError


def days(results: Path) -> list[SpikeData]:
    return SpikeData.load(results / "sorted_spikedata_curated.npz").split_epochs()


def test_a_sorting_has_one_segment_per_epoch(results: Path, tmp_path: Path) -> None:
    folder = export_results(results, "si")
    shutil.move(folder, tmp_path / "elsewhere")
    shutil.rmtree(results)
    sorting = spikeinterface.load(tmp_path / "elsewhere")
    assert sorting.get_num_segments() == 2
    assert sorting.sampling_frequency == 20_000


def test_its_spikes_and_properties_are_ours(results: Path) -> None:
    sorting = spikeinterface.load(export_results(results, "si"))
    for segment, day in enumerate(days(results)):
        assert sorting.unit_ids.tolist() == day.unit_ids
        for unit, values in zip(sorting.unit_ids, day.neuron_attributes, strict=True):
            ours = sorting.get_unit_spike_train(unit, segment_index=segment)
            np.testing.assert_array_equal(ours, values["spike_train_samples"])
    whole = SpikeData.load(results / "sorted_spikedata_curated.npz").neuron_attributes
    assert sorting.get_property("main_channel_id").tolist() == [unit["channel_id"] for unit in whole]
    np.testing.assert_allclose(sorting.get_property("snr"), [unit["snr"] for unit in whole])


def test_an_analyzer_is_moved_with_its_traces(results: Path, tmp_path: Path) -> None:
    folder = export_results(results, "analyzer")
    whole = SpikeData.load(results / "sorted_spikedata_curated.npz")
    shutil.move(folder, tmp_path / "elsewhere")
    shutil.rmtree(results.parent)
    analyzer = spikeinterface.load_sorting_analyzer(tmp_path / "elsewhere" / "analyzer")
    assert analyzer.has_recording()
    assert analyzer.get_num_segments() == 2
    assert np.abs(analyzer.recording.get_traces(segment_index=1, return_in_uV=True)).max() > 100
    templates = analyzer.get_extension("templates").get_templates()
    for template, unit in zip(templates, whole.neuron_attributes, strict=True):
        assert template.shape[0] == len(unit["template_full"])
        theirs = template[:, unit["channel"]]
        assert theirs.argmin() == whole.metadata["template_full_peak_ind"]
        # Microvolts, and an average over the same spikes, but those at the edges.
        np.testing.assert_allclose(theirs, unit["template_full"][:, unit["channel"]], atol=2.0)


def test_an_analyzer_cannot_be_without_traces(copied: Callable[..., Path]) -> None:
    results = copied(traces=False, recording=False)
    with pytest.raises(TracesUnavailableError, match="there is no recording at"):
        export_results(results, "analyzer")
    with pytest.raises(ValueError, match="cannot be without traces"):
        export_results(results, "analyzer", traces=False)
    assert not (results / "export" / "analyzer").exists()
