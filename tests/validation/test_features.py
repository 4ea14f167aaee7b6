"""Features: finite for any unit, and each unit's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.validation.conftest import MAINS, RATE, World
from tests.validation.known import described, grid, measured

from spikelab.spike_sorting.data import Waveforms
from spikelab.spike_sorting.validation.features import NAMES, features, likeness

PER_UNIT = ("unit_ids", "templates", "template_stds", "main_channels", "has_pos_peak", "amplitudes", "peak_inds",
            "std_norms_all", "snr", "std_norm", "n_averaged")  # fmt: skip


def taken(found: Waveforms, rows: np.ndarray) -> Waveforms:
    """Keep some units, in another order."""
    arrays = {name: getattr(found, name)[rows] for name in PER_UNIT}
    return replace(found, spikes=tuple(found.spikes[row] for row in rows), **arrays)


def test_they_are_what_they_are_said_to_be(world: World) -> None:
    found = dict(zip(NAMES, features(world.waveforms, world.binary).T, strict=True))
    np.testing.assert_allclose(np.exp(found["log_snr"]), world.waveforms.snr, rtol=1e-6)
    np.testing.assert_allclose(10 ** found["log_spikes"], 120)
    assert found["violations"].tolist() == [0] * 6
    assert (found["excess"] < 0.2).all()
    # Unit 5 lies between the others and sees four of them; unit 0 in its corner sees none.
    assert found["crowding"][MAINS.index(0)] < found["crowding"][MAINS.index(14)] <= np.log10(0.1 + 5 * RATE)
    assert ((found["likeness"] >= 0) & (found["likeness"] < 1)).all()


def test_rows_follow_the_units(world: World) -> None:
    rows = np.array([3, 0, 5, 1, 4, 2])
    before, after = (features(found, world.binary) for found in (world.waveforms, taken(world.waveforms, rows)))
    np.testing.assert_allclose(after, before[rows], rtol=1e-6, atol=1e-9)


def test_units_of_one_spike_and_of_none_have_numbers(world: World) -> None:
    n = world.binary.n_samples
    trains = [world.trains[0][:1], world.trains[1], np.array([3]), world.trains[2][:2], np.array([n - 1])]
    found = features(measured(world.binary, trains), world.binary)
    assert found.shape == (5, len(NAMES))
    assert np.isfinite(found).all()
    assert found[2, 1] == 0


def test_no_units_have_no_features(world: World) -> None:
    none = taken(world.waveforms, np.empty(0, np.int64))
    assert features(none, world.binary).shape == (0, len(NAMES))


def test_a_single_unit_is_like_no_other(world: World) -> None:
    one = features(taken(world.waveforms, np.array([2])), world.binary)
    assert one[0, NAMES.index("likeness")] == 0
    assert one[0, NAMES.index("crowding")] == pytest.approx(-1)


def test_likeness_is_the_largest_cosine(world: World) -> None:
    templates = world.waveforms.templates
    assert likeness(np.concatenate([templates, 3 * templates[:1]]))[[0, -1]].tolist() == [1, 1]
    assert likeness(np.stack([templates[0], -templates[0]])).tolist() == [0, 0]
    assert likeness(np.zeros_like(templates)).tolist() == [0] * 6


def test_violations_are_shares_of_the_intervals(tmp_path: Path, world: World) -> None:
    frames = np.array([1000, 1020, 3000, 3100])  # 1, 99 and 5 ms
    found = replace(world.waveforms, spikes=(frames, *world.waveforms.spikes[1:]))
    assert features(found, world.binary)[0, 2] == pytest.approx(1 / 3)
    assert described(tmp_path, grid(), 10).duration_s > 0
