"""The model card: data, training and scores of a model, in Markdown beside the weights."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spikelab.spike_sorting.rt_sort.training.scoring import Score

    Table = Mapping[str, Mapping[str, Score]]

PACKAGES = ("numpy", "scipy", "spikeinterface", "torch")

TEXT = """\
# Detection model `{probe}`

Tells, for a trough or a crest larger than 2.5 times the noise of its channel, whether an action potential caused it.
It looks at one channel at a time. Its input is the 2 ms before and after the extreme of the band-passed signal, in
units of the noise (MAD / 0.6745); sampling rates more than 5 % from {khz:g} kHz are interpolated.

Made by `{command}`
with {packages}: {n_recordings} generated recordings, {n_candidates:,} candidates seen {n_epochs} times,
{n_parameters:,} parameters, {minutes:.1f} minutes on one core.

## Data

All of it is generated; nothing was recorded from an animal or a culture. Waveforms come from SpikeInterface's
generator, narrow and broad, also as axons and as crests. Spikes fire at 3 to 90 per second and channel, alone or in
bursts in which they get smaller, and overlap as they happen to. Noise is white or coloured, shared between channels or
not, with background spikes below twice its size. Sampling rates are within 15 % of the nominal one, {bands},
{filters}. There are stimulation artefacts, movement and glitches. A spike counts as
true from four times the noise on; those of three to four times were left out.

## Scores

Best F1 over all thresholds (recall, precision, threshold) on recordings that were held out. A hit is within 0.3 ms;
highest probabilities choose first. What matches a spike of 3 to 4 times the noise is left out, what matches a smaller
one (they go down to 2.5) is false. "Every extreme" is this model with the gate at one sigma.

{scores}
{compared}
## Calibration

Candidates from new recordings of the training's kinds, by the probability that the model gave them.

{calibration}
"""

COMPARED = """
On {n_channels} of the channels, beside the published model, which was evaluated at every frame and at the best of
several input scalings:

{table}
"""


def model_card(
    facts: Mapping[str, Any], samp_freq: float, fixed: Mapping[str, Any], scores: Table, compared: Table,
    n_compared: int, calibration: Sequence[tuple[str, int, float]],
) -> str:  # fmt: skip
    """Write the page.

    `facts` are the values of the text that need no formatting, `fixed` the fields of the recipes that were not drawn.
    `scores` and `compared` (beside a published model, on `n_compared` channels; may be empty) are by recording, then
    by method. `calibration` has a range of probabilities, the candidates in it, and the share of true ones.
    """
    bands, filters = "pass-bands differ", "filters are zero-phase or causal"
    if "low_hz" in fixed:
        bands = f"the pass-band is {fixed['low_hz']:g} to {fixed['high_hz']:g} Hz"
    if "causal" in fixed:
        filters = f"all filters are {'causal' if fixed['causal'] else 'zero-phase'}"
    rows = [[name, f"{count:,}", f"{100 * part:.1f} %"] for name, count, part in calibration]
    return TEXT.format(
        **facts,
        khz=samp_freq / 1000,
        bands=bands,
        filters=filters,
        packages=", ".join(f"{name} {version(name)}" for name in PACKAGES),
        scores=_score_table(scores),
        compared=COMPARED.format(n_channels=n_compared, table=_score_table(compared)) if compared else "",
        calibration=_table(["probability", "candidates", "true"], rows),
    )


def _score_table(scores: Table) -> str:
    methods = list(next(iter(scores.values())))
    rows = [
        [name, *(f"{s.f1:.4f} ({s.recall:.3f}, {s.precision:.3f}, {s.threshold:.2g})" for s in row.values())]
        for name, row in scores.items()
    ]
    return _table(["recording", *methods], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
