"""``python -m spikelab.spike_sorting.rt_sort.training``: generate, train, score, write."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from spikelab.spike_sorting.rt_sort.detection.model import ModelSpikeSorter
from spikelab.spike_sorting.rt_sort.training import scoring
from spikelab.spike_sorting.rt_sort.training.card import model_card
from spikelab.spike_sorting.rt_sort.training.windows import draw_candidates
from spikelab.system import files

if TYPE_CHECKING:
    from spikelab.spike_sorting.rt_sort.training.scoring import HeldOut, Score

RATES = {"mea": 20_000.0, "neuropixels": 30_000.0}
THRESHOLDS = {"mea": 27.5, "neuropixels": 17.5}  # per cent: stringent_thresh of the presets
TRAINING, CALIBRATION = 0, 2  # seeds of each use, beside HELD_OUT
COMPARED_CHANNELS, N_COMPARED = 8, 4  # the published model takes minutes for these


@click.command(context_settings={"show_default": True})
@click.option("--probe", type=click.Choice(list(RATES)), required=True, help="Sets sampling rate and threshold.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Folder to write  [default: ./PROBE]")
@click.option("--rate", type=click.FloatRange(2000.0), default=None, help="Sampling rate in Hz, if not the probe's.")
@click.option("--band", nargs=2, type=float, default=None, help="Pass-band in Hz, two numbers  [default: several]")
@click.option("--filter", "phase", type=click.Choice(["zero-phase", "causal"]), help="Kind of filter  [default: both]")
@click.option("--seed", default=1, help="Of all random numbers.")
@click.option("--recordings", default=80, help="Training recordings of 32 channels and 4 s.")
@click.option("--epochs", default=8, help="How often each candidate is seen.")
@click.option("--held-out-channels", default=16, help="Channels of each held-out recording.")
@click.option("--held-out-seconds", default=30.0, help="Length of each held-out recording.")
@click.option("--compare", type=click.Path(path_type=Path), default=None, help="Folder of another model to score.")
def main(
    probe: str,
    out: Path | None,
    rate: float | None,
    band: tuple[float, float] | None,
    phase: str | None,
    seed: int,
    recordings: int,
    epochs: int,
    held_out_channels: int,
    held_out_seconds: float,
    compare: Path | None,
) -> None:
    """Train a detection model on generated recordings and score it on others."""
    import torch

    from spikelab.spike_sorting.rt_sort.training.fitting import blank_model, fit

    torch.set_num_threads(1)  # sums in another order would make other weights
    started = time.process_time()
    rate = rate or RATES[probe]
    fixed = _fixed(rate, band, phase)
    blank = blank_model(rate, THRESHOLDS[probe])
    candidates = draw_candidates(np.random.default_rng([seed, TRAINING]), blank, recordings, fixed)
    click.echo(f"{len(candidates.labels)} candidates, {100 * candidates.labels.mean():.1f} % of them true")
    model = fit(blank, candidates, epochs, seed, click.echo)
    minutes = (time.process_time() - started) / 60
    folder = out or Path(probe)
    model.save(folder)
    held_out = scoring.held_out(seed, rate, held_out_channels, held_out_seconds, fixed)
    facts = {
        "probe": probe,
        "command": _command(),
        "n_recordings": recordings,
        "n_candidates": len(candidates.labels),
        "n_epochs": epochs,
        "n_parameters": sum(layer.weight.size + layer.bias.size for layer in model.layers),
        "minutes": minutes,
    }
    scores = {recording.name: _score(recording, model) for recording in held_out}
    compared = _compare(held_out, model, compare) if compare else {}
    fresh = draw_candidates(np.random.default_rng([seed, CALIBRATION]), model, max(1, recordings // 8), fixed)
    calibration = scoring.calibration(model, fresh)
    card = model_card(facts, rate, fixed, scores, compared, COMPARED_CHANNELS, calibration)
    files.write_text(folder / "model_card.md", card)
    click.echo(card)


def _fixed(rate: float, band: tuple[float, float] | None, phase: str | None) -> dict[str, Any]:
    """Collect the fields of the recipes that all recordings share."""
    fixed: dict[str, Any] = {}
    if band is not None:
        if not 0 < band[0] < band[1] < rate / 2:
            raise click.BadParameter(
                f"{band[0]:g} {band[1]:g}: expected 0 < LOW < HIGH < {rate / 2:g} Hz, half the sampling rate",
                param_hint="--band",
            )
        fixed["low_hz"], fixed["high_hz"] = band
    if phase is not None:
        fixed["causal"] = phase == "causal"
    return fixed


def _score(recording: HeldOut, model: ModelSpikeSorter) -> dict[str, Score]:
    return {
        "this model": scoring.score_detected(recording, model),
        "every extreme": scoring.score_detected(recording, model, 1.0, 1.0),
        "4 sigma": scoring.score_threshold(recording, model, 4.0),
        "5 sigma": scoring.score_threshold(recording, model, 5.0),
    }


def _compare(held_out: list[HeldOut], model: ModelSpikeSorter, folder: Path) -> dict[str, dict[str, Score]]:
    other = ModelSpikeSorter.load(folder)
    parts = [recording.first_channels(COMPARED_CHANNELS) for recording in held_out[:N_COMPARED]]
    return {
        part.name: {"this model": scoring.score_detected(part, model), "published": scoring.score_dense(part, other)}
        for part in parts
    }


def _command() -> str:
    """Quote the command line without its folders, which do not change the weights."""
    kept = iter(sys.argv[1:])
    words = [word for word in kept if word not in ("--out", "--compare") or next(kept, None) is None]
    return shlex.join(["python", "-m", __package__ or "", *words])


if __name__ == "__main__":
    main(prog_name=f"python -m {__package__}")
