"""What a person decided of units is said in the figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spikelab.spike_sorting.config import CurationConfig, FigureConfig
from spikelab.spike_sorting.curation import curate_two_rounds
from spikelab.spike_sorting.figures import FigureRecording, curation_bar_plot, std_scatter_plot
from spikelab.spikedata import SpikeData


def decided(sd: SpikeData, verdicts: dict[int, str]) -> FigureRecording:
    """Curate units, of which a person decided on some."""
    said: list[dict[str, Any]] = [
        {**unit, "decided": verdicts[unit["unit_id"]]} if unit["unit_id"] in verdicts else unit
        for unit in sd.unit_attributes
    ]
    sd = sd.replace(neuron_attributes=said)
    return FigureRecording("a", sd, curate_two_rounds(sd, CurationConfig()))


def test_figures_say_what_was_decided_by_hand(make_recording: Callable[..., FigureRecording]) -> None:
    recording = make_recording()
    kept = recording.outcome.sd_curated.unit_ids
    failed = [unit for unit in recording.sd_all.unit_ids if unit not in kept]
    by_hand = decided(recording.sd_all, {kept[0]: "drop", failed[0]: "keep"})
    legend = std_scatter_plot([by_hand], CurationConfig(), FigureConfig()).axes[0].get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert any(text.startswith("failed later, or by hand (") for text in texts)
    assert f"kept ({len(kept)})" in texts
    bars = curation_bar_plot([by_hand], FigureConfig()).axes[0].containers
    assert len(bars) == 4
    pages = {unit: _title(by_hand, unit) for unit in (kept[0], failed[0], kept[1])}
    assert ": dropped by hand, " in pages[kept[0]]
    assert ": kept by hand, " in pages[failed[0]]
    assert ": curated, " in pages[kept[1]]


def _title(recording: FigureRecording, unit: int) -> str:
    from spikelab.spike_sorting.figures.unit_page import _title as title_of

    index = recording.sd_all.unit_ids.index(unit)
    return title_of(recording.sd_all.unit_attributes[index], recording.outcome.unit_metrics[index])
