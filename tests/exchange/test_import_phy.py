"""There and back: what is done in Phy, written as Phy writes it (by phylib), becomes curated units."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from phylib.io.model import load_model

from spikelab import SpikeData
from spikelab.spike_sorting import export_results, import_curation
from spikelab.spike_sorting.exchange.formats.phy_curation import NewUnit
from spikelab.spike_sorting.exchange.reimport import _measure
from spikelab.spike_sorting.run.results import Results


def in_phy(folder: Path, clusters: np.ndarray | None = None, groups: dict[int, str] | None = None) -> None:
    """Save clusters and groups as Phy does."""
    model = load_model(folder / "params.py")
    if clusters is not None:
        model.save_spike_clusters(clusters)
    if groups is not None:
        model.save_metadata("group", groups)
    model.close()


def cluster_of(folder: Path) -> np.ndarray:
    return np.load(folder / "spike_clusters.npy").astype(np.int32)


def all_good(folder: Path, **changes: str) -> dict[int, str]:
    groups = {int(cluster): "good" for cluster in np.unique(cluster_of(folder))}
    return groups | {int(cluster.removeprefix("c")): group for cluster, group in changes.items()}


@pytest.fixture
def folder(results: Path) -> Path:
    return export_results(results, "phy")


def curated(results: Path) -> SpikeData:
    return SpikeData.load(results / "sorted_spikedata_curated.npz")


def test_untouched_units_come_back_as_they_were(results: Path, folder: Path) -> None:
    before, after = curated(results), import_curation(results, folder)
    assert after.unit_ids == before.unit_ids
    assert [unit.pop("phy_cluster") for unit in after.neuron_attributes] == list(range(before.N))
    assert {unit.pop("phy_group") for unit in after.neuron_attributes} == {"good"}
    after.metadata.pop("curation_history")
    assert after == before


def test_a_unit_that_is_measured_again_has_the_snr_of_the_sort(results: Path, folder: Path) -> None:
    """Noise is taken from random stretches of 10 s of the 12: from the same ones both times."""
    opened = Results.open(results)
    trains = opened.units.neuron_attributes
    new = [NewUnit(unit["unit_id"], 0, unit["spike_train_samples"]) for unit in trains]
    measured = _measure(opened, new, folder, None)
    assert measured is not None
    assert opened.recording.n_samples > 200_000
    for again, before in zip(measured.neuron_attributes, trains, strict=True):
        assert again["snr"] / again["amplitude"] == pytest.approx(before["snr"] / before["amplitude"], rel=1e-6)


def test_noise_is_dropped(results: Path, folder: Path) -> None:
    in_phy(folder, groups=all_good(folder, c0="noise", c1="mua"))
    assert import_curation(results, folder, keep=("good", "mua")).unit_ids == curated(results).unit_ids[1:]
    after = import_curation(results, folder)
    assert after.unit_ids == curated(results).unit_ids[2:]
    history = after.metadata["curation_history"]
    assert history["curations"] == ["phy"]
    assert history["failed"]["phy"] == curated(results).unit_ids[:2]
    assert history["curated_final"] == after.unit_ids
    assert history["phy"]["groups"]["0"] == "noise"
    assert json.loads((results / "curation_phy.json").read_text()) == history


def test_a_merge_is_one_unit_with_its_own_template(results: Path, folder: Path) -> None:
    before = curated(results)
    clusters = cluster_of(folder)
    n = before.N
    clusters[clusters < 2] = n  # Phy gives a merge the next free number
    in_phy(folder, clusters, all_good(folder) | {n: "good"})
    after = import_curation(results, folder, duplicate_ms=0)
    merged = after.neuron_attributes[-1]
    assert after.unit_ids[:-1] == before.unit_ids[2:]
    assert merged["unit_id"] == max(Results.open(results).units.unit_ids) + 1
    assert merged["merged_from"] == before.unit_ids[:2]
    assert merged["phy_cluster"] == n
    assert len(after.train[-1]) == before.spike_counts[:2].sum()
    assert "split_from" not in merged
    # Measured on the traces, at the spikes of both.
    recording = Results.open(results).recording
    windows = [recording.read_uv(frame - 40, frame + 41) for frame in merged["spike_train_samples"]]
    np.testing.assert_allclose(merged["template_full"], np.mean(windows, axis=0), atol=1e-3)
    assert merged["template_full"].shape == merged["epoch_templates"].shape[1:]
    (new,) = after.metadata["curation_history"]["phy"]["new_units"]
    assert new["spikes_from"] == {
        str(unit): int(count) for unit, count in zip(before.unit_ids[:2], before.spike_counts[:2], strict=True)
    }


def test_an_event_that_both_had_found_is_kept_once(results: Path) -> None:
    # The same unit twice, as sorters find it: half of the spikes of unit 0 are given to a second cluster as well.
    folder = export_results(results, "phy", units="all")
    ids = Results.open(results).units.unit_ids
    clusters = cluster_of(folder)
    times = np.load(folder / "spike_times.npy").astype(np.int64)
    sizes = np.bincount(clusters)
    a, b = np.argsort(-sizes)[:2]
    clusters[np.isin(clusters, [a, b])] = 99
    in_phy(folder, clusters, {99: "good"})
    both, once = (import_curation(results, folder, duplicate_ms=ms) for ms in (0, 200.0))
    first, second = (times[cluster_of_source(folder) == cluster] / 20.0 for cluster in (a, b))
    near = np.abs(second[:, None] - first[None]).min(axis=1) <= 200.0
    assert 0 < near.sum() < len(second)
    assert len(both.train[0]) == len(first) + len(second)
    assert len(once.train[0]) == len(first) + (~near).sum()
    (new,) = once.metadata["curation_history"]["phy"]["new_units"]
    assert new["duplicates_removed"] == near.sum()
    assert set(once.neuron_attributes[0]["merged_from"]) == {ids[a], ids[b]}


def cluster_of_source(folder: Path) -> np.ndarray:
    return np.load(folder / "spike_templates.npy").astype(np.int64)


def test_a_split_keeps_its_spikes_epochs_and_origin(results: Path, folder: Path) -> None:
    before = curated(results)
    clusters = cluster_of(folder)
    own = np.flatnonzero(clusters == 0)
    n = before.N
    clusters[own[::2]], clusters[own[1::2]] = n, n + 1
    in_phy(folder, clusters, all_good(folder) | {n: "good", n + 1: "noise"})
    after = import_curation(results, folder)
    part = after.neuron_attributes[-1]
    assert part["split_from"] == [before.unit_ids[0]]
    frames = before.neuron_attributes[0]["spike_train_samples"][::2]
    assert len(part["spike_train_samples"]) == len(frames)
    assert np.abs(part["spike_train_samples"] - frames).max() <= 10  # centred anew, within 0.5 ms
    first, second = after.split_epochs()
    assert first.length == second.length == 6000
    assert first.unit_ids == second.unit_ids == after.unit_ids
    assert len(first.train[-1]) + len(second.train[-1]) == len(frames)
    assert first.metadata["source_file"].endswith("day0")
    assert not np.array_equal(first.neuron_attributes[-1]["template"], second.neuron_attributes[-1]["template"])
    assert after.metadata["curation_history"]["metrics"]["phy"][str(before.unit_ids[0])] == pytest.approx(0.5, abs=0.01)


def test_it_is_saved_and_can_be_exported(results: Path, folder: Path) -> None:
    in_phy(folder, groups=all_good(folder, c0="noise"))
    after = import_curation(results, folder)
    for name in ("sorted_spikedata_phy.npz", "sorted_spikedata_phy.pkl"):
        assert SpikeData.load(results / name) == after
    assert SpikeData.load(export_results(results, "npz", units="phy")) == after
    again = export_results(results, "phy", results / "export" / "second", units="phy")
    in_phy(again, groups=all_good(again, c0="mua"))
    for _ in range(2):  # the first import replaces the units that were exported
        second = import_curation(results, again)
        assert second.unit_ids == after.unit_ids[1:]
        assert second.metadata["curation_history"]["before"] == after.metadata["curation_history"]


def test_without_traces_templates_are_those_of_the_larger_source(
    copied: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    results = copied(traces=False, recording=False)
    folder = export_results(results, "phy")
    before, clusters = curated(results), cluster_of(folder)
    clusters[clusters < 2] = 50
    in_phy(folder, clusters, all_good(folder) | {50: "good"})
    merged = import_curation(results, folder).neuron_attributes[-1]
    larger = int(np.argmax(before.spike_counts[:2]))
    assert "keep the templates of the units they came from" in caplog.text
    assert merged["template_of"] == before.unit_ids[larger]
    np.testing.assert_array_equal(merged["template"], before.neuron_attributes[larger]["template"])


def test_mistakes_are_explained(results: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no spikelab\.json"):
        import_curation(results, tmp_path)
    in_phy(folder, groups=dict.fromkeys(all_good(folder), "mua"))
    with pytest.raises(ValueError, match=r"no cluster of .* is in the group good; there are \d mua"):
        import_curation(results, folder)
    groups = (folder / "cluster_group.tsv").read_text()
    (folder / "cluster_group.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no cluster_group\.tsv"):
        import_curation(results, folder)
    (folder / "cluster_group.tsv").write_text(groups)
    times = np.load(folder / "spike_times.npy")
    np.save(folder / "spike_times.npy", times + 1)
    with pytest.raises(ValueError, match="exported from other results"):
        import_curation(results, folder)
    np.save(folder / "spike_times.npy", times[1:])
    with pytest.raises(ValueError, match="entries; expected as many"):
        import_curation(results, folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("spikelab.json", b"[" * 100_000),
        ("spikelab.json", b"[]"),
        ("spike_clusters.npy", b""),
        ("spike_times.npy", b"PK\x03\x04 and no more"),
        ("cluster_group.tsv", b"cluster_id\tgroup\none\tgood\n"),
        ("cluster_group.tsv", b"cluster_id group\n0 good\n"),
        ("cluster_group.tsv", b"\xff\xfeg\0\0"),
        ("cluster_group.tsv", b"cluster_id\tgroup\n0\tgood\n0\tmua\n"),
        ("cluster_group.tsv", b"cluster_id\tgroup\n0\tgood\tCA1\n"),
    ],
)
def test_a_damaged_file_is_named(results: Path, folder: Path, name: str, content: bytes) -> None:
    in_phy(folder, groups=all_good(folder))
    assert (folder / name).is_file()
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(folder / name))):
        import_curation(results, folder)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_groups_that_a_spreadsheet_saved_are_read(results: Path, folder: Path, encoding: str) -> None:
    rows = "".join(f"{cluster}.0;Good \r\n;\r\n" for cluster in all_good(folder))
    (folder / "cluster_group.tsv").unlink()
    (folder / "cluster_group.csv").write_bytes(f"Cluster ID;Group\r\n{rows}".encode(encoding))
    assert import_curation(results, folder).N == curated(results).N


def labels(sd: SpikeData, name: str) -> list[object]:
    return [unit.get(name) for unit in sd.neuron_attributes]


def test_labels_of_a_person_come_back(results: Path, folder: Path) -> None:
    """As Phy writes them (":l region CA1"), and as people write tables of several columns beside them."""
    in_phy(folder, groups=all_good(folder))
    (folder / "cluster_region.tsv").write_text("cluster_id\tregion\n0\tCA1\n1\tCA3\n")
    (folder / "cluster_mine.csv").write_text(
        "cluster_id;depth;layer;snr;note\n0;17,5;1.0;9;\n1;20;2;9;\n\n", encoding="utf-16"
    )
    (folder / "cluster_info.tsv").write_text("cluster_id\tregion\tn_spikes\n0\tCA2\t5\n")  # Phy's own summary
    before, after = curated(results), import_curation(results, folder)
    assert labels(after, "region")[:3] == ["CA1", "CA3", None]
    assert labels(after, "depth")[:3] == [17.5, 20.0, None]
    assert labels(after, "layer")[:3] == [1, 2, None]
    assert labels(after, "snr") == labels(before, "snr")  # our columns are measured, not read
    assert after.metadata["curation_history"]["phy"]["labels"] == ["depth", "layer", "region"]
    assert SpikeData.load(results / "sorted_spikedata_phy.npz") == after


def test_labels_can_be_changed_in_a_second_round(results: Path, folder: Path) -> None:
    in_phy(folder, groups=all_good(folder))
    (folder / "cluster_region.tsv").write_text("cluster_id\tregion\n0\tCA1\n1\tCA3\n")
    import_curation(results, folder)
    again = export_results(results, "phy", results / "export" / "second", units="phy")
    in_phy(again, groups=all_good(again))
    assert labels(import_curation(results, again), "region")[:3] == ["CA1", "CA3", None]
    (again / "cluster_region.tsv").write_text("cluster_id\tregion\n1\tCA2\n2\tDG\n")
    assert labels(import_curation(results, again), "region")[:3] == [None, "CA2", "DG"]


def test_merged_and_split_units_have_the_labels_of_their_sources(results: Path, folder: Path) -> None:
    before, clusters = curated(results), cluster_of(folder)
    own = np.flatnonzero(clusters == 2)
    clusters[clusters < 2] = 70
    clusters[own[::2]], clusters[own[1::2]] = 71, 72
    in_phy(folder, clusters, all_good(folder) | {70: "good", 71: "good", 72: "good"})
    (folder / "cluster_region.tsv").write_text("cluster_id\tregion\n0\tCA1\n1\tCA3\n2\tDG\n72\thilus\n")
    (folder / "cluster_layer.tsv").write_text("cluster_id\tlayer\n0\t1\n1\t1\n")
    with pytest.warns(UserWarning, match=r"cluster 70 was merged of clusters with different region: 'CA.' .*'CA"):
        after = import_curation(results, folder)
    larger = int(np.argmax(before.spike_counts[:2]))
    assert labels(after, "region")[-3:] == [("CA1", "CA3")[larger], "DG", "hilus"]
    assert labels(after, "layer")[-3:] == [1, None, None]
    assert labels(after, "phy_cluster")[-3:] == [70, 71, 72]
    # Whoever labels the merged unit has decided.
    with (folder / "cluster_region.tsv").open("a") as file:
        file.write("70\tCA2\n")
    assert labels(import_curation(results, folder), "region")[-3] == "CA2"


def test_a_unit_that_was_split_and_merged_again_is_unchanged(results: Path, folder: Path) -> None:
    clusters = cluster_of(folder)
    clusters[clusters == 0] = 80
    in_phy(folder, clusters, all_good(folder) | {80: "good"})
    (folder / "cluster_region.tsv").write_text("cluster_id\tregion\n0\tCA1\n")
    after = import_curation(results, folder)
    assert sorted(after.unit_ids) == sorted(curated(results).unit_ids)
    unit = next(unit for unit in after.neuron_attributes if unit["phy_cluster"] == 80)
    assert unit["region"] == "CA1"
    assert "split_from" not in unit


def test_a_label_does_not_replace_what_units_have(results: Path, folder: Path) -> None:
    in_phy(folder, groups=all_good(folder))
    (folder / "cluster_template.tsv").write_text("cluster_id\ttemplate\n0\tgood shape\n")
    with pytest.warns(UserWarning, match="template is phy_template"):
        after = import_curation(results, folder)
    assert labels(after, "phy_template")[0] == "good shape"
    np.testing.assert_array_equal(
        after.neuron_attributes[0]["template"], curated(results).neuron_attributes[0]["template"]
    )


def test_labels_that_contradict_each_other_are_refused(results: Path, folder: Path) -> None:
    in_phy(folder, groups=all_good(folder))
    (folder / "cluster_region.tsv").write_text("cluster_id\tregion\n0\tCA1\n")
    (folder / "cluster_region.csv").write_text("cluster_id,region\n0,CA3\n")
    with pytest.raises(ValueError, match=r"cluster_region\.csv, line 2: cluster 0 has region 'CA3', but 'CA1' in"):
        import_curation(results, folder)
