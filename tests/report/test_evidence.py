"""Evidence on units: what is packed can be read again, what is thinned keeps its outliers, and what the words say."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gallery import Case, make_case, measured, record_of
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.report import write_report
from spikelab.spike_sorting.report.evidence import EvidenceSource, embedded, evidence_of, packing
from spikelab.spike_sorting.report.evidence.embedding import doubtful_pairs
from spikelab.spike_sorting.report.evidence.similar import Shape, _similarity, similar_units
from spikelab.spike_sorting.report.evidence.thinning import n_stretches, thinned
from spikelab.spike_sorting.report.evidence.unit import _latencies
from spikelab.spikedata._alike import best_lag

CONFIG = SortingPipelineConfig()


def source_of(case: Case) -> EvidenceSource:
    return EvidenceSource(case.units, case.outcome, CONFIG.curation, measured(case))


@pytest.fixture(scope="module")
def source() -> EvidenceSource:
    return source_of(make_case(seconds=20.0, epochs=2))


def unpacked(packed: dict[str, Any]) -> np.ndarray:
    """What the page makes of a packed array."""
    data = base64.b64decode(packed["d"])
    if packed["t"] != "steps":
        return packed["o"] + packed["k"] * np.frombuffer(data, dtype={"u1": "u1", "i1": "i1", "i2": "<i2"}[packed["t"]])
    values, step, shift = [], 0, 0
    for byte in data:
        step |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append((values[-1] if values else 0) + step)
            step, shift = 0, 0
    return np.array(values)


def test_packed_arrays_are_read_as_they_were() -> None:
    frames = np.array([0, 0, 5, 132, 20_000, 20_001, 2**40])
    np.testing.assert_array_equal(unpacked(packing.ascending(frames)), frames)
    assert len(unpacked(packing.ascending([]))) == 0
    values = np.random.default_rng(0).normal(0, 100, 50)
    np.testing.assert_allclose(unpacked(packing.in_tenths(values)), values, atol=0.051)
    np.testing.assert_allclose(unpacked(packing.in_bytes(values)), values, atol=np.ptp(values) / 500)
    np.testing.assert_allclose(unpacked(packing.signed_bytes(values)), values, atol=np.abs(values).max() / 250)
    assert unpacked(packing.in_bytes([np.nan, np.nan])).tolist() == [0, 0]
    np.testing.assert_allclose(unpacked(packing.in_tenths([9000.0, -3.0])), [9000, -3], atol=0.3)


def test_thinned_spikes_keep_the_extremes_of_every_stretch() -> None:
    rng = np.random.default_rng(1)
    frames, values = np.sort(rng.integers(0, 100_000, 5000)), rng.normal(-50, 5, 5000)
    values[1234], values[4000] = -400.0, 30.0
    shown = thinned(frames, [values], 100_000, 400)
    assert len(shown) == 400
    assert (np.diff(shown) > 0).all()
    edges = np.linspace(0, 100_000, n_stretches(400, 1) + 1)
    for low, high in pairwise(edges):
        inside, drawn = (frames >= low) & (frames < high), (frames[shown] >= low) & (frames[shown] < high)
        assert values[shown][drawn].min() == values[inside].min()
        assert values[shown][drawn].max() == values[inside].max()
    halves = [(frames[shown] < 50_000).sum(), (frames < 50_000).sum() * 400 / 5000]
    assert abs(halves[0] - halves[1]) < 40  # as dense as the train
    assert thinned(frames[:300], [values[:300]], 100_000, 400).tolist() == list(range(300))


def test_everything_of_a_unit_is_that_of_its_spikes(source: EvidenceSource) -> None:
    found = evidence_of(source, 3)
    frames = source.frames[3]
    spikes = found.spikes
    assert spikes is not None
    assert (found.n_spikes, spikes["n"], spikes["drawn"]) == (len(frames), len(frames), len(frames))
    np.testing.assert_array_equal(unpacked(spikes["frames"]), frames)
    own = source.measured.amplitudes[source.measured.spikes_of(3)]
    np.testing.assert_allclose(unpacked(spikes["amplitude"]), own, atol=0.051)
    gaps = np.diff(frames)[np.diff(frames >= 200_000) == 0]  # none across the boundary of the epochs
    assert sum(found.isi["counts"]) == len(gaps)
    assert max(np.abs(found.footprint["latency_ms"][:1])) == 0
    assert found.footprint["channels"][0] == found.channel
    waves = unpacked(found.footprint["waves"]).reshape(len(found.footprint["channels"]), -1)
    template = source.units.unit_attributes[3]["template_full"]
    assert waves[0, found.footprint["peak"]] == pytest.approx(template[40, found.channel], abs=2)
    row = source.metrics[3]
    assert found.kept == row["passed"]


def test_why_names_every_threshold_that_is_missed() -> None:
    case = make_case(seconds=20.0, change=lambda unit: {**unit, "snr": 2.0, "std_norm": 3.0})
    found = evidence_of(source_of(case), 0)
    assert not found.kept
    assert [why.split(":")[0] for why in found.why if "asked for" in why][-2:] == ["SNR", "STD / amplitude"]
    assert "SNR: 2, where at least 5 is asked for." in found.why


def test_a_unit_made_of_others_is_measured_like_one(source: EvidenceSource) -> None:
    spikes = np.concatenate([np.arange(*source.offsets[[2, 3]]), np.arange(*source.offsets[[5, 6]])])
    found = evidence_of(source, 99, spikes, attributes={"merged_from": [2, 5], "label": "good"})
    assert found.n_spikes == len(source.frames[2]) + len(source.frames[5])
    np.testing.assert_array_equal(
        unpacked(found.spikes["frames"]), np.sort(np.concatenate([source.frames[2], source.frames[5]]))
    )
    assert found.kept is None
    assert found.attributes == {"merged_from": [2, 5], "label": "good"}
    assert not {2, 5} & {other["id"] for other in found.similar}
    whole = evidence_of(source, 98, np.arange(*source.offsets[[2, 3]]))
    same = evidence_of(source, 2)
    assert (whole.acg, whole.isi, whole.mean, whole.spikes) == (same.acg, same.isi, same.mean, same.spikes)
    with pytest.raises(ValueError, match="at least one"):
        evidence_of(source, 99, [])


def test_two_halves_of_a_neuron_are_called_one_and_neighbours_two() -> None:
    rng = np.random.default_rng(2)
    whole = np.cumsum(rng.integers(60, 400, 6000))  # 3 to 20 ms apart
    half = rng.random(6000) < 0.5
    other = np.sort(rng.integers(0, whole[-1], 3000))
    case = make_case(n_units=3, seconds=float(whole[-1] / 20_000 + 1))
    base = case.units.unit_attributes[0]
    units = [
        {**base, "unit_id": unit, "spike_train_samples": frames}
        for unit, frames in enumerate([whole[half], whole[~half], other])
    ]
    found = source_of(
        Case("", case.units.replace(train=[u["spike_train_samples"] / 20 for u in units], neuron_attributes=units),
             case.outcome, case.recording)
    )  # fmt: skip
    judged = {entry["id"]: entry for entry in evidence_of(found, 0).similar}
    assert (judged[1]["verdict"], judged[2]["verdict"]) == ("one neuron", "two neurons")
    assert judged[1]["similarity"] == pytest.approx(1.0)
    every = [replace(evidence_of(found, unit), kept=True) for unit in (0, 1, 2)]
    assert [(pair["ids"], pair["verdict"]) for pair in doubtful_pairs(every)] == [([0, 1], "one neuron")]
    assert doubtful_pairs([replace(evidence, kept=evidence.id != 1) for evidence in every]) == []
    middle = judged[1]["ccg"][len(judged[1]["ccg"]) // 2 - 4 : len(judged[1]["ccg"]) // 2 + 4]
    assert sum(middle) == 0


def test_a_unit_that_holds_the_spikes_of_another_one_is_not_called_the_same() -> None:
    rng = np.random.default_rng(0)
    inside = np.arange(40) * 9_000 + 1_000
    others = np.sort(rng.choice(np.arange(2_000, 360_000, 90), 87, replace=False))
    case = make_case(n_units=2, seconds=20.0)
    base = case.units.unit_attributes[0]
    full = np.asarray(base["template_full"])
    units = [
        {**base, "unit_id": unit, "spike_train_samples": frames, "snr": snr, "template_full": full * snr / 13}
        for unit, (frames, snr) in enumerate([(inside, 13.0), (np.sort(np.append(inside, others)), 4.8)])
    ]
    case = Case(
        "", case.units.replace(train=[u["spike_train_samples"] / 20 for u in units], neuron_attributes=units),
        case.outcome, case.recording,
    )  # fmt: skip
    (pair,) = evidence_of(source_of(case), 0).similar
    assert pair["verdict"] == "two neurons"
    assert pair["reasons"][0][1].startswith("40 of the 40 spikes of the smaller unit come with one of the other")
    assert "whose other spikes look otherwise" in pair["reasons"][0][1]


def test_similarity_is_that_of_the_merge_of_duplicates() -> None:
    rng = np.random.default_rng(0)
    places, a = np.column_stack([np.arange(6) * 20.0, np.zeros(6)]), rng.normal(size=(40, 6))
    b = np.roll(a, -3, axis=0)
    shapes = [Shape(np.array([1]), wave, np.abs(wave).max(axis=0), 1) for wave in (a, b)]
    assert _similarity(places, *shapes) == pytest.approx(best_lag(a, b, 10))
    assert np.isnan(_similarity(places, shapes[0], Shape(np.array([1]), 0 * a, a[0], 1))[0])


def test_units_of_other_groups_are_never_similar(source: EvidenceSource) -> None:
    unit = source.units.unit_attributes[0]
    own = Shape(
        source.frames[0], np.asarray(unit["template_full"], float), source.amplitudes[0], unit["channel"], "shank 2"
    )
    assert similar_units(source, own, range(1, 12)) == []


def test_latencies_are_told_between_samples() -> None:
    t = np.arange(60)[:, None]
    waves = -np.exp(-(((t - np.array([30.0, 32.3, 35.5])) / 3) ** 2)) * np.array([100, 50, 20])
    np.testing.assert_allclose(_latencies(waves), [0, 2.3, 5.5], atol=0.05)
    np.testing.assert_allclose(_latencies(-waves), [0, 2.3, 5.5], atol=0.05)


def test_what_is_embedded_is_json_without_gaps_and_the_same_each_time(source: EvidenceSource) -> None:
    text = embedded(source)
    lines = gzip.decompress(base64.b64decode(text)).decode().split("\n")
    about = json.loads(lines[0])
    assert [json.loads(line)["id"] for line in lines[1:]] == about["unit_ids"] == source.units.unit_ids
    assert {len(metric["values"]) for metric in about["metrics"]} == {12}
    assert len(about["epochs"]) == 2
    first, last = 20_000, 20_400
    expected = [[unit, (f[(f >= first) & (f < last)] - first).tolist()] for unit, f in enumerate(source.frames)]
    assert about["traces"]["spikes"] == [entry for entry in expected if entry[1]]
    assert embedded(source) == text


@pytest.mark.slow
@pytest.mark.parametrize(("n_units", "n_channels", "most_mb"), [(200, 256, 5.0), (1000, 1000, 12.0)])
def test_page_of_many_units_is_small(tmp_path: Path, n_units: int, n_channels: int, most_mb: float) -> None:
    side = int(np.ceil(np.sqrt(n_channels)))
    y, x = np.mgrid[:side, :side]
    case = make_case("big", n_units, np.column_stack([x.ravel(), y.ravel()])[:n_channels] * 17.5, 600.0)
    shown = case.shown
    shown.evidence = measured(case)
    write_report(tmp_path, record_of(case), CONFIG, shown)
    assert (tmp_path / "report.html").stat().st_size < most_mb * 1e6
