"""Sort raw recordings: load, sort, extract waveforms, curate, compile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikelab.spike_sorting.pipeline import sort_multistream, sort_recording

__all__ = ["sort_multistream", "sort_recording"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `import spikelab.spike_sorting.config` does not load SpikeInterface.
    if name in __all__:
        from spikelab.spike_sorting import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'spikelab.spike_sorting' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
