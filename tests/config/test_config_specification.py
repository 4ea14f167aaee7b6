"""The published signatures and presets, compared with the text that promises them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from spikelab.spike_sorting import _exceptions, config

SPECIFICATION = Path(__file__).resolve().parents[3] / "shared" / "spec" / "spike_sorting_api.txt"
GROUPS = (
    "RecordingConfig",
    "SorterConfig",
    "RTSortConfig",
    "WaveformConfig",
    "CurationConfig",
    "CompilationConfig",
    "FigureConfig",
    "ExecutionConfig",
    "SortingPipelineConfig",
)
PRESETS = ("KILOSORT2", "KILOSORT2_DOCKER", "KILOSORT4", "KILOSORT4_DOCKER", "RT_SORT_MEA", "RT_SORT_NEUROPIXELS")
ADDED = {
    "RecordingConfig": [
        "rec_name",
        "electrical_series_path",
        "probe_path",
        "sampling_frequency",
        "num_channels",
        "dtype",
        "common_reference",
        "reference_by",
        "spatial_filter",
        "bad_channels",
        "bad_channels_action",
        "phase_shift",
        "stim_times_s",
        "artifacts",
        "electrode_groups",
        "motion",
        "days",
        "rate_tolerance_ppm",
        "trust_input",
    ],
    "WaveformConfig": ["si_quality_metrics", "plugin_metrics"],
    "CurationConfig": ["significance_min", "metric_limits", "merge_duplicates", "merge_duplicates_params"],
    "ExecutionConfig": ["on_failure", "resource_retries", "sorter_timeout_s"],
    "SortingPipelineConfig": ["validation"],
}


@pytest.fixture(scope="module")
def specification() -> str:
    if not SPECIFICATION.is_file():
        pytest.skip(f"the specification is not at {SPECIFICATION}")
    return SPECIFICATION.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_takes_the_published_fields_then_the_added_ones(specification: str, name: str) -> None:
    promised = re.search(rf"^- class spikelab\.spike_sorting\.config\.{name}\((.*)\)\[source\]$", specification, re.M)
    assert promised is not None
    parameters = inspect.signature(getattr(config, name)).parameters.values()
    written = [f"{p.name}={p.default!r}" for p in parameters]
    count = len(written) - len(ADDED.get(name, []))
    assert ", ".join(written[:count]) == promised[1]
    assert [p.name for p in parameters][count:] == ADDED.get(name, [])


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_prints_as_published(specification: str, name: str) -> None:
    promised = re.search(rf"^- spikelab\.spike_sorting\.config\.{name} = (.*)$", specification, re.M)
    assert promised is not None
    assert repr(getattr(config, name)) == promised[1]


def test_every_published_error_has_its_constructor_and_bases(specification: str) -> None:
    pattern = r"^- exception spikelab\.spike_sorting\._exceptions\.(\w+)(\(.*\))?\[source\]\nBases:\n(.*)$"
    promised = re.findall(pattern, specification, re.M)
    assert len(promised) == 12
    for name, arguments, bases in promised:
        kind = getattr(_exceptions, name)
        names = ", ".join(base.__name__ for base in kind.__bases__)
        # The text runs the bases and the description together.
        assert bases.startswith((names, names.replace(", ", ",")))
        if arguments:
            parameters = inspect.signature(kind).parameters.values()
            bare = inspect.Signature([p.replace(annotation=p.empty) for p in parameters])
            assert str(bare) == arguments
