"""From a raw extracellular recording to curated neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from spikelab.spikedata import SpikeData

__all__ = ["SpikeData", "__version__"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `import spikelab` and `spikelab --help` are instant.
    if name == "SpikeData":
        from spikelab.spikedata import SpikeData

        return SpikeData
    raise AttributeError(f"module 'spikelab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
