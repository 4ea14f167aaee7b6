"""Units that a person merged, split or named are the same in every format, and decisions survive a kill."""

import shutil
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest
import scipy.io

from spikelab.spike_sorting import curate_results, export_results
from spikelab.spike_sorting import decisions as d
from spikelab.spike_sorting.exchange.formats.phy_curation import read_phy
from spikelab.spike_sorting.run.results import Results
from spikelab.spikedata import SpikeData


@pytest.fixture(scope="module")
def curated(sorted_once, tmp_path_factory):
    """The folder of a sort with decisions, and what was returned."""
    root = tmp_path_factory.mktemp("curated")
    shutil.copytree(sorted_once, root / "all", copy_function=shutil.copy2)
    opened = Results.open(root / "all" / "out")
    a, b, c, e, f = sorted(opened.state.units, key=lambda unit: -len(opened.state.units[unit].frames))[:5]
    new = opened.state.next_id
    decisions, state = opened.decisions, opened.state
    for step in (
        {"do": "merge", "units": [a, b]},
        {"do": "split", "unit": c, "by": "time", "at_s": 3.0},
        {"do": "mark", "units": [new, new + 1, new + 2, f], "verdict": "keep"},
        {"do": "mark", "units": [new + 1], "label": "=SUM(A1)"},
        {"do": "mark", "units": [e], "verdict": "drop", "label": "noise"},
    ):
        decisions, state = d.with_step(decisions, step, state)
    (units,) = curate_results(opened.folder, decisions)
    return opened.folder, units, e


def told(unit):
    """What decisions gave a unit, as text."""
    texts = {name: unit.get(name) or "" for name in ("decided", "label")}
    return texts | {name: [int(i) for i in unit.get(name, [])] for name in ("merged_from", "split_from")}


@pytest.mark.parametrize("to", ["npz", "h5", "pkl"])
def test_spikedata(curated, tmp_path, to):
    folder, units, _ = curated
    read = SpikeData.load(export_results(folder, to, tmp_path / f"units.{to}"))
    assert read == units
    assert [told(unit) for unit in read.unit_attributes] == [told(unit) for unit in units.unit_attributes]
    assert read.metadata["curation_history"]["decisions"] == units.metadata["curation_history"]["decisions"]


def test_matlab(curated, tmp_path):
    folder, units, _ = curated
    found = scipy.io.loadmat(export_results(folder, "mat", tmp_path / "u.mat"), simplify_cells=True)["units"]
    known = {unit["unit_id"]: unit for unit in units.unit_attributes}
    assert {int(unit["unit_id"]) for unit in found} == set(units.unit_ids)
    for unit in found:
        lists = {name: np.atleast_1d(unit[name]) for name in ("merged_from", "split_from")}
        texts = {name: unit[name] if isinstance(unit[name], str) else "" for name in ("decided", "label")}
        assert told(texts | lists) == told(known[unit["unit_id"]])
        np.testing.assert_array_equal(unit["spike_train"], known[unit["unit_id"]]["spike_train_samples"])


def test_nwb(curated, tmp_path):
    folder, units, _ = curated
    path = export_results(folder, "nwb", tmp_path / "u.nwb")
    with h5py.File(path) as file:
        table = file["units"]
        assert table["id"][:].tolist() == units.unit_ids
        for name in ("decided", "label", "merged_from", "split_from"):
            values = [told(unit)[name] for unit in units.unit_attributes]
            texts = ["; ".join(map(str, value)) if isinstance(value, list) else value for value in values]
            assert [value.decode() for value in table[name][:]] == texts
        ends = table["spike_times_index"][:].tolist()
        times = np.split(table["spike_times"][:], ends[:-1])
        for seconds, train in zip(times, units.train, strict=True):
            np.testing.assert_allclose(seconds * 1000.0, train, atol=1e-6)


def test_phy(curated, tmp_path):
    folder, units, dropped = curated
    exported = export_results(folder, "phy", tmp_path / "phy", units="all", traces=False)
    phy = read_phy(exported)
    trains = {unit: phy.frames[phy.before == row] for row, unit in enumerate(phy.unit_ids)}
    for unit in units.unit_attributes:
        np.testing.assert_array_equal(trains[unit["unit_id"]], unit["spike_train_samples"])
    groups = {phy.unit_ids[cluster]: group for cluster, group in phy.groups.items()}
    assert groups[dropped] == "noise"
    assert {groups[unit] for unit in units.unit_ids} == {"good"}
    labels = (exported / "cluster_label.tsv").read_text()
    assert "\t'=SUM(A1)\n" in labels
    assert "noise" in labels


def test_spikeinterface(curated):
    import spikeinterface

    folder, units, _ = curated
    sorting = spikeinterface.load(export_results(folder, "si", overwrite=True))
    assert sorting.unit_ids.tolist() == units.unit_ids
    assert sorting.get_property("label").tolist() == [told(unit)["label"] for unit in units.unit_attributes]


def test_a_kill_at_any_moment_leaves_the_last_steps_or_those_before(tmp_path):
    code = """
        import sys
        from pathlib import Path
        from spikelab.spike_sorting import decisions as d
        from spikelab.spike_sorting.data import SpikeTrains

        trains = SpikeTrains.from_dict({1: [10, 500], 2: [300]})
        decisions = d.Decisions.on(trains)
        state = d.state_of(decisions, trains, 20_000.0)
        for n in range(100_000):
            step = {"do": "mark", "units": [1], "label": f"label {n} " + "x" * (n % 50)}
            decisions, state = d.with_step(decisions, step, state)
            d.write(Path(sys.argv[1]), decisions)
            print(n, flush=True)
    """
    path = tmp_path / d.FILE
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(20):
        child.stdout.readline()
    child.kill()
    rest = child.stdout.read().split()
    child.wait()
    child.stdout.close()
    told_last = int(rest[-1]) if rest else 19
    found = d.read(path)
    assert found.done == len(found.steps)
    assert told_last + 1 <= found.done <= told_last + 2
