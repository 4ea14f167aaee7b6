"""Fit the weights of a model with PyTorch."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from spikelab.spike_sorting.rt_sort.detection.model import Layer, ModelSpikeSorter, patch_shapes

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikelab.spike_sorting.rt_sort.training.windows import Candidates

ARCHITECTURE = "patch-96-48"
WINDOW_MS = 2.0  # before and after a candidate
N_OUTPUTS = 120  # of the window in the model's description
BATCH = 1024
LARGEST_RATE, WARM_UP, DECAY = 3e-3, 0.1, 1e-2


def blank_model(samp_freq: float, threshold_percent: float) -> ModelSpikeSorter:
    """Make a model whose weights are zero."""
    context = round(WINDOW_MS * samp_freq / 1000)
    shapes = patch_shapes(ARCHITECTURE, 2 * context + 1)
    n_inputs = [1, *(n_outputs for n_outputs, _ in shapes)]
    layers = tuple(
        Layer(np.zeros((after, before, kernel), dtype=np.float32), np.zeros(after, dtype=np.float32))
        for (before, after), (_, kernel) in zip(pairwise(n_inputs), shapes, strict=True)
    )
    return ModelSpikeSorter(
        layers=layers,
        architecture=ARCHITECTURE,
        sample_size=2 * context + N_OUTPUTS,
        buffer_front_sample=context,
        buffer_end_sample=context,
        loc_prob_thresh=threshold_percent,
        input_scale=1.0,
        samp_freq=samp_freq,
        normalises_by_sigma=True,
    )


def fit(
    model: ModelSpikeSorter, candidates: Candidates, n_epochs: int, seed: int, report: Callable[[str], None]
) -> ModelSpikeSorter:
    """Find the weights that minimise the cross-entropy of the candidates' labels.

    Each candidate is seen `n_epochs` times; `report` takes a line of text after each. The same `seed`, of the first
    weights and of the order, gives the same weights on the same machine.
    """
    torch.manual_seed(seed)
    # The first layer leaves one value per channel, so all layers are matrices.
    network = torch.nn.Sequential()
    for index, layer in enumerate(model.layers):
        if index:
            network.append(torch.nn.ReLU())
        network.append(torch.nn.Linear(layer.weight[0].size, len(layer.weight)))
    windows, labels, weights = (
        torch.from_numpy(values) for values in (candidates.windows, candidates.labels, candidates.weights)
    )
    n_batches = max(1, len(windows) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), LARGEST_RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LARGEST_RATE, total_steps=n_epochs * n_batches, pct_start=WARM_UP
    )
    for epoch in range(n_epochs):
        total = 0.0
        for chosen in torch.randperm(len(windows))[: n_batches * BATCH].chunk(n_batches):
            logits = network(windows[chosen].float())[:, 0]
            losses = binary_cross_entropy_with_logits(logits, labels[chosen], reduction="none")
            loss = (losses * weights[chosen]).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        report(f"epoch {epoch + 1} of {n_epochs}: cross-entropy {total / n_batches:.4f}")
    trained = [part for part in network if isinstance(part, torch.nn.Linear)]
    layers = tuple(
        Layer(part.weight.detach().numpy().reshape(layer.weight.shape).copy(), part.bias.detach().numpy().copy())
        for part, layer in zip(trained, model.layers, strict=True)
    )
    return replace(model, layers=layers)
