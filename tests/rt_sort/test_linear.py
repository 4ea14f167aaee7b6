"""Linear algebra of few dimensions against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab.spike_sorting.rt_sort.learning._linear import (
    MOST_DIMS,
    POINTS_PER_DIM,
    RIDGE,
    cholesky,
    discriminant,
    factorised,
    halfway,
    leading_axes,
    orthonormalise,
    scatter_about,
    solve,
    squared_length,
    times_symmetric,
)

SEEDS = st.integers(0, 2**31)


def positive(n_dims: int, seed: int) -> np.ndarray:
    """A positive definite matrix."""
    root = np.random.default_rng(seed).normal(size=(n_dims, n_dims + 2))
    return root @ root.T + 0.1 * np.eye(n_dims)


@given(st.integers(1, 5), SEEDS)
@settings(max_examples=15)
def test_cholesky_factor_and_what_is_solved_with_it(n_dims: int, seed: int) -> None:
    matrix = positive(n_dims, seed)
    factor = np.tril(matrix) + np.triu(np.full(matrix.shape, 1e9), 1)  # what is above the diagonal is ignored
    cholesky(factor)
    np.testing.assert_allclose(np.tril(factor), np.linalg.cholesky(matrix), rtol=1e-9)
    right = np.random.default_rng(seed + 1).normal(size=n_dims)
    np.testing.assert_allclose(np.tril(factor) @ halfway(factor, right), right, atol=1e-9)
    np.testing.assert_allclose(matrix @ solve(factor, right), right, atol=1e-9)
    assert squared_length(factor, right) == pytest.approx(right @ np.linalg.solve(matrix, right))


@pytest.mark.parametrize(("n_dims", "count"), [(1, 1), (2, 6), (4, 12)])
def test_a_covariance_of_few_points_is_shrunk_towards_a_sphere(n_dims: int, count: int) -> None:
    scatter = positive(n_dims, 3)
    share = n_dims / (n_dims + count)
    expected = (1 - share) * scatter / count + share * np.trace(scatter) / count / n_dims * np.eye(n_dims)
    factor = np.tril(factorised(scatter, count))
    np.testing.assert_allclose(factor @ factor.T, expected, rtol=1e-9)
    assert np.trace(factor @ factor.T) == pytest.approx(np.trace(scatter) / count)


def test_a_covariance_of_equal_points_can_be_divided_by() -> None:
    factor = factorised(np.zeros((2, 2)), 5)
    assert 0 < factor[0, 0] == factor[1, 1] < 1e-20
    assert np.isfinite(solve(factor, np.array([1e-30, 0.0]))).all()


@given(st.integers(1, 11), st.integers(1, 4), SEEDS)
@settings(max_examples=15)
def test_scatter_about_the_means_of_two_groups(n: int, n_dims: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, means, n_first = rng.normal(size=(n, n_dims)), rng.normal(size=(2, n_dims)), n // 2
    off = points - means[(np.arange(n) >= n_first).astype(int)]
    np.testing.assert_allclose(scatter_about(points, means, n_first), off.T @ off, atol=1e-9)


def test_products() -> None:
    matrix, rows = positive(3, 0), np.random.default_rng(1).normal(size=(2, 3))
    np.testing.assert_allclose(times_symmetric(rows, matrix), rows @ matrix)


def test_rows_become_orthonormal_and_those_that_depend_on_others_zero() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 5))
    rows[2] = 3 * rows[0] - 2 * rows[1]
    before = rows.copy()
    orthonormalise(rows)
    np.testing.assert_allclose(rows @ rows.T, np.diag([1, 1, 0, 1]), atol=1e-12)
    assert rows[0] @ before[0] == pytest.approx(np.linalg.norm(before[0]))
    np.testing.assert_allclose(rows[:2].T @ (rows[:2] @ before[1]), before[1])  # the span stays


def test_rows_that_nearly_depend_on_others_are_orthonormal_too() -> None:
    rows = np.array([[1.0, 0.0, 0.0], [1.0, 1e-7, 0.0], [1.0, 1e-7, 1e-7]])
    orthonormalise(rows)
    np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-12)


def test_leading_axes_are_the_difference_and_the_principal_axes_across_it() -> None:
    difference = np.array([0.0, 2.0, 0.0, 0.0, 0.0])
    within = np.diag([9.0, 1.0, 25.0, 100.0, 0.1])
    within[0, 2] = within[2, 0] = 2.0
    axes = leading_axes(within, difference, 3)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(axes[0], [0, 1, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(np.abs(axes[1]), [0, 0, 0, 1, 0], atol=1e-3)
    principal = np.abs(np.linalg.eigh(within[np.ix_([0, 2], [0, 2])])[1][:, 1])
    np.testing.assert_allclose(np.abs(axes[2])[[0, 2]], principal, atol=1e-3)


@pytest.mark.parametrize(("n", "n_dims"), [(40, 3), (15, 2), (40, 6), (7, 4)])
def test_the_discriminant_is_fishers_with_a_ridge(n: int, n_dims: int) -> None:
    """By numpy: in the space of all features, or where they are too many for the points, in the one that is chosen."""
    rng = np.random.default_rng(n)
    n_first = n // 3
    points = rng.normal(size=(n, n_dims)) * np.arange(1, n_dims + 1) + np.outer(
        np.arange(n) >= n_first, np.ones(n_dims)
    )
    first, second = points[:n_first], points[n_first:]
    difference = second.mean(axis=0) - first.mean(axis=0)
    off = np.concatenate([first - first.mean(axis=0), second - second.mean(axis=0)])
    size = min(n_dims, max(2, min(MOST_DIMS, n // POINTS_PER_DIM)))
    basis = np.eye(n_dims) if size == n_dims else leading_axes(off.T @ off, difference, size)
    share = size / (size + n)
    covariance = (1 - share) / n * (basis @ off.T @ off @ basis.T) + (share + RIDGE) * np.eye(size)
    expected = points @ (basis.T @ np.linalg.solve(covariance, basis @ difference))
    np.testing.assert_allclose(discriminant(points, n_first), expected, rtol=1e-9, atol=1e-9)


def test_few_points_in_many_dimensions_use_few_of_them() -> None:
    """Of 7 points in 9 dimensions two axes are used, of 24 points three: the line lies in their span."""
    rng = np.random.default_rng(0)
    for n, size in ((7, 2), (24, 3)):
        points = rng.normal(size=(n, 9))
        axis = np.linalg.lstsq(points, discriminant(points, 3), rcond=None)[0]
        first, second = points[:3], points[3:]
        difference = second.mean(axis=0) - first.mean(axis=0)
        off = np.concatenate([first - first.mean(axis=0), second - second.mean(axis=0)])
        span = leading_axes(off.T @ off, difference, size)
        if n > 9:
            np.testing.assert_allclose(span.T @ (span @ axis), axis, atol=1e-8)
            less = leading_axes(off.T @ off, difference, size - 1)
            assert np.linalg.norm(less.T @ (less @ axis) - axis) > 1e-3 * np.linalg.norm(axis)
        else:
            expected = points @ span.T
            residual = np.linalg.lstsq(expected, discriminant(points, 3), rcond=None)[1]
            assert residual[0] < 1e-12


def test_more_than_twelve_dimensions_are_not_looked_at() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(130, 14))
    axis = np.linalg.lstsq(points, discriminant(points, 60), rcond=None)[0]
    first, second = points[:60], points[60:]
    off = np.concatenate([first - first.mean(axis=0), second - second.mean(axis=0)])
    span = leading_axes(off.T @ off, second.mean(axis=0) - first.mean(axis=0), 12)
    np.testing.assert_allclose(span.T @ (span @ axis), axis, atol=1e-8)


def test_the_discriminant_of_numbers_is_their_difference_over_a_shrunk_variance_and_the_ridge() -> None:
    """Means of 0 and 4 and deviations of 1: of four points a fifth of the variance is replaced by 1, and 0.05 added."""
    along = discriminant(np.array([[-1.0], [1], [3], [5]]), 2)
    np.testing.assert_allclose(along, np.array([-1.0, 1, 3, 5]) * 4 / (0.8 * 1 + 0.2 + 0.05))


def slow_axes(within: np.ndarray, difference: np.ndarray, size: int) -> np.ndarray:
    """Five rounds of power iteration from the difference and the features of the largest variance, first of equals."""
    chosen = np.argsort(-np.diag(within), kind="stable")[: size - 1]
    basis = np.vstack([difference, np.eye(len(difference))[chosen]])
    for _ in range(6):
        if _:
            basis = np.vstack([basis[0], basis[1:] @ within])
        q, r = np.linalg.qr(basis.T)
        basis = (q * np.sign(np.diag(r))).T
    return basis


@pytest.mark.parametrize("variances", [(9.0, 8, 7, 6), (8.0, 9, 7, 6), (6.0, 7, 8, 9), (8.0, 8, 8, 9)])
@pytest.mark.parametrize("size", [2, 3])
def test_leading_axes_are_those_of_five_rounds(variances: tuple[float, ...], size: int) -> None:
    """Variances that differ little, so that the rounds have not converged."""
    within = np.diag(variances) + 0.3
    difference = np.array([0.5, -1.0, 2.0, 0.25])
    np.testing.assert_allclose(leading_axes(within, difference, size), slow_axes(within, difference, size), atol=1e-9)
