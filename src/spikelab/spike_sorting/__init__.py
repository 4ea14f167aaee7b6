"""Sort raw recordings: load, sort, extract waveforms, curate, compile."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikelab.spike_sorting._exceptions import (
        BiologicalSortFailure,
        EnvironmentSortFailure,
        InsufficientActivityError,
        ResourceSortFailure,
        SortBatchError,
        SorterNotInstalledError,
        SpikeSortingClassifiedError,
    )
    from spikelab.spike_sorting.comparison import Comparison, compare_sorts
    from spikelab.spike_sorting.exchange import curate_results, export_results, import_curation
    from spikelab.spike_sorting.pipeline import import_sorting, sort_multistream, sort_recording
    from spikelab.spike_sorting.settings.toml import config_from_toml, config_to_toml
    from spikelab.spike_sorting.trials import Trial, validate_grid, validate_sort

# Modules of the names below, apart from the exceptions. Lazy, so that the settings do not load SpikeInterface.
_MODULES = {
    "sort_recording": "pipeline",
    "sort_multistream": "pipeline",
    "curate_results": "exchange",
    "compare_sorts": "comparison",
    "Comparison": "comparison",
    "export_results": "exchange",
    "import_curation": "exchange",
    "import_sorting": "pipeline",
    "validate_sort": "trials",
    "validate_grid": "trials",
    "Trial": "trials",
    "config_from_toml": "settings.toml",
    "config_to_toml": "settings.toml",
}

__all__ = [
    "BiologicalSortFailure",
    "Comparison",
    "EnvironmentSortFailure",
    "InsufficientActivityError",
    "ResourceSortFailure",
    "SortBatchError",
    "SorterNotInstalledError",
    "SpikeSortingClassifiedError",
    "Trial",
    "compare_sorts",
    "config_from_toml",
    "config_to_toml",
    "curate_results",
    "export_results",
    "import_curation",
    "import_sorting",
    "sort_multistream",
    "sort_recording",
    "validate_grid",
    "validate_sort",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.{_MODULES.get(name, '_exceptions')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
