"""The page that lies beside the weights: what they were trained on, how, and how well they do."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Card:
    """What the page says.

    Attributes
    ----------
    probe : str
    samp_freq : float
        In Hz.
    fixed : mapping of str to Any
        Fields of the recipes that were not drawn.
    command : str
        What makes the same weights.
    n_recordings, n_candidates, n_epochs, n_parameters : int
    minutes : float
        CPU time of data and training.
    scores : mapping of str to mapping of str to Score
        By recording, then by method.
    compared : mapping of str to mapping of str to Score
        The same beside a published model, on `n_compared` channels; may be empty.
    n_compared : int
    calibration : sequence of (str, int, float)
        Range of probabilities, candidates in it, part of them that is true.
    """

    probe: str
    samp_freq: float
    fixed: Mapping[str, Any]
    command: str
    n_recordings: int
    n_candidates: int
    n_epochs: int
    n_parameters: int
    minutes: float
    scores: Table
    compared: Table
    n_compared: int
    calibration: Sequence[tuple[str, int, float]]

    def text(self) -> str:
        """The page, in Markdown."""
        values = vars(self) | {
            "khz": self.samp_freq / 1000,
            "bands": self._bands(),
            "filters": self._filters(),
            "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
            "scores": _score_table(self.scores),
            "compared": "",
            "calibration": _table(
                ["probability", "candidates", "true"],
                [[name, f"{count:,}", f"{100 * part:.1f} %"] for name, count, part in self.calibration],
            ),
        }
        if self.compared:
            values["compared"] = COMPARED.format(n_channels=self.n_compared, table=_score_table(self.compared))
        return TEXT.format(**values)

    def _bands(self) -> str:
        if "low_hz" not in self.fixed:
            return "pass-bands differ"
        return f"the pass-band is {self.fixed['low_hz']:g} to {self.fixed['high_hz']:g} Hz"

    def _filters(self) -> str:
        if "causal" not in self.fixed:
            return "filters are zero-phase or causal"
        return f"all filters are {'causal' if self.fixed['causal'] else 'zero-phase'}"


def _score_table(scores: Table) -> str:
    methods = list(next(iter(scores.values())))
    rows = [
        [name, *(f"{s.f1:.4f} ({s.recall:.3f}, {s.precision:.3f}, {s.threshold:.2g})" for s in row.values())]
        for name, row in scores.items()
    ]
    return _table(["recording", *methods], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
