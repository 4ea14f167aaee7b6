"""Run a detection network.

On the CPU `LANES` windows are evaluated side by side in memory. Each window goes through the same vector instructions
in the same order, so its logits are the same to the bit whatever stands beside it: no result depends on chunks,
batches or threads, as it would with a matrix product of BLAS.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.system.compiling import contracted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray
    from spikelab.spike_sorting.rt_sort.detection.model import ModelSpikeSorter


LANES = 64  # windows side by side: eight vector registers
DENSE_OUTPUTS = 240  # logits of one window in a dense pass: long enough to waste little context, and in the cache


class Network:
    """A model, ready to run on "cpu" or on a device of PyTorch."""

    def __init__(self, model: ModelSpikeSorter, device: str = "cpu") -> None:
        self.model = model
        self.device = device
        parts = [(layer.weight.transpose(0, 2, 1), layer.bias) for layer in model.layers]
        self.flat = np.concatenate([part.ravel() for pair in parts for part in pair])

    def plan(self, n_samples: int) -> NDArray[np.int64]:
        """Tabulate outputs, inputs, kernel, positions, first weight and first bias of each layer, (layers, 6)."""
        rows = []
        place, positions = 0, n_samples
        for layer in self.model.layers:
            n_outputs, n_inputs, kernel = layer.weight.shape
            positions -= kernel - 1
            bias = place + layer.weight.size
            rows.append((n_outputs, n_inputs, kernel, positions, place, bias))
            place = bias + n_outputs
        return np.array(rows, dtype=np.int64)

    def scratch(self, n_samples: int) -> FloatArray:
        """Allocate two halves, of rows of `LANES` values, for the values between layers."""
        plan = self.plan(n_samples)
        return np.empty((2, max(n_samples, int((plan[:, 0] * plan[:, 3]).max())), LANES), dtype=np.float32)

    def logits(self, windows: FloatArray) -> FloatArray:
        """Compute the logits (windows, samples - receptive field + 1) of normalised windows (windows, samples)."""
        if self.device != "cpu":
            return self._torch_logits(windows)
        n_windows, n_samples = windows.shape
        plan, scratch = self.plan(n_samples), self.scratch(n_samples)
        logits = np.empty((n_windows, plan[-1, 3]), dtype=np.float32)
        for first in range(0, n_windows, LANES):
            group = windows[first : first + LANES]
            scratch[0, :n_samples] = 0
            scratch[0, :n_samples, : len(group)] = group.T
            result = run_layers(scratch[0], scratch[1], self.flat, plan)
            logits[first : first + LANES] = result[: logits.shape[1], : len(group)].T
        return logits

    @cached_property
    def _torch_layers(self) -> list[tuple[Any, Any]]:
        import torch

        return [
            (torch.tensor(layer.weight, device=self.device), torch.tensor(layer.bias, device=self.device))
            for layer in self.model.layers
        ]

    def _torch_logits(self, windows: FloatArray) -> FloatArray:
        import torch

        with torch.inference_mode():
            values = torch.tensor(windows, device=self.device)[:, None]
            for index, (weight, bias) in enumerate(self._torch_layers):
                values = torch.nn.functional.conv1d(torch.relu(values) if index else values, weight, bias)
            logits = values[:, 0].cpu().numpy()
        return np.asarray(logits, dtype=np.float32)


def dense_logits(model: ModelSpikeSorter, traces: FloatArray, device: str = "cpu") -> FloatArray:
    """Compute the logits (outputs, channels) of all frames with their context within normalised `traces`.

    `traces` has the shape (frames, channels); output i belongs to frame ``model.buffer_front_sample + i``.
    """
    network = Network(model, device)
    n_outputs = max(0, len(traces) - model.receptive_field + 1)
    logits = np.empty((n_outputs, traces.shape[1]), dtype=np.float32)
    for first in range(0, n_outputs, DENSE_OUTPUTS):
        last = min(first + DENSE_OUTPUTS, n_outputs)
        logits[first:last] = network.logits(traces[first : last + model.receptive_field - 1].T).T
    return logits


@contracted
def run_layers(source: FloatArray, target: FloatArray, flat: FloatArray, plan: NDArray[np.int64]) -> FloatArray:
    """Run all layers on `LANES` windows; return the half of the scratch in which the last one left its values.

    Row ``position * channels + channel`` of a half is one value of all windows, so that the inputs of a position of the
    next layer are neighbouring rows. The input is in `source`, with one channel.
    """
    n_layers = plan.shape[0]
    for layer in range(n_layers):
        n_outputs, n_inputs, kernel = plan[layer, 0], plan[layer, 1], plan[layer, 2]
        n_taps = n_inputs * kernel
        for position in range(plan[layer, 3]):
            seen = source[position * n_inputs : position * n_inputs + n_taps]
            for output in range(n_outputs):
                weights = flat[plan[layer, 4] + output * n_taps :]
                total = target[position * n_outputs + output]
                total[:] = flat[plan[layer, 5] + output]
                add_products(seen, weights, total)
                if layer + 1 < n_layers:
                    for lane in range(LANES):
                        total[lane] = max(total[lane], np.float32(0))
        source, target = target, source
    return source


@contracted
def add_products(rows: FloatArray, weights: FloatArray, total: FloatArray) -> None:
    """Add ``weights[k] * rows[k]``, in the order of k; four at a time, to load and store the sum less often."""
    fours = rows.shape[0] // 4 * 4
    for k in range(0, fours, 4):
        w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        r0, r1, r2, r3 = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        for lane in range(LANES):
            total[lane] = total[lane] + w0 * r0[lane] + w1 * r1[lane] + w2 * r2[lane] + w3 * r3[lane]
    for k in range(fours, rows.shape[0]):
        weight, row = weights[k], rows[k]
        for lane in range(LANES):
            total[lane] = total[lane] + weight * row[lane]
