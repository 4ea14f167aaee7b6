"""Recordings of the benchmarks are what their recipes say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.rt_sort_disturbances import Disturbances
from benchmarks.rt_sort_footprints import Measured, generated_bank
from benchmarks.rt_sort_movement import Drift, Lives
from benchmarks.rt_sort_noise import add_noise, band_pass
from benchmarks.rt_sort_recipes import RECIPES, Amplifier, Crowd, Movement, Network, Recipe
from benchmarks.rt_sort_recordings import load_facts, load_recording, load_small, load_truth, make
from benchmarks.rt_sort_scenes import Scene, assembled
from scipy.signal import fftconvolve

TINY = Recipe("tiny", 4, 4, units=4, seconds=2.0, pitch_um=(30.0, 30.0), rates_hz=(5.0, 10.0), axons=0.0, coloured=0.0)


@pytest.fixture(scope="module")
def bank() -> list[Measured]:
    return generated_bank(4)


def scene(bank: list[Measured], seed: int = 1, **changes: object) -> Scene:
    return assembled(replace(TINY, **changes), seed, bank)


def test_names_are_unique_and_said() -> None:
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe.frames == recipe.seconds * recipe.fs


def test_a_key_holds_only_what_is_not_as_always() -> None:
    """So a new part leaves the recordings that do without it as they are."""
    assert not {"movement", "crowd", "network", "amplifier"} & set(RECIPES["hard"].key())
    assert RECIPES["stim"].key()["amplifier"]["pulses"] == 30


def test_warm_ups_are_short() -> None:
    for recipe in RECIPES.values():
        assert recipe.warm_up.seconds == 10
        assert recipe.warm_up.units <= max(5, recipe.units // 5)
        assert recipe.warm_up.amplifier.pulses <= 3


def test_drift_leaves_everything_else_alone(bank: list[Measured]) -> None:
    still, moving = scene(bank, probe="neuropixels"), scene(bank, probe="neuropixels", drift_um=10.0)
    for one, other in zip(still.trains, moving.trains, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(still.traces[0:1000], moving.traces[0:1000])


@pytest.mark.parametrize(
    ("kind", "way"), [("ramp", (-5.0, -2.5, 0.0, 2.5, 5.0)), ("step", (-5.0, -5.0, 0.0, 5.0, 5.0))]
)
def test_drift_goes_its_way(kind: str, way: tuple[float, ...]) -> None:
    recipe = replace(TINY, probe="neuropixels", drift_um=10.0, movement=Movement(kind), seconds=100.0)
    drift = Drift(recipe, np.random.default_rng(0))
    places = drift.offsets[drift.step(np.array([0.0, 25.0, 50.0, 75.0, 100.0]), 0.0)]
    np.testing.assert_allclose(places, np.column_stack([np.zeros(5), way]), atol=0.3)


def test_non_rigid_drift_is_less_at_the_far_end() -> None:
    recipe = replace(TINY, probe="neuropixels", drift_um=10.0, movement=Movement("ramp", non_rigid=0.8))
    drift = Drift(recipe, np.random.default_rng(0))
    near, far = (np.ptp(drift.offsets[drift.step(np.array([0.0, 2.0]), depth), 1]) for depth in (0.0, 90.0))
    assert near == pytest.approx(10.0)
    assert far == pytest.approx(2.0)


def test_units_appear_vanish_and_grow() -> None:
    recipe = replace(TINY, units=10, crowd=Crowd(appear=0.3, vanish=0.2), movement=Movement(growth=4.0))
    lives, times = Lives(recipe, np.random.default_rng(0)), np.array([0.0, 1.0, 2.0])
    alive = np.array([lives.alive(unit, times) for unit in range(10)])
    assert (~alive[:, 0]).sum() == 3
    assert (~alive[:, 2]).sum() == 2
    gains = np.array([lives.gain(unit, times) for unit in range(10)])
    np.testing.assert_allclose(gains[:, 1], 1.0)
    assert set(np.round(gains[:, 2] / gains[:, 0], 6)) == {0.25, 4.0}


def test_positive_units_have_their_peak_where_their_frame_is(bank: list[Measured]) -> None:
    made = scene(bank, crowd=Crowd(positive=0.5))
    assert [fact["positive"] for fact in made.facts].count(True) == 2
    for template, fact in zip(made.templates, made.facts, strict=True):
        frame = template[made.n_before]
        largest = frame[np.abs(frame).argmax()]
        assert (largest > 0) == fact["positive"]
        assert abs(largest) == pytest.approx(np.abs(template).max(), rel=0.1)


def test_large_units_are_beside_small_ones(bank: list[Measured], tmp_path: Path) -> None:
    recipe = replace(TINY, snr=(4.0, 8.0), crowd=Crowd(large=0.5), seconds=4.0)
    folder = make(recipe, 1, tmp_path, Path("none"))
    sizes = sorted(unit["snr"] for unit in load_facts(folder)["units"])
    assert len(bank) == 4
    assert sizes[1] < 10
    assert sizes[2] > 15


def test_small_units_are_no_part_of_the_truth(bank: list[Measured], tmp_path: Path) -> None:
    folder = make(replace(TINY, crowd=Crowd(small=3)), 1, tmp_path, Path("none"))
    small, truth = load_small(folder), load_truth(folder)
    assert small is not None
    assert (small.get_num_units(), truth.get_num_units()) == (3, 4)
    alone = scene(bank)
    crowded = scene(bank, crowd=Crowd(small=3))
    for one, other in zip(alone.trains, crowded.trains, strict=True):
        np.testing.assert_array_equal(one, other)


def test_network_bursts_are_told(bank: list[Measured]) -> None:
    made = scene(bank, network_hz=2.0, network=Network(1.0, (3, 7), 10.0), seconds=4.0)
    assert made.periods["bursts"]
    share = np.mean([(end - start) / 20e3 for start, end in made.periods["bursts"]])
    assert 0.02 < share <= 0.05
    frames = np.concatenate(made.trains)
    inside = sum(int(((frames >= start) & (frames <= end)).sum()) for start, end in made.periods["bursts"])
    assert inside / len(frames) > 3 * share * len(made.periods["bursts"]) / 4


def test_counts_of_a_converter_with_an_offset(tmp_path: Path) -> None:
    amplifier = Amplifier(gain_uv=6.29, middle=512, low=0, high=1023, dtype="uint16")
    folder = make(replace(TINY, amplifier=amplifier), 1, tmp_path, Path("none"))
    recording = load_recording(folder)
    counts = recording.get_traces()
    assert counts.dtype == np.uint16
    assert abs(np.median(counts) - 512) <= 1
    assert recording.get_num_frames() == 40_000
    assert abs(np.median(recording.get_traces(return_in_uV=True))) < 7


def test_pulses_put_everything_on_the_rail_and_it_recovers() -> None:
    recipe = replace(TINY, amplifier=Amplifier(pulses=2))
    disturbances = Disturbances(recipe, np.random.default_rng(0))
    traces = disturbances.add(np.zeros((recipe.frames, 16), np.float32), 0)
    for start, end in disturbances.periods:
        rails = np.isin(traces[start:end], np.float32(recipe.amplifier.rails_uv))
        assert rails.all()
        assert end - start == 60
        assert not traces[start - 1].any() or start == 0
        later = np.abs(traces[[end + 20, end + 200, end + 2000]]).max(axis=1)
        assert later[0] > 5000 > later[1] > 1000 > later[2]


def test_pieces_are_disturbed_as_the_whole() -> None:
    recipe = replace(TINY, amplifier=Amplifier(pulses=3, hum_uv=10.0))
    disturbances = Disturbances(recipe, np.random.default_rng(0))
    silence = np.zeros((recipe.frames, 16), np.float32)
    pieces = [disturbances.add(silence[start : start + 777], start) for start in range(0, recipe.frames, 777)]
    np.testing.assert_allclose(np.concatenate(pieces), disturbances.add(silence, 0), atol=1e-3)


def test_hum_has_harmonics_of_the_mains() -> None:
    recipe = replace(TINY, amplifier=Amplifier(hum_uv=10.0))
    traces = Disturbances(recipe, np.random.default_rng(0)).add(np.zeros((recipe.frames, 16), np.float32), 0)
    power = np.abs(np.fft.rfft(traces[:, 0]))
    assert set(np.flatnonzero(power > power.max() / 100)) <= set(range(0, 5000, 100))  # two seconds: 50 Hz is bin 100


def test_noise_of_large_recordings_is_as_large_and_as_correlated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.rt_sort_noise.LARGE", 0)
    monkeypatch.setattr("benchmarks.rt_sort_noise.TAPE", 16 * 12_000)
    recipe = replace(TINY, coloured=0.5, pitch_um=(10.0, 10.0))
    traces = np.zeros((recipe.frames, 16), np.float32)
    add_noise(traces, recipe, np.random.default_rng(0))
    filtered = band_pass(traces, recipe.fs)
    assert filtered.std() == pytest.approx(recipe.noise_uv, rel=0.05)
    near, far = (np.corrcoef(filtered.T)[0, other] for other in (1, 15))
    assert near > far > 0.0
    # Nothing comes again: no piece of the noise is like a later one at any lag, on any channel, of either sign.
    first, later = filtered[:5000, 0], filtered[5000:]
    products = fftconvolve(later, first[::-1, None], mode="valid", axes=0)
    assert np.abs(products).max() < 0.5 * np.sum(first**2)


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    recipe = replace(TINY, amplifier=Amplifier(pulses=1, hum_uv=5.0), crowd=Crowd(small=1, positive=0.25))
    one, two = (load_facts(make(recipe, 1, tmp_path / part, Path("none")))["digest"] for part in "ab")
    assert one == two
