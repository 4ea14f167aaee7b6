"""TOML in and out: nothing is lost, and a wrong name is named."""

from __future__ import annotations

import math
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikelab.spike_sorting import config as presets
from spikelab.spike_sorting.config import KILOSORT2, RT_SORT_NEUROPIXELS, SortingPipelineConfig
from spikelab.spike_sorting.settings.fields import option_of
from spikelab.spike_sorting.settings.keywords import flat_name, groups
from spikelab.spike_sorting.settings.toml import config_from_toml, config_to_toml

if TYPE_CHECKING:
    from spikelab.spike_sorting.settings.constraints import Constraint

PRESETS = [preset for preset in vars(presets).values() if isinstance(preset, SortingPipelineConfig)]
# Strings that stand for something in TOML must come through as well.
WORDS = [
    "none",
    "\\none",
    "\\\\none",
    "None",
    '"""',
    "\r\n",
    "[recording]",
    "",
    "auto",
    "cpu",
    "cuda:1",
    "int16",
    "<f4",
]
TEXTS = st.text(max_size=8) | st.sampled_from(WORDS)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


ACROSS = ("group", "local", "highpass", "drop", "interpolate")
CHOICES = [
    *WORDS,
    *ACROSS,
    "same",
    "estimate",
    "average",
    "hill",
    "median",
    "mea",
    "neuropixels",
    "percent",
    "raise",
    "skip",
    "16G",
]
FLOATS = st.floats(-1e9, 1e9)
MERGE = {"dist_um": 3.5, "max_violation_rate": 0.1, "cosine_threshold": 0.5, "max_lag": 3, "delta_ms": 1}
# Kinds of values: one that all settings accept which accept the kind, and the kind.
KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (None, st.none()),
    (True, st.booleans()),
    (-3, st.integers(-(10**6), 10**6)),
    (3, st.integers(1, 10**6)),
    (10**9, st.integers(10**6, 2**32)),
    (0.5, st.floats(0, 1)),
    (0.25, FLOATS),
    (math.inf, st.just(math.inf)),
    ("a", TEXTS),
    (["a"], st.lists(TEXTS | st.integers(0, 9), min_size=1, max_size=3)),
    ([1.5, 2.5], st.lists(FLOATS, min_size=2, max_size=2)),
    ([[1, 2]], st.lists(st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=2), max_size=3)),
    ([[1.5, 2.5]], st.lists(st.lists(FLOATS, min_size=2, max_size=2), max_size=3)),
    ({"a": 1}, st.dictionaries(TEXTS, VALUES, max_size=3)),
    ({"snr": [3, None]}, st.dictionaries(TEXTS, st.tuples(FLOATS, st.none()).map(list), max_size=3)),
    (MERGE, st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in MERGE.items()})),
]


def legal(check: Constraint) -> st.SearchStrategy[Any]:
    """Values that meet a constraint."""
    kinds = [kind.filter(check.accepts) for example, kind in KINDS if check.accepts(example)]
    words = [word for word in CHOICES if check.accepts(word)]
    return st.one_of(*kinds, *([st.sampled_from(words)] if words else []))


CHECKS = {
    flat_name(declared): option_of(declared).check
    for group_type in groups(SortingPipelineConfig).values()
    for declared in fields(group_type)
}


@pytest.mark.parametrize("name", CHECKS)
def test_legal_values_of_every_setting_are_known(name: str) -> None:
    assert any(CHECKS[name].accepts(value) for value in [*CHOICES, *(example for example, _ in KINDS[1:])])


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional={name: legal(check) for name, check in CHECKS.items()}))
def test_every_legal_configuration_survives(values: dict[str, Any]) -> None:
    assert [name for name, value in values.items() if not CHECKS[name].accepts(value)] == []
    config = RT_SORT_NEUROPIXELS.override(**values)
    assert config_from_toml(config_to_toml(config), base=KILOSORT2) == config


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_survives(preset: SortingPipelineConfig) -> None:
    text = config_to_toml(preset)
    assert config_from_toml(text) == preset
    assert list(tomllib.loads(text)) == list(groups(SortingPipelineConfig))


def test_null_is_none_tuples_are_lists_and_paths_are_strings() -> None:
    config = KILOSORT2.override(
        rec_chunks=[(0, 5)], kilosort_path=Path("sorter"), snr_min=None, n_jobs=np.int64(2), bad_channels=("a",)
    )
    read = tomllib.loads(config_to_toml(config))
    assert read["curation"]["snr_min"] == "none"
    assert read["recording"]["rec_chunks"] == [[0, 5]]
    assert read["recording"]["bad_channels"] == ["a"]
    assert read["sorter"]["sorter_path"] == "sorter"
    assert read["execution"]["n_jobs"] == 2


def test_what_toml_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="a setting cannot hold a builtin_function"):
        config_to_toml(KILOSORT2.override(kilosort_params={"f": print}))


def test_settings_that_are_not_named_come_from_the_base() -> None:
    read = config_from_toml('[curation]\nsnr_min = "none"\n', base=RT_SORT_NEUROPIXELS)
    assert read == RT_SORT_NEUROPIXELS.override(snr_min=None)
    assert read.rt_sort.params is not RT_SORT_NEUROPIXELS.rt_sort.params
    assert config_from_toml("") == KILOSORT2


@pytest.mark.parametrize("kind", [Path, str])
def test_a_file_is_read(tmp_path: Path, kind: type[Path | str]) -> None:
    file = tmp_path / "run.toml"
    file.write_text(config_to_toml(RT_SORT_NEUROPIXELS), encoding="utf-8")
    assert config_from_toml(kind(file)) == RT_SORT_NEUROPIXELS


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run\.toml"):
        config_from_toml(tmp_path / "run.toml")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[curation\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"run\.toml is no valid TOML"):
        config_from_toml(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[curation]\nsnr_mn = 3", r"Unknown parameter 'snr_mn' in \[curation\] \(did you mean 'snr_min'"),
        ("[curaton]\nsnr_min = 3", r"Unknown group \[curaton\] \(did you mean 'curation'"),
        ("[zzz]\nx = 3", r"Unknown group \[zzz\]; there are \[recording\], \[sorter\]"),
        ("snr_min = 3", r"'snr_min' belongs into the table \[curation\]"),
        ("curation = 3", r"\[curation\] must be a table of settings, got 3"),
    ],
)
def test_a_wrong_name_is_named(text: str, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        config_from_toml(text)
