"""The folder as phylib, the library under Phy, reads it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from phylib.io.model import load_model

from spikelab import SpikeData
from spikelab.spike_sorting import export_results, sort_recording
from spikelab.spike_sorting.exchange.formats.phy import _write_tables
from spikelab.spike_sorting.run.results import Results, TracesUnavailableError


@pytest.fixture
def open_phy() -> Any:
    models = []

    def load(folder: Path) -> Any:
        models.append(load_model(folder / "params.py"))
        return models[-1]

    yield load
    for model in models:
        model.close()


def curated(results: Path) -> SpikeData:
    return SpikeData.load(results / "sorted_spikedata_curated.npz")


def test_phy_sees_our_units(results: Path, open_phy: Callable[[Path], Any]) -> None:
    folder = export_results(results, "phy")
    assert folder == results / "export" / "phy"
    sd, model = curated(results), open_phy(folder)
    assert sd.N >= 3
    assert model.sample_rate == sd.metadata["fs_Hz"]
    np.testing.assert_array_equal(model.channel_positions, sd.metadata["channel_locations"])
    assert [model.metadata["unit_id"][i] for i in range(sd.N)] == sd.unit_ids
    for i, unit in enumerate(sd.neuron_attributes):
        np.testing.assert_array_equal(model.spike_samples[model.spike_clusters == i], unit["spike_train_samples"])
        template = model.get_template(i)
        assert template.best_channel == unit["channel"]
        np.testing.assert_allclose(template.template[:, 0], unit["template_full"][:, unit["channel"]])
        assert model.metadata["group"][i] == "good"
        assert model.metadata["snr"][i] == pytest.approx(unit["snr"], rel=1e-4)


def test_traces_are_those_that_were_sorted(results: Path, open_phy: Callable[[Path], Any]) -> None:
    model = open_phy(export_results(results, "phy"))
    recording = Results.open(results).recording
    assert model.traces.shape == (recording.n_samples, recording.n_channels)
    np.testing.assert_array_equal(model.traces[1000:1100], recording.counts[1000:1100])
    unit = curated(results).neuron_attributes[0]
    spikes = np.flatnonzero(model.spike_clusters == 0)
    waveforms = model.get_waveforms(spikes, np.array([unit["channel"]]))[:, :, 0] * recording.gain_uv
    np.testing.assert_allclose(waveforms.mean(axis=0), unit["template_full"][:, unit["channel"]], atol=0.5)


def test_amplitudes_and_features_are_of_single_spikes(results: Path, open_phy: Callable[[Path], Any]) -> None:
    model = open_phy(export_results(results, "phy"))
    recording, sd = Results.open(results).recording, curated(results)
    for i, unit in enumerate(sd.neuron_attributes):
        own = model.spike_clusters == i
        measured = recording.read_uv(0, recording.n_samples)[unit["spike_train_samples"], unit["channel"]]
        peak = unit["template_full"][sd.metadata["template_full_peak_ind"], unit["channel"]]
        np.testing.assert_allclose(model.amplitudes[own], measured / peak, rtol=1e-5)
        features = model.get_features(np.flatnonzero(own), np.array([unit["channel"]]))
        # The first component follows the amplitude, and is largest on the main channel.
        assert abs(np.corrcoef(features[:, 0, 0], measured)[0, 1]) > 0.5
        everywhere = model.get_features(np.flatnonzero(own), np.arange(recording.n_channels))
        assert np.nanargmax(np.abs(np.nanmean(everywhere[:, :, 0], axis=0))) == unit["channel"]


def test_all_units_are_told_apart_by_their_group(results: Path, open_phy: Callable[[Path], Any]) -> None:
    rows = Results.open(results).curation.unit_metrics
    assert any(not row["passed"] for row in rows)
    model = open_phy(export_results(results, "phy", units="all"))
    groups = [model.metadata["group"][i] for i in range(len(rows))]
    assert groups == ["good" if row["passed"] else "unsorted" for row in rows]
    failed = groups.index("unsorted")
    assert model.metadata["failed_criterion"][failed] == rows[failed]["failed_criterion"]


def test_the_folder_can_be_moved_and_the_intermediate_one_deleted(
    results: Path, tmp_path: Path, open_phy: Callable[[Path], Any]
) -> None:
    folder = export_results(results, "phy")
    assert "/" not in (folder / "params.py").read_text()
    counts = np.array(Results.open(results).recording.counts)
    shutil.move(folder, tmp_path / "elsewhere")
    shutil.rmtree(results.parent)
    np.testing.assert_array_equal(open_phy(tmp_path / "elsewhere").traces[:], counts)


def test_traces_that_were_deleted_are_filtered_again(
    copied: Callable[..., Path], sorted_days: Path, open_phy: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    results = copied(traces=False)
    assert Results.open(results).traces is None
    folder = export_results(results, "phy")
    original = sorted_days / "out" / "intermediate" / "recording" / "traces.dat"
    assert (folder / "traces.dat").read_bytes() == original.read_bytes()
    assert "written again" in caplog.text
    assert "differ" not in caplog.text
    assert len(open_phy(folder).get_features([0, 1], np.arange(2)))


def test_without_any_traces_it_says_so_and_offers_the_rest(
    copied: Callable[..., Path], open_phy: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    results = copied(traces=False, recording=False)
    folder = export_results(results, "phy")
    assert "there is no recording at" in caplog.text
    assert "the export has no traces" in caplog.text
    model = open_phy(folder)
    assert model.traces is None
    assert model.n_templates == curated(results).N
    assert set(model.amplitudes) == {1.0}
    with pytest.raises(TracesUnavailableError, match="there is no recording at"):
        export_results(results, "phy", traces=True, overwrite=True)
    assert (folder / "params.py").exists()  # what failed replaced nothing


def test_a_recording_that_was_moved_is_named_and_another_one_refused(
    copied: Callable[..., Path], tmp_path: Path
) -> None:
    results = copied(traces=False)
    shutil.move(results.parent / "days", tmp_path / "away")
    export_results(results, "phy", recording=tmp_path / "away", traces=True)
    other = tmp_path / "away" / "day0"
    with pytest.raises(TracesUnavailableError, match="not the recording that was sorted"):
        export_results(results, "phy", tmp_path / "x", recording=other, traces=True)


def test_one_unit_opens_as_well(saved: Callable[..., Path], tmp_path: Path, open_phy: Callable[[Path], Any]) -> None:
    for n_channels in (1, 4):
        out = tmp_path / f"out{n_channels}"
        recording = saved(f"one{n_channels}", n_units=1, n_channels=n_channels, duration_s=3.0)
        (sd,) = sort_recording([recording], sorter="threshold", results_folders=[out], spikes_min_second=5)
        assert sd.N == 1
        model = open_phy(export_results(out, "phy"))
        assert set(model.spike_clusters) == {0}
        assert model.get_template(0).best_channel == 0
        assert model.get_features([0, 1], np.array([0])).shape == (2, 1, 3)
        model.describe()


def test_asymmetric_windows_keep_the_spike_in_the_middle(
    saved: Callable[..., Path], tmp_path: Path, open_phy: Callable[[Path], Any]
) -> None:
    out = tmp_path / "out"
    settings = {"waveforms_ms_before": 1.0, "compiled_waveforms_ms_before": 1.0, "waveforms_ms_after": 3.0}
    sort_recording([saved(duration_s=3.0)], sorter="threshold", results_folders=[out], spikes_min_second=5, **settings)
    model = open_phy(export_results(out, "phy"))
    template = model.get_template(0).template
    assert template.shape[0] == 41
    assert np.abs(template[:, 0]).argmax() == 20


def test_no_units_are_refused(saved: Callable[..., Path], tmp_path: Path) -> None:
    sort_recording([saved(duration_s=3.0)], sorter="threshold", results_folders=[tmp_path / "out"], snr_min=1000)
    with pytest.raises(ValueError, match="0 spikes"):
        export_results(tmp_path / "out", "phy")
    assert not (tmp_path / "out" / "export" / "phy").exists()


def test_names_of_attributes_that_lead_elsewhere_are_no_columns_and_formulas_are_text(tmp_path: Path) -> None:
    folder = tmp_path / "phy"
    folder.mkdir()
    columns = {"../outside": [1, 2], "snr": [5.0, -1.0], "channel_id": ["=A1", "-3"]}
    handoff = SimpleNamespace(
        trains=SimpleNamespace(unit_ids=np.array([4, 7])), metrics={}, columns=lambda: dict(columns)
    )
    _write_tables(handoff, folder)  # type: ignore[arg-type]  # all that is read of one
    assert [path.name for path in tmp_path.iterdir()] == ["phy"]
    assert sorted(path.name for path in folder.iterdir()) == [
        f"cluster_{name}.tsv" for name in ("channel_id", "group", "snr", "unit_id")
    ]
    assert (folder / "cluster_channel_id.tsv").read_text() == "cluster_id\tchannel_id\n0\t'=A1\n1\t-3\n"
    assert (folder / "cluster_snr.tsv").read_text() == "cluster_id\tsnr\n0\t5\n1\t-1\n"
