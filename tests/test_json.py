"""JSON for people."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikelab.system.json_files import finite_or_text, plain, readable

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.integers(0, 5))
def test_it_means_the_same(value, levels):
    assert json.loads(readable(value, levels)) == value


def test_lines_are_for_people():
    record = {"stages": {"sorting": {"wall_s": 1.5, "noise": [1, 2]}}, "warnings": [], "units": [{"id": 1}, {"id": 2}]}
    assert readable(record, 3).splitlines() == [
        "{",
        ' "stages": {',
        '  "sorting": {',
        '   "wall_s": 1.5,',
        '   "noise": [1, 2]',
        "  }",
        " },",
        ' "warnings": [],',
        ' "units": [',
        "  {",
        '   "id": 1',
        "  },",
        "  {",
        '   "id": 2',
        "  }",
        " ]",
        "}",
    ]
    assert readable({"a": {1.5}}, default=sorted) == '{\n "a": [1.5]\n}'


def test_plain_values_are_of_json_alone():
    value = {1: np.float32(0.5), "a": (np.arange(2), Path("x")), "b": [np.bool_(True), None, "text", np.nan]}
    assert plain(value, number=finite_or_text) == {"1": 0.5, "a": [[0, 1], "x"], "b": [True, None, "text", "nan"]}
    assert plain([{2}, -np.inf], number=finite_or_text, other=list) == [[2], "-inf"]
    with pytest.raises(TypeError, match="a setting cannot hold a set"):
        plain([{2}])
