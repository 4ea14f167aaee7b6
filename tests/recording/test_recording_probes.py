"""Probe files that people have: of probeinterface, tables of places, prb files; and what is none of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spikeinterface as si
from probeinterface import Probe, write_probeinterface

from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.recording import open_recording
from spikelab.spike_sorting.recording.geometry import geometry_of

PLACES = [[0.0, 0.0], [17.5, 0.0], [0.0, 40.0], [17.5, 40.0]]


def recording(ids: list[str] | None = None) -> si.BaseRecording:
    traces = np.random.default_rng(0).normal(0, 6, (4000, 4)).astype(np.float32)
    return si.NumpyRecording([traces], 20_000.0, channel_ids=ids)


def places_of(path: Path, ids: list[str] | None = None) -> dict[str, list[float]]:
    """Place of each channel, by its id."""
    opened = open_recording(recording(ids), RecordingConfig(probe_path=path))
    return dict(zip(map(str, opened.channel_ids), geometry_of(opened).own_places.tolist(), strict=True))


def expected(*channels: int) -> dict[str, list[float]]:
    return {str(channel): PLACES[row] for row, channel in sorted(enumerate(channels), key=lambda item: item[1])}


@pytest.fixture
def table(tmp_path: Path) -> Any:
    def write(text: str, name: str = "probe.csv", encoding: str = "utf-8") -> Path:
        (tmp_path / name).write_bytes(text.encode(encoding))
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("text", "name", "encoding"),
    [
        ("channel,x,y\n3,0,0\n1,17.5,0\n0,0,40\n2,17.5,40\n", "p.csv", "utf-8"),
        ("Channel;X (um);Y (um)\r\n3,0;0;0\r\n1,0;17,5;0\r\n;;\r\n0,0;0;40\r\n2,0;17,5;40\r\n", "p.csv", "utf-8-sig"),
        (
            "CH\tx_mm\ty_mm\tnote\t\n3\t0\t0\t\t\n1\t0.0175\t0\t\t\n0\t0\t0.04\t\t\n2\t0.0175\t0.04\t\t\n",
            "p.tsv",
            "utf-16",
        ),
        ("channel x y\n3 0 0\n1 17.5 0\n0 0 40\n2 17.5 40\n", "p.txt", "utf-8"),
        ("channel,x,y\n3,0,0\n-1,99,99\n1,17.5,0\n0,0,40\n2,17.5,40\n", "p.csv", "utf-8"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*the columns note are not used")
def test_tables_of_places_are_read(table: Any, text: str, name: str, encoding: str) -> None:
    found = places_of(table(text, name, encoding))
    assert {channel: np.round(place, 6).tolist() for channel, place in found.items()} == expected(3, 1, 0, 2)


def test_channels_may_be_named(table: Any) -> None:
    ids = ["AP3", "AP1", "AP0", "AP2"]
    path = table("channel_id,x,y\nAP0,0,0\nAP1,17.5,0\nAP2,0,40\nAP3,17.5,40\n")
    assert places_of(path, ids) == {"AP3": PLACES[3], "AP1": PLACES[1], "AP0": PLACES[0], "AP2": PLACES[2]}
    one_based = table("channel,x,y\n1,0,0\n2,17.5,0\n3,0,40\n4,17.5,40\n")
    assert places_of(one_based, ["1", "2", "3", "4"]) == dict(zip("1234", PLACES, strict=True))
    with pytest.raises(ValueError, match=r"probe\.csv: the column channel has \['1', '2', '3', '4'\].* from 0 to 3"):
        places_of(one_based)
    either = table("channel,x,y\n0,0,0\n1,17.5,0\n2,0,40\n3,17.5,40\n")
    with pytest.raises(ValueError, match="may count the channels from 0, or name them, which are 3, 2, 1, 0"):
        places_of(either, ["3", "2", "1", "0"])


def test_without_channels_rows_are_in_their_order(table: Any) -> None:
    for text in ("x,y\n0,0\n17.5,0\n0,40\n17.5,40\n", "0 0\n17.5 0\n0 40\n17.5 40\n", "0;0\n17,5;0\n0;40\n17,5;40\n"):
        with pytest.warns(UserWarning, match="does not say which channel"):
            assert places_of(table(text)) == expected(0, 1, 2, 3)
    with pytest.warns(UserWarning, match="its first column, which counts from 0, is taken for the channels"):
        assert places_of(table("3,0,0\n1,17.5,0\n0,0,40\n2,17.5,40\n")) == expected(3, 1, 0, 2)


def test_contacts_without_a_place_and_channels_without_a_contact_are_left_out(table: Any) -> None:
    path = table("channel,x,y\n0,0,0\n1,17.5,0\n2,0,40\n3,n/a,\n")
    with (
        pytest.warns(UserWarning, match="line 5: the contact has no place"),
        pytest.warns(UserWarning, match="has no contact of the channels 3: they are left out"),
    ):
        assert list(places_of(path)) == ["0", "1", "2"]


def test_shanks_and_probes_of_a_table_are_groups(table: Any) -> None:
    path = table("channel,x,y,shank,electrode\n0,0,0,a,e7\n1,0,20,a,e5\n2,500,0,b,e3\n3,500,20,b,e1\n")
    geometry = geometry_of(open_recording(recording(), RecordingConfig(probe_path=path)))
    assert geometry.groups.tolist() == [0, 0, 1, 1]
    assert geometry.contacts == ("e7", "e5", "e3", "e1")
    path = table("channel,x,y,tetrode\n0,0,0,1\n1,0,20,1\n2,0,0,2\n3,0,20,2\n")
    with pytest.warns(UserWarning, match="side by side"):
        geometry = geometry_of(open_recording(recording(), RecordingConfig(probe_path=path)))
    assert geometry.probes == ("1", "1", "2", "2")
    assert geometry.n_groups == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"probe\.csv is empty; expected a table of contacts"),
        ("channel,x\n0,0\n", r"line 1: the columns are \['channel', 'x'\]; expected a table of contacts: the columns"),
        ("channel,x,y\n0,0,left\n", "line 2, column y: expected a number such as 17.5, got 'left'"),
        ("channel,x,y\n0,0,0\n\n1,17.5\n", "line 4: a place has one coordinate and lacks another"),
        ("channel,x,y\n0,0,0,5\n", "line 2: '5' is in a column without a name; expected a table of contacts"),
        ("channel,ch,x,y\n0,0,0,0\n", "two columns mean channel"),
        ("0,0,5\n4,0,5\n", "has no header, and 3 columns: write what they are into the first line, as channel,x,y"),
        ("channel,x,y\n0,0,0\n0,20,0\n1,0,20\n2,9,20\n", "wires 2 contacts to channel 0"),
        ('channel;x;y\n0;"1,250";0\n1;0;0\n', "line 2, column x: '1,250' may be 1.250 or 1250"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*has no contact of the channels")
def test_what_is_no_table_of_places_is_said(table: Any, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        places_of(table(text))


# prb files

KLUSTA = """
# made by hand
total_nb_channels = 4
radius = 100
channel_groups = {
    1: {
        'channels': list(range(2)),
        'graph': [[0, 1]],
        'geometry': {0: [0, 0], 1: [17.5, 0]},
    },
    2: {'channels': [3, 2], 'graph': [], 'geometry': {2: (0, 400), 3: (17.5, 400.0)}},
}
"""


def test_prb_files_are_read_without_running_them(table: Any) -> None:
    path = table(KLUSTA, "probe.prb")
    opened = open_recording(recording(), RecordingConfig(probe_path=path))
    geometry = geometry_of(opened)
    assert geometry.own_places.tolist() == [[0, 0], [17.5, 0], [0, 400], [17.5, 400]]
    assert geometry.groups.tolist() == [0, 0, 1, 1]


def test_tetrodes_of_a_prb_file_need_no_geometry(table: Any) -> None:
    path = table("channel_groups = {0: {'channels': [0, 1]}, 1: {'channels': [2, 3], 'geometry': {}}}", "probe.prb")
    with pytest.warns(UserWarning, match=r"wires of one bundle|side by side"):
        geometry = geometry_of(open_recording(recording(), RecordingConfig(probe_path=path)))
    assert geometry.groups.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import os\nos.system('touch ran')\nchannel_groups = {}",
            "line 2: more than lists and numbers; prb files are",
        ),
        ("channel_groups = {0: {'channels': [c for c in range(4)]}}", "line 1: .*read_prb"),
        ("channel_groups = {0: {'channels': __import__('os').listdir()}}", "line 1: .*are not run here"),
        ("channel_groups = {}\nfor i in range(4):\n    channel_groups[i] = i", "line 2: "),
        ("a = b\nb = a\nchannel_groups = a", "more than lists and numbers"),
        ("x = 1", "has no channel_groups"),
        ("channel_groups = {0: ", "line 1: no valid prb file"),
        ("channel_groups = {0: {'channels': list(range(64))}}", "64 channels and no geometry"),
        (
            "channel_groups = {0: {'channels': [0, 1], 'geometry': {0: (0, 0)}}}",
            "channel 1 of group 0 has the place None",
        ),
        ("channel_groups = {0: {'channels': ['a']}}", r"has the channels \('a',\); expected a list of whole numbers"),
        ("channel_groups = {{}: 1}", "no valid prb file"),
        ("channel_groups = list(range(10 ** 9))", "more than lists"),
        ("channel_groups = list(range(1000000000))", "more than lists"),
    ],
)
def test_prb_files_that_are_more_than_values_are_refused(
    table: Any, text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
        places_of(table(text, "probe.prb"))
    assert not (tmp_path / "ran").exists()


# json


def test_json_of_another_kind_is_named(table: Any) -> None:
    for text, said in (
        ('{"electrodes": [], "scale": 2}', "holds an object with electrodes, scale; expected a probe file of probeint"),
        (
            "[1, 2]",
            r"holds \[1, 2\]; expected a probe file of probeinterface .*table with the columns channel, x and y",
        ),
        ("{", "is no valid JSON"),
        ('{"specification": "probeinterface", "version": "0.2", "probes": []}', "has no contacts"),
    ):
        with pytest.raises(ValueError, match=rf"probe\.json.*{said}"):
            places_of(table(text, "probe.json"))


def test_json_of_probeinterface_is_read_whatever_its_encoding(table: Any, tmp_path: Path) -> None:
    probe = Probe(ndim=2)
    probe.set_contacts(np.array(PLACES), shapes="circle", shape_params={"radius": 5})
    probe.set_device_channel_indices([3, 1, 0, 2])
    write_probeinterface(tmp_path / "plain.json", probe)
    text = (tmp_path / "plain.json").read_text()
    json.loads(text)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert places_of(table(text, "probe.json", encoding)) == expected(3, 1, 0, 2)
