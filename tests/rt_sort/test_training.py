"""Training in seconds: the pieces, and the whole command on next to no data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

from spikelab.spike_sorting.rt_sort.detection.model import ModelSpikeSorter
from spikelab.spike_sorting.rt_sort.training import scoring
from spikelab.spike_sorting.rt_sort.training.__main__ import main
from spikelab.spike_sorting.rt_sort.training.fitting import blank_model
from spikelab.spike_sorting.rt_sort.training.simulation import Recipe, Simulation, draw_recipe, simulate
from spikelab.spike_sorting.rt_sort.training.windows import find_candidates, training_recipe


def test_spikes_are_where_they_are_said_to_be() -> None:
    rng = np.random.default_rng(0)
    for recipe in (Recipe(20_000.0, rates_hz=(5.0, 5.0)), draw_recipe(rng, 30_000.0)):
        made = simulate(rng, recipe, 8, 2.0)
        assert made.traces_uv.shape == (round(2.0 * recipe.sampling_frequency), 8)
        assert (np.diff(made.frames) >= 0).all()
        large = made.snrs > 15
        sizes = made.traces_uv[made.frames[large], made.channels[large]] / recipe.sigma_uv * made.signs[large]
        np.testing.assert_allclose(np.median(sizes / made.snrs[large]), 1, atol=0.08)


def test_the_same_seed_makes_the_same_recording() -> None:
    one, other = (
        simulate(rng, draw_recipe(rng, 20_000.0), 4, 0.5)
        for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    np.testing.assert_array_equal(one.traces_uv, other.traces_uv)
    np.testing.assert_array_equal(one.frames, other.frames)


def test_candidates_of_large_spikes_are_true() -> None:
    recipe = Recipe(20_000.0, rates_hz=(10.0, 10.0), snrs=(8.0, 40.0))
    made = simulate(np.random.default_rng(1), recipe, 8, 2.0)
    found = find_candidates(made, blank_model(20_000.0, 27.5), 20_000.0)
    assert found.windows.shape[1] == 81
    middles = np.abs(found.windows[:, 40])
    assert (middles[found.labels == 1] > 5).mean() > 0.95  # one may fall onto the crest of another
    n_true = int(((made.frames >= 2000) & (made.frames < 39_000)).sum())  # without two blocks, and without the end
    assert 0.95 * n_true < found.labels.sum() <= n_true


def recording(snrs: list[float]) -> scoring.HeldOut:
    """Spikes of these sizes on one channel, 1000 frames apart from frame 5000 on."""
    frames = 5000 + 1000 * np.arange(len(snrs))
    zeros = np.zeros(len(snrs), dtype=np.int64)
    truth = Simulation(np.zeros((30_000, 1), np.float32), frames, zeros, np.array(snrs, np.float32), zeros - 1)
    return scoring.HeldOut("made up", 20_000.0, truth)


@pytest.mark.parametrize(
    ("frames", "f1"),
    [
        ([5000, 6005], 1.0),  # within 0.3 ms
        ([5000, 6007], 0.5),
        ([5000, 6000, 7000], 1.0),  # 3.5 sigma: not scored
        ([5000, 6000, 8000], 0.8),  # 2.7 sigma: false
        ([5000, 5001, 6000], 0.8),  # twice the same
        ([], 0.0),
    ],
)
def test_f1_by_hand(frames: list[int], f1: float) -> None:
    found = np.array(frames, dtype=np.int64)
    score = scoring.best_f1(recording([5, 5, 3.5, 2.7]), found, np.zeros_like(found), np.ones(len(found), np.float32))
    assert score.f1 == pytest.approx(f1)


@pytest.mark.slow  # the other tests here call its parts
def test_the_whole_command(tmp_path: Path) -> None:
    arguments = ["--probe", "mea", "--recordings", "2", "--epochs", "2", "--held-out-channels", "3",
                 "--held-out-seconds", "1.5"]  # fmt: skip
    for name in ("one", "other"):
        result = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / name)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        if name == "one":
            card = (tmp_path / name / "model_card.md").read_text()
            assert "white noise" in card
            assert "Calibration" in card
    assert (tmp_path / "one" / "state_dict.pt").read_bytes() == (tmp_path / "other" / "state_dict.pt").read_bytes()
    assert ModelSpikeSorter.load(tmp_path / "one").samp_freq == 20_000.0


def test_recordings_of_ones_own_kind(tmp_path: Path) -> None:
    arguments = ["--probe", "mea", "--rate", "12500", "--band", "200", "3000", "--filter", "causal", "--recordings",
                 "1", "--epochs", "1", "--held-out-channels", "2", "--held-out-seconds", "1.5"]  # fmt: skip
    result = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert ModelSpikeSorter.load(tmp_path).samp_freq == 12_500.0
    assert "the pass-band is 200 to 3000 Hz,\nall filters are causal" in (tmp_path / "model_card.md").read_text()
    drawn = [training_recipe(np.random.default_rng(seed), 12_500.0, {"causal": True}) for seed in range(20)]
    assert all(recipe.causal for recipe in drawn)
    assert len({recipe.low_hz for recipe in drawn}) > 1  # what is not fixed is still drawn


def test_a_band_beyond_the_rate_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--probe", "mea", "--rate", "8000", "--band", "300", "6000"])
    assert result.exit_code == 2
    assert "half the sampling rate" in result.output
