"""Compiled linear algebra of a few dimensions, for `splitting`: small matrices are slow in BLAS, and start threads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

MOST_DIMS = 12  # of the space in which two groups are separated
POINTS_PER_DIM = 8
RIDGE = 0.05
NO_VARIANCE = 1e-60  # instead of none, to divide by
N_POWERS = 5  # rounds of power iteration: the principal axes need not be exact


@compiled
def factorised(scatter: Doubles, count: int) -> Doubles:
    """Factorise (Cholesky) the covariance of `count` points, shrunk towards a sphere.

    Of a covariance of d dimensions from n points the share d / (d + n) is replaced by a sphere of the same trace:
    otherwise few points in many dimensions would be separated along some line by chance.
    """
    n_dims = scatter.shape[0]
    share = n_dims / (n_dims + count)
    factor: Doubles = scatter * ((1.0 - share) / count)
    trace = 0.0
    for j in range(n_dims):
        trace += scatter[j, j]
    sphere = share * trace / (count * n_dims) + NO_VARIANCE
    for j in range(n_dims):
        factor[j, j] += sphere
    cholesky(factor)
    return factor


@compiled
def cholesky(matrix: Doubles) -> None:
    """Overwrite the lower triangle of a symmetric positive definite matrix by its factor; the upper one is ignored."""
    for j in range(matrix.shape[0]):
        for k in range(j + 1):
            rest = matrix[j, k]
            for m in range(k):
                rest -= matrix[j, m] * matrix[k, m]
            matrix[j, k] = math.sqrt(rest) if j == k else rest / matrix[k, k]


@compiled
def halfway(factor: Doubles, right: Doubles) -> Doubles:
    """Solve ``factor y = right``."""
    solution: Doubles = right.copy()
    for j in range(right.size):
        for m in range(j):
            solution[j] -= factor[j, m] * solution[m]
        solution[j] /= factor[j, j]
    return solution


@compiled
def squared_length(factor: Doubles, vector: Doubles) -> float:
    """Compute the squared Mahalanobis length of a vector."""
    solution = halfway(factor, vector)
    return inner(solution, solution)


@compiled
def solve(factor: Doubles, right: Doubles) -> Doubles:
    """Solve ``factor factor' x = right``."""
    solution = halfway(factor, right)
    for j in range(right.size - 1, -1, -1):
        for m in range(j + 1, right.size):
            solution[j] -= factor[m, j] * solution[m]
        solution[j] /= factor[j, j]
    return solution


@compiled
def discriminant(points: Doubles, n_first: int) -> Doubles:
    """Project points on the line that best separates the first `n_first` from the rest, shape (points,).

    Fisher's discriminant among the difference of the means and the principal axes across it, `MOST_DIMS` in all, fewer
    for few points. Features have noise of about unit variance, so the covariance within the groups gets a ridge, and
    of d dimensions and n points the share d / (d + n) of it is replaced by the identity.
    """
    n, n_dims = points.shape
    means, difference = two_means(points, n_first)
    within = scatter_about(points, means, n_first)
    size = min(n_dims, max(2, min(MOST_DIMS, n // POINTS_PER_DIM)))
    basis = np.eye(n_dims) if size == n_dims else leading_axes(within, difference, size)
    images = times_symmetric(basis, within)
    factor = np.empty((size, size))
    right = np.empty(size)
    share = size / (size + n)
    for k in range(size):
        for m in range(k + 1):
            factor[k, m] = (1.0 - share) / n * inner(images[k], basis[m])
        factor[k, k] += share + RIDGE
        right[k] = inner(basis[k], difference)
    cholesky(factor)
    solution = solve(factor, right)
    axis = np.empty(n_dims)
    for j in range(n_dims):
        axis[j] = inner(solution, basis[:, j])
    along = np.empty(n)
    for i in range(n):
        along[i] = inner(points[i], axis)
    return along


@compiled
def two_means(points: Doubles, n_first: int) -> tuple[Doubles, Doubles]:
    """Average the first `n_first` points and the others; return both means and their difference."""
    n, n_dims = points.shape
    means = np.zeros((2, n_dims))
    for i in range(n):
        for j in range(n_dims):
            means[0 if i < n_first else 1, j] += points[i, j]
    for j in range(n_dims):
        means[0, j] /= n_first
        means[1, j] /= n - n_first
    return means, means[1] - means[0]


@compiled
def inner(a: Doubles, b: Doubles) -> float:
    """Sum of products."""
    total = 0.0
    for j in range(a.size):
        total += a[j] * b[j]
    return total


@compiled
def scatter_about(points: Doubles, means: Doubles, n_first: int) -> Doubles:
    """Sums of squares and products about the means of the first `n_first` points and of the others."""
    n, n_dims = points.shape
    scatter = np.zeros((n_dims, n_dims))
    some = np.zeros((4, n_dims))
    for start in range(0, n, 4):
        for row in range(4):
            i = start + row
            for j in range(n_dims):
                some[row, j] = points[i, j] - means[0 if i < n_first else 1, j] if i < n else 0.0
        for j in range(n_dims):
            a, b, c, d = some[0, j], some[1, j], some[2, j], some[3, j]
            for k in range(j + 1):
                scatter[j, k] += a * some[0, k] + b * some[1, k] + c * some[2, k] + d * some[3, k]
    for j in range(n_dims):
        for k in range(j):
            scatter[k, j] = scatter[j, k]
    return scatter


@compiled
def leading_axes(within: Doubles, difference: Doubles, size: int) -> Doubles:
    """Find orthonormal rows: the direction of `difference`, then principal axes of the scatter across it.

    The scatter of the union differs from that within the groups only along the difference. Power iteration starts from
    the features of the largest variance.
    """
    n_dims = difference.size
    basis = np.zeros((size, n_dims))
    left = np.empty(n_dims)
    for j in range(n_dims):
        basis[0, j] = difference[j]
        left[j] = within[j, j]
    for k in range(1, size):
        largest = 0
        for j in range(1, n_dims):
            if left[j] > left[largest]:
                largest = j
        basis[k, largest] = 1.0
        left[largest] = -1.0
    orthonormalise(basis)
    for _ in range(N_POWERS):
        images = times_symmetric(basis, within)
        for j in range(n_dims):
            images[0, j] = basis[0, j]
        basis = images
        orthonormalise(basis)
    return basis


@compiled
def times_symmetric(rows: Doubles, matrix: Doubles) -> Doubles:
    """Multiply rows by a symmetric matrix."""
    images = np.zeros((rows.shape[0], rows.shape[1]))
    for k in range(rows.shape[0]):
        for j in range(matrix.shape[0]):
            value = rows[k, j]
            for m in range(matrix.shape[0]):
                images[k, m] += value * matrix[j, m]
    return images


@compiled
def orthonormalise(rows: Doubles) -> None:
    """Orthonormalise by Gram-Schmidt, each row twice; a row that depends on those before it becomes zero."""
    for k in range(rows.shape[0]):
        size = math.sqrt(inner(rows[k], rows[k]))
        for _ in range(2):
            for m in range(k):
                part = inner(rows[k], rows[m])
                for j in range(rows.shape[1]):
                    rows[k, j] -= part * rows[m, j]
        left = math.sqrt(inner(rows[k], rows[k]))
        differs = left > 1e-9 * size
        for j in range(rows.shape[1]):
            rows[k, j] = rows[k, j] / left if differs else 0.0
