"""Where electrodes are, and which channels are sorted together."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from probeinterface import Probe, ProbeGroup, write_probeinterface
from spikeinterface.core import NumpyRecording

from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.data import BinaryRecording, Epoch, Geometry
from spikelab.spike_sorting.recording import open_recording
from spikelab.spike_sorting.recording.geometry import geometry_of, read_geometry, text_map

if TYPE_CHECKING:
    from pathlib import Path

FS = 20_000.0
COLUMN = np.column_stack([np.zeros(8), 25.0 * np.arange(8)])


def moved(places: np.ndarray, x_um: float, y_um: float) -> np.ndarray:
    return places + np.array([x_um, y_um])


def probe_of(places: Any, *, first: int | None = 0, name: str = "", **more: Any) -> Probe:
    """A probe, wired to channels from `first` on; None is no wiring."""
    probe = Probe(ndim=np.shape(places)[1], si_units=more.pop("si_units", "um"))
    if name:
        probe.name = name
    probe.set_contacts(np.asarray(places, float), shapes="circle", shape_params={"radius": 5}, **more)
    if first is not None:
        probe.set_device_channel_indices(np.arange(first, first + len(places)))
    return probe


def blank(n_channels: int) -> NumpyRecording:
    recording = NumpyRecording([np.zeros((2000, n_channels), np.float32)], FS)
    recording.set_channel_gains(1.0)
    recording.set_channel_offsets(0.0)
    return recording


def with_probes(*probes: Probe) -> Any:
    group = ProbeGroup()
    for probe in probes:
        group.add_probe(probe)
    return blank(group.get_contact_count()).select_channels_with_probegroup(group)


def quietly(recording: Any, **settings: Any) -> Geometry:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_geometry(recording, "day.h5", **settings)


def told(recording: Any, words: str, **settings: Any) -> Geometry:
    with pytest.warns(UserWarning, match=words):
        return read_geometry(recording, "day.h5", **settings)


def sets_of(geometry: Geometry) -> set[frozenset[int]]:
    return {frozenset(channels.tolist()) for channels in geometry.channels_of_groups()}


def shanks(n: int, apart_um: float) -> Probe:
    places = np.vstack([moved(COLUMN, apart_um * shank, 0) for shank in range(n)])
    return probe_of(places, shank_ids=np.repeat([str(shank) for shank in range(n)], len(COLUMN)))


# ---- groups ----


def test_one_probe_is_one_group() -> None:
    geometry = quietly(with_probes(probe_of(COLUMN)))
    assert geometry.group_names == ("",)
    assert np.array_equal(geometry.places, COLUMN)


def test_near_shanks_are_sorted_together_and_far_ones_apart() -> None:
    assert quietly(with_probes(shanks(4, 50.0))).n_groups == 1
    apart = quietly(with_probes(shanks(4, 250.0)))
    assert apart.group_names == ("shank 0", "shank 1", "shank 2", "shank 3")
    assert np.array_equal(apart.places, apart.own_places)
    assert apart.groups.tolist() == np.repeat(range(4), 8).tolist()


def test_four_shanks_of_two_columns_are_four_groups() -> None:
    places = np.array([[250.0 * s + 32.0 * x, 15.0 * y] for s in range(4) for y in range(12) for x in range(2)])
    geometry = quietly(with_probes(probe_of(places, shank_ids=np.repeat(list("0123"), 24))))
    assert np.bincount(geometry.groups).tolist() == [24] * 4


def test_probes_with_coordinates_of_their_own_are_laid_side_by_side() -> None:
    probes = [probe_of(COLUMN, name="left"), probe_of(moved(COLUMN, 0, 10), first=8, name="right")]
    geometry = told(with_probes(*probes), r"2 groups .* probe left \(8\), probe right \(8\).*side by side, 200 um")
    assert geometry.group_names == ("probe left", "probe right")
    assert np.array_equal(geometry.own_places[8:], moved(COLUMN, 0, 10))
    assert np.array_equal(geometry.places[8:], moved(COLUMN, 200, 10))
    probes = [probe_of(COLUMN), probe_of(moved(COLUMN, 0, 10), first=8)]
    together = quietly(with_probes(*probes), electrode_groups="together")
    assert (together.n_groups, together.group_names) == (1, ("",))
    assert np.array_equal(together.places, together.own_places)


def test_a_shank_of_one_probe_beside_a_shank_of_another_does_not_join_the_probes() -> None:
    places, ids = np.vstack([COLUMN, moved(COLUMN, 50, 0)]), np.repeat(["0", "1"], 8)
    recording = with_probes(*(probe_of(places, first=16 * i, name="NP", shank_ids=ids) for i in range(2)))
    geometry = told(recording, "side by side")
    assert geometry.group_names == ("probe NP 0", "probe NP 1")
    assert sets_of(geometry) == {frozenset(range(16)), frozenset(range(16, 32))}


def test_probes_in_common_coordinates_keep_their_places() -> None:
    geometry = quietly(with_probes(probe_of(COLUMN), probe_of(moved(COLUMN, 1000, 0), first=8)))
    assert np.array_equal(geometry.places, np.vstack([COLUMN, moved(COLUMN, 1000, 0)]))
    assert geometry.group_names == ("probe 0", "probe 1")


def test_front_and_back_of_a_shank_are_two_groups() -> None:
    sides = np.repeat(["front", "back"], 16)
    two = np.vstack([COLUMN, moved(COLUMN, 50, 0)])
    ids = np.tile(np.repeat(["0", "1"], 8), 2)
    recording = with_probes(probe_of(np.vstack([two, two]), contact_sides=sides, shank_ids=ids))
    geometry = told(recording, "side by side")
    assert geometry.group_names == ("side front", "side back")
    assert sets_of(geometry) == {frozenset(range(16)), frozenset(range(16, 32))}


def test_quadrants_of_an_array_stay_together() -> None:
    y, x = np.mgrid[:8, :8]
    recording = with_probes(probe_of(30.0 * np.column_stack([x.ravel(), y.ravel()])))
    recording.set_property("group", (2 * (x // 4) + y // 4).ravel())
    assert quietly(recording).n_groups == 1


@pytest.mark.parametrize("numbered", [False, True], ids=["without shanks", "with a shank for each contact"])
def test_utah_array_is_one_group(numbered: bool) -> None:
    y, x = np.mgrid[:10, :10]
    places = 400.0 * np.column_stack([x.ravel(), y.ravel()])
    more = {"shank_ids": np.arange(100).astype(str)} if numbered else {}
    geometry = quietly(with_probes(probe_of(places, **more)))
    assert geometry.n_groups == 1
    assert np.array_equal(geometry.places, places)


def test_tetrodes_without_places_are_bundles() -> None:
    recording = blank(12)
    recording.set_property("group", np.repeat(["TT1", "TT2", "TT3"], 4))
    geometry = told(recording, "wires of one bundle in each group, 20 um apart")
    assert geometry.group_names == ("group TT1", "group TT2", "group TT3")
    assert np.isnan(geometry.own_places).all()
    first, second = geometry.places[:4], geometry.places[4:8]
    assert np.ptp(first, axis=0).tolist() == [20, 20]
    assert second[:, 0].min() - first[:, 0].max() == 200


@pytest.mark.parametrize("together", [{}, {"electrode_groups": "together"}])
def test_shanks_without_places_are_refused_unless_each_channel_is_to_be_sorted(together: dict[str, str]) -> None:
    """Placed 200 um apart, six neurons became 14 units."""
    recording = blank(36)
    recording.set_property("group", np.repeat(["left", "right", "stereotrode"], [16, 16, 4]))
    if together:
        assert told(recording, "each channel is sorted on its own", **together).n_groups == 1
        return
    words = r"day\.h5 does not say .*: group left \(16\), group right \(16\); expected places, .* Set probe_path"
    with pytest.raises(ValueError, match=words):
        read_geometry(recording, "day.h5")


def test_channels_without_places_are_apart() -> None:
    geometry = told(blank(5), r"200 um apart, so that each channel is sorted on its own")
    assert geometry.n_groups == 1
    assert np.diff(geometry.places[:, 1]).tolist() == [200] * 4
    each = blank(5)
    each.set_property("group", np.arange(5))
    assert told(each, "200 um apart").n_groups == 1


def test_some_unknown_places_are_apart_from_the_known() -> None:
    recording = with_probes(probe_of(COLUMN))
    recording.get_probegroup().probes[0]._contact_positions[5:] = np.nan
    geometry = told(recording, "where 3 of its 8 electrodes are")
    assert np.array_equal(geometry.places[:5], COLUMN[:5])
    assert np.diff(geometry.places[4:, 1]).tolist() == [200] * 3


def test_two_electrodes_of_one_group_at_one_place_are_refused() -> None:
    recording = with_probes(probe_of(COLUMN))
    recording.get_probegroup().probes[0]._contact_positions[3] = COLUMN[2]
    with pytest.raises(ValueError, match=r"day\.h5 has two electrodes at the same place: channels 2 and 3"):
        read_geometry(recording, "day.h5")


def test_groups_are_named_by_names_rather_than_numbers() -> None:
    recording = with_probes(probe_of(COLUMN), probe_of(moved(COLUMN, 1000, 0), first=8))
    recording.set_property("group", np.repeat(["CA1", "CA3"], 8))
    assert quietly(recording).group_names == ("group CA1", "group CA3")
    ids = np.repeat(["a", "b"], 8)
    two = np.vstack([COLUMN, moved(COLUMN, 300, 0)])
    recording = with_probes(probe_of(two, shank_ids=ids), probe_of(moved(two, 2000, 0), first=16, shank_ids=ids))
    names = ("probe 0, shank a", "probe 0, shank b", "probe 1, shank a", "probe 1, shank b")
    assert quietly(recording).group_names == names


def test_grouping_does_not_depend_on_the_order_of_channels() -> None:
    rng = np.random.default_rng(0)
    recording = with_probes(shanks(3, 300.0), probe_of(moved(COLUMN, 0, 40), first=24, name="other"))
    expected = told(recording, "side by side")
    order = rng.permutation(32)
    found = told(recording.select_channels(recording.channel_ids[order]), "side by side")
    assert {frozenset(order[list(channels)].tolist()) for channels in sets_of(found)} == sets_of(expected)
    assert np.array_equal(found.own_places, expected.own_places[order])


def test_many_groups_take_no_time() -> None:
    recording = blank(1024)
    recording.set_property("group", np.repeat(np.arange(256), 4))
    assert told(recording, "bundle").n_groups == 256


# ---- units of length, plane ----


def test_declared_unit_is_converted_without_a_word() -> None:
    assert np.allclose(quietly(with_probes(probe_of(COLUMN / 1000, si_units="mm"))).places, COLUMN)


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "mm"), (1e6, "m")])
def test_other_unit_is_recognised_and_said(factor: float, unit: str) -> None:
    geometry = told(with_probes(probe_of(COLUMN / factor)), f"taken to be in {unit}, which makes it 25 um")
    assert np.allclose(geometry.places, COLUMN)


def test_unit_is_judged_inside_probes() -> None:
    recording = with_probes(probe_of(COLUMN), probe_of(moved(COLUMN, 0.3, 0.2), first=8))
    geometry = told(recording, "side by side")
    assert np.array_equal(geometry.own_places[:8], COLUMN)


def test_impossible_and_odd_distances() -> None:
    with pytest.raises(ValueError, match="1e-09 um apart, which none are. It would be 1e-06 um in mm, or 0.001 um in"):
        read_geometry(with_probes(probe_of(COLUMN / 25e9)), "day.h5")
    numbered = with_probes(probe_of(COLUMN / 25))
    assert np.array_equal(told(numbered, "1 um apart, nearer than those of any probe").places, COLUMN / 25)


def planar_axes(n: int) -> np.ndarray:
    axes = np.zeros((n, 2, 3))
    axes[:, 0, 0] = axes[:, 1, 2] = 1
    return axes


def in_space(places: Any, **more: Any) -> Probe:
    return probe_of(places, plane_axes=planar_axes(len(places)), **more)


def test_contacts_in_another_plane() -> None:
    upright = np.column_stack([COLUMN[:, 0], np.full(8, 7.0), COLUMN[:, 1]])
    assert np.array_equal(quietly(with_probes(in_space(upright))).places, COLUMN)


def test_contacts_in_a_tilted_plane_keep_their_distances() -> None:
    y, x = np.mgrid[:4, :6]
    flat = np.column_stack([20.0 * x.ravel(), 30.0 * y.ravel()])
    tilted = np.column_stack([flat[:, 0], flat[:, 1] * np.cos(0.7), flat[:, 1] * np.sin(0.7)])
    places = quietly(with_probes(in_space(tilted))).places
    assert np.allclose(np.linalg.norm(places[:, None] - places, axis=-1), np.linalg.norm(flat[:, None] - flat, axis=-1))
    assert (np.diff(places[::6, 1]) > 0).all()


def test_a_line_that_shakes_is_a_plane() -> None:
    rng = np.random.default_rng(0)
    line = np.column_stack([rng.normal(0, 0.5, 8), rng.normal(0, 0.5, 8), 25.0 * np.arange(8)])
    assert np.allclose(np.diff(quietly(with_probes(in_space(line))).places[:, 1]), 25, atol=0.5)


def test_probes_in_planes_of_their_own() -> None:
    first = np.column_stack([COLUMN[:, 0], np.zeros(8), COLUMN[:, 1]])
    second = np.column_stack([COLUMN[:, 1], np.full(8, 400.0), np.tile([0.0, 30.0], 4)])
    third = np.column_stack([np.full(8, 300.0), COLUMN[:, 1], np.tile([0.0, 30.0], 4)])
    recording = with_probes(in_space(first), in_space(second, first=8), in_space(third, first=16))
    geometry = told(recording, "3 groups")
    assert sets_of(geometry) == {frozenset(range(8 * i, 8 * i + 8)) for i in range(3)}


def test_contacts_in_no_plane_are_refused_with_the_axes() -> None:
    places = np.random.default_rng(0).uniform(0, 300, (8, 3))
    with pytest.raises(
        ValueError, match=r"day\.h5 has contacts that lie in no plane: .* along x, .* along y, .* along"
    ):
        read_geometry(with_probes(in_space(places)), "day.h5")


# ---- on the recording, and on disk ----


def test_geometry_stays_with_the_channels_of_an_opened_recording() -> None:
    recording = open_recording(with_probes(shanks(2, 250.0)), RecordingConfig(bad_channels=["0"]))
    geometry = geometry_of(recording)
    assert geometry.group_names == ("shank 0", "shank 1")
    assert np.bincount(geometry.groups).tolist() == [7, 8]
    assert np.array_equal(recording.get_channel_locations(), geometry.places)
    assert geometry.shanks == ("0",) * 7 + ("1",) * 8


def test_geometry_survives_the_description_of_a_binary(tmp_path: Path) -> None:
    geometry = quietly(with_probes(shanks(2, 250.0)))
    binary = BinaryRecording(
        tmp_path / "a.dat", 100, 16, FS, 0.5, tuple(map(str, range(16))), geometry.places, None, (Epoch(0, 100),),
        geometry=geometry,
    )  # fmt: skip
    read = BinaryRecording.from_dict(tmp_path / "a.dat", json.loads(json.dumps(binary.to_dict())))
    assert read.geometry is not None
    assert (read.geometry.group_names, read.geometry.shanks) == (geometry.group_names, geometry.shanks)
    assert np.array_equal(read.groups, geometry.groups)
    old = {name: value for name, value in binary.to_dict().items() if name != "geometry"}
    assert BinaryRecording.from_dict(tmp_path / "a.dat", old).groups.tolist() == [0] * 16


def test_take_keeps_groups_in_their_order() -> None:
    geometry = quietly(with_probes(shanks(3, 250.0)))
    some = geometry.take(np.array([20, 3, 17]))
    assert (some.group_names, some.groups.tolist()) == (("shank 0", "shank 2"), [1, 0, 1])
    assert np.array_equal(some.places, geometry.places[[20, 3, 17]])


def test_channels_of_a_group_are_copied(tmp_path: Path) -> None:
    counts = np.arange(60, dtype=np.int16).reshape(10, 6)
    counts.tofile(tmp_path / "all.dat")
    places = np.column_stack([np.arange(6) * 20.0, np.zeros(6)])
    binary = BinaryRecording(
        tmp_path / "all.dat", 10, 6, FS, 0.5, tuple("abcdef"), places, np.arange(6), (Epoch(0, 10),),
        source_gains_uv=np.arange(6.0), geometry=Geometry.of(places, [0, 1, 0, 1, 0, 1]),
    )  # fmt: skip
    part = binary.take(np.array([1, 3, 5]), tmp_path / "part.dat")
    assert np.array_equal(part.counts, counts[:, [1, 3, 5]])
    assert (part.channel_ids, part.electrodes.tolist()) == (("b", "d", "f"), [1, 3, 5])  # type: ignore[union-attr]
    assert np.array_equal(part.locations, places[[1, 3, 5]])
    assert part.groups.tolist() == [0, 0, 0]


def test_reference_stays_inside_groups() -> None:
    rng = np.random.default_rng(0)
    traces = rng.normal(0, 3, (20_000, 16)).astype(np.float32)
    wave = 300 * np.sin(2 * np.pi * 1000 * np.arange(20_000) / FS)
    traces[:, :8] += wave[:, None]  # the artefact of one probe
    recording = NumpyRecording([traces], FS)
    recording.set_probe(shanks(2, 300.0))
    for reference in ("median", "average"):
        clean = open_recording(recording, RecordingConfig(common_reference=reference)).get_traces()
        assert np.abs(clean[500:-500]).max() < 30


def test_bad_channels_are_judged_inside_groups() -> None:
    rng = np.random.default_rng(0)
    level = np.repeat([2.0, 20.0], 8)
    level[3] = 15.0  # loud for its shank, quiet beside the other
    recording = NumpyRecording([(rng.normal(0, 1, (40_000, 16)) * level).astype(np.float32)], FS)
    recording.set_probe(shanks(2, 300.0))
    with pytest.warns(UserWarning, match="leaves out 1 of 16 channels: 3"):
        opened = open_recording(recording, RecordingConfig(bad_channels="auto"))
    assert opened.get_num_channels() == 15


# ---- probe files ----


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(*probes: Probe) -> Path:
        group = ProbeGroup()
        for probe in probes:
            group.add_probe(probe)
        write_probeinterface(tmp_path / "probe.json", group)
        return tmp_path / "probe.json"

    return write


def test_wiring_that_is_missing_is_assumed_and_said(written: Any) -> None:
    path = written(probe_of(COLUMN, first=None))
    with pytest.warns(UserWarning, match=r"probe\.json does not say .* in the order of the 8 channels"):
        opened = open_recording(blank(8), RecordingConfig(probe_path=path))
    assert np.array_equal(opened.get_channel_locations(), COLUMN)


def test_wiring_of_one_probe_is_not_discarded_for_another_without(written: Any) -> None:
    path = written(probe_of(COLUMN), probe_of(moved(COLUMN, 500, 0), first=None))
    with pytest.raises(
        ValueError, match=r"probe\.json does not say to which .* probe 1 are wired, .* 1 of its 2 probes"
    ):
        open_recording(blank(16), RecordingConfig(probe_path=path))


def test_channels_keep_their_names_where_a_probe_file_wires_all(written: Any) -> None:
    recording = NumpyRecording([np.zeros((2000, 8), np.float32)], FS, channel_ids=list("abcdefgh"))
    probe = probe_of(COLUMN)
    probe.set_device_channel_indices([7, 6, 5, 4, 3, 2, 1, 0])
    opened = open_recording(recording, RecordingConfig(probe_path=written(probe)))
    assert list(opened.channel_ids) == list("abcdefgh")
    assert np.array_equal(opened.get_channel_locations(), COLUMN[::-1])


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (probe_of(COLUMN, first=None), r"probe\.json has 8 contacts .* recording has 6 channels"),
        (probe_of(COLUMN), r"probe\.json wires a contact to channel 7, but the recording has 6 channels"),
        (probe_of(COLUMN[:5], first=None), r"probe\.json has 5 contacts .* recording has 6 channels"),
    ],
    ids=["more contacts, no wiring", "more contacts", "fewer contacts, no wiring"],
)
def test_contacts_that_do_not_fit_the_channels_are_refused(written: Any, probe: Probe, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_recording(blank(6), RecordingConfig(probe_path=written(probe)))


# ---- drawn as text ----


def test_map_has_a_letter_for_each_group() -> None:
    lines = text_map(quietly(with_probes(shanks(2, 250.0)))).splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 80
    assert [line.split("|")[1].split() for line in lines[:8]] == [["A", "B"]] * 8
    assert lines[-1].split() == ["A:", "shank", "0", "(8),", "B:", "shank", "1", "(8)"]


def test_map_of_large_arrays_fits_a_terminal() -> None:
    y, x = np.mgrid[:120, :220]
    geometry = Geometry.of(17.5 * np.column_stack([x.ravel(), y.ravel()]))
    lines = text_map(geometry).splitlines()
    assert len(lines) <= 20
    assert set("".join(line.split("|")[1] for line in lines[:14])) == {"A"}
    assert "x 0 to 3832.5 um" in lines[-2]
    many = Geometry.of(250.0 * np.column_stack([np.arange(80), np.zeros(80)]), groups=range(80))
    assert len(text_map(many).splitlines()) <= 20
    assert "*" in text_map(many)
    assert text_map(Geometry.of(np.zeros((1, 2)))).splitlines()[0] == "  |A"
