"""The splits behind the accuracy tables: windows stay whole, people stay apart."""

from pathlib import Path

import numpy as np
import pytest

import folder_accuracy
from folder_accuracy import window_task
from streamer.datasets import DATASETS
from streamer.share.labels import LabelSet
from streamer.training.trainer import _People
from test_training import configuration, write_session
from window_sets import FOLDS, LONG_TAIL, held_out, load_task, subset


@pytest.fixture
def uci_har(tmp_path: Path) -> Path:
    """Two people; each does six activities; windows overlap by half within an activity."""
    windows, labels, people = [], [], []
    for person in (1, 2):
        for label in range(6):
            samples = np.random.default_rng(10 * person + label).normal(size=(64 * 41, 9))
            starts = range(0, 64 * 40, 64)
            windows += [samples[start : start + 128] for start in starts]
            labels += [label] * len(starts)
            people += [person] * len(starts)
    arrays = {
        "X": np.array(windows, np.float32),
        "y": np.array(labels),
        "subject": np.array(people),
    }
    both = {f"{name}_{part}": array for name, array in arrays.items() for part in ("train", "test")}
    np.savez(tmp_path / "uci_har.npz", allow_pickle=False, **both)
    return tmp_path


def test_overlapping_windows_become_the_recording_again(uci_har: Path) -> None:
    task = load_task("uci-har", uci_har)
    assert len(task.stretches) == 12
    first = task.stretches[0]
    samples = np.random.default_rng(10).normal(size=(64 * 41, 9)).astype(np.float32)
    assert (first.values == samples).all()
    assert (first.wearer, set(first.labels.tolist())) == ("1", {0})
    assert len(task.training) == 480
    assert (task.training.gather(slice(0, 1))[0] == samples[:128]).all()


def test_held_out_people_are_training_people_and_each_in_one_fold(uci_har: Path) -> None:
    task = load_task("uci-har", uci_har)
    whole = task.test.values.copy()
    folds = [held_out(task, fold) for fold in range(1, FOLDS)]  # of two people two folds have one
    for fold, (scored, learnt) in zip(folds, (("1", "2"), ("2", "1")), strict=True):
        assert {stretch.wearer for stretch in fold.stretches} == {learnt}
        own = [s.values for s in task.stretches if s.wearer == scored]
        assert np.bincount(fold.test.labels).tolist() == [64 * 41 // 128] * 6
        assert (fold.test.gather(slice(0, 1))[0] == own[0][:128]).all()
    assert (task.test.values == whole).all()


def test_a_share_of_the_windows_is_the_same_share_of_each_label(uci_har: Path) -> None:
    task = load_task("uci-har", uci_har)
    few = subset(task, 0.05, seed=1)
    assert np.bincount(few.training.labels).tolist() == [4] * 6
    assert np.bincount(subset(task, 0.001, seed=1).training.labels).tolist() == [1] * 6
    assert {len(stretch.values) for stretch in few.stretches} == {128}
    assert {stretch.values.tobytes() for stretch in few.stretches} == {
        window.tobytes() for window in few.training.gather(slice(None))
    }
    again, other = subset(task, 0.05, seed=1), subset(task, 0.05, seed=2)
    assert (again.training.starts == few.training.starts).all()
    assert (other.training.starts != few.training.starts).any()
    assert subset(task, 1.0, seed=1) is task


def test_a_long_tail_falls_from_the_most_frequent_label_to_a_hundredth(uci_har: Path) -> None:
    counts = np.bincount(subset(load_task("uci-har", uci_har), LONG_TAIL, 1).training.labels)
    assert sorted(counts.tolist()) == [1, 2, 5, 13, 32, 80]


def test_people_above_the_last_training_person_are_only_tested(tmp_path: Path) -> None:
    count = 250
    arrays = {
        "X": np.arange(3 * count * 6, dtype=np.float32).reshape(-1, 6),
        "y": np.repeat([0, 1, 2], count),
        "offsets": np.arange(4) * count,
        "subject": np.array([10, 11, 3]),
    }
    np.savez(tmp_path / "usc_had.npz", allow_pickle=False, **arrays)
    task = load_task("usc-had", tmp_path)
    assert {stretch.wearer for stretch in task.stretches} == {"10", "3"}
    assert task.training.labels.tolist() == [0, 0, 2, 2]
    assert task.test.labels.tolist() == [1, 1]
    assert (task.test.gather(slice(0, 1))[0] == arrays["X"][count : count + 100]).all()


def test_a_folder_s_peer_learns_from_so_many_windows_and_no_more(
    uci_har: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_accuracy, "MOST_WINDOWS", 100)
    config = configuration(uci_har).data
    data = config.model_copy(
        update={
            "dataset": "uci-har",
            "sessions": uci_har / "uci_har.npz",
            "validation": (),
            "test": ("user02",),
            "channels": DATASETS["uci-har"].channels,
            "units": DATASETS["uci-har"].units,
            "window": 128,
            "labels": DATASETS["uci-har"].labels,
        }
    )
    task = window_task(data)
    assert len(task.training) == 100
    assert set(task.training.labels.tolist()) == set(range(6))


def test_a_folder_s_peer_is_tested_on_the_same_windows(tmp_path: Path) -> None:
    for number, wearer in enumerate(("anna", "ben", "cleo", "dora")):
        write_session(tmp_path, wearer, number)
    config = configuration(tmp_path)
    task = window_task(config.data)
    assert {stretch.wearer for stretch in task.stretches} == {"anna", "ben", "cleo"}
    people = _People.read(config, LabelSet.from_names(task.labels))
    assert people.test is not None
    assert (task.test.labels == people.test.labels).all()
    assert (task.test.gather(slice(None)) == people.test.gather(slice(None))).all()
    assert task.stride == config.data.window // 2
