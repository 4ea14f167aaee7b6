"""Where the tissue is, and how large a unit is, as time goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.rt_sort_recipes import Recipe

DRIFT_STEP_UM = 0.5
STEP_S = 0.2  # how long a step takes
BREATHS_HZ, POINTS_PER_BREATH = 0.2, 50
HALF_WAY = (0.4, 0.6)  # of the recording: when units appear and vanish


class Drift:
    """The way of all units along one direction, in steps of half a micrometre.

    "wander" is a ramp with two slow waves, "ramp" the ramp alone, "step" a step half-way, "breathe" a wave of 0.2 Hz.
    Units at the far end of the contacts (the last row) go less far by the share ``non_rigid``.

    Attributes
    ----------
    offsets : numpy.ndarray, shape (steps, 2)
        Displacement in micrometres at each step.
    """

    def __init__(self, recipe: Recipe, rng: np.random.Generator) -> None:
        points = round(recipe.seconds * BREATHS_HZ * POINTS_PER_BREATH) if recipe.movement.kind == "breathe" else 500
        self._times = np.linspace(0, recipe.seconds, points)
        self._way = recipe.drift_um * _way(recipe, np.linspace(0, 1, len(self._times)), rng)
        self._non_rigid, self._rows = recipe.movement.non_rigid, np.sort(recipe.contacts[[0, -1], 1])
        angle = rng.uniform(0, 2 * np.pi) if recipe.probe == "mea" else np.pi / 2
        along = np.arange(0, recipe.drift_um + DRIFT_STEP_UM, DRIFT_STEP_UM) - recipe.drift_um / 2
        self.offsets = (
            along[:, None] * np.array([np.cos(angle), np.sin(angle)]) if recipe.drift_um else np.zeros((1, 2))
        )

    def step(self, times: NDArray[np.float64], depth_um: float) -> NDArray[np.int64]:
        """Which step a unit in its place `depth_um` along the rows is at, at `times` in seconds."""
        first, last = self._rows
        reach = 1.0 - self._non_rigid * (depth_um - first) / max(last - first, 1.0)
        centre = (len(self.offsets) - 1) * DRIFT_STEP_UM / 2
        way = centre + (np.interp(times, self._times, self._way) - centre) * reach if self._non_rigid else None
        steps = (np.interp(times, self._times, self._way) if way is None else way) / DRIFT_STEP_UM
        return np.rint(steps).clip(0, len(self.offsets) - 1).astype(np.int64)

    def course(self, depths_um: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Where units at `depths_um` along the rows are, from half-way: ``times_s``, ``depths_um``, ``moved_um``."""
        middle = (len(self.offsets) - 1) / 2
        moved = [(self.step(self._times, depth) - middle) * DRIFT_STEP_UM for depth in depths_um.tolist()]
        return {"times_s": self._times, "depths_um": depths_um, "moved_um": np.stack(moved, axis=1)}


def _way(recipe: Recipe, phase: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """From 0 to 1."""
    first, second = rng.random(2)
    if recipe.movement.kind == "ramp":
        return phase
    if recipe.movement.kind == "breathe":
        return 0.5 - 0.5 * np.cos(2 * np.pi * BREATHS_HZ * recipe.seconds * phase)
    if recipe.movement.kind == "step":
        return np.clip((phase - 0.5) * recipe.seconds / STEP_S + 0.5, 0, 1)
    way = phase + 0.25 * np.sin(2 * np.pi * (1.5 * phase + first))
    way += 0.1 * np.sin(2 * np.pi * (4 * phase + second))
    return (way - way.min()) / np.ptp(way)


class Lives:
    """When each unit is there, and how its amplitude changes.

    Parameters
    ----------
    recipe : Recipe
        Its `crowd` and `movement` are read.
    rng : numpy.random.Generator
    """

    def __init__(self, recipe: Recipe, rng: np.random.Generator) -> None:
        order = rng.permutation(recipe.units)
        appear, vanish = (round(share * recipe.units) for share in (recipe.crowd.appear, recipe.crowd.vanish))
        when = recipe.seconds * rng.uniform(*HALF_WAY, recipe.units)
        self.start, self.end = np.zeros(recipe.units), np.full(recipe.units, recipe.seconds)
        self.start[order[:appear]] = when[order[:appear]]
        self.end[order[appear : appear + vanish]] = when[order[appear : appear + vanish]]
        self._growth = np.log(recipe.movement.growth) * rng.choice([-1.0, 1.0], recipe.units)
        self._seconds = recipe.seconds

    def alive(self, unit: int, times: NDArray[np.float64]) -> NDArray[np.bool_]:
        """At which of `times` the unit is there."""
        return (times >= self.start[unit]) & (times <= self.end[unit])

    def gain(self, unit: int, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """By what its amplitude is multiplied; one half-way."""
        gains: NDArray[np.float64] = np.exp(self._growth[unit] * (times / self._seconds - 0.5))
        return gains

    def facts(self, unit: int) -> dict[str, Any]:
        """Start and end in seconds."""
        return {"start_s": round(float(self.start[unit]), 2), "end_s": round(float(self.end[unit]), 2)}
