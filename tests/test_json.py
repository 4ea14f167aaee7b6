"""JSON for people."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from spikelab.system.json_files import readable

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
