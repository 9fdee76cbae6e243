"""Loaders on files written after the data sets' public documentation, with known values."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from commands import streamer
from conftest import counted_samples, cut, stream_info
from device_adapters.samples import STANDARD_GRAVITY
from device_adapters.session_file import SessionWriter, read_annotations
from streamer.datasets import DATASETS, find_dataset, read_dataset
from streamer.datasets.dataset import UNLABELLED, Recording, Survey, Windows, build_recording
from streamer.datasets.folder import read_description
from streamer.datasets.importing import import_data
from streamer.datasets.sessions import read_session, write_session
from streamer.datasets.windows import read_windows, rename_windows
from streamer.errors import DatasetError, StreamerError, UnknownDatasetError

G = STANDARD_GRAVITY
DEGREE = np.pi / 180


def write_rows(path: Path, rows: NDArray[np.float64], separator: str = " ") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, rows, fmt="%.8g", delimiter=separator)


def counting(rows: int, columns: int) -> NDArray[np.float64]:
    """Return a table in which every value tells its row and column."""
    return np.arange(rows)[:, None] + np.arange(columns) / 1000


def write_hapt(folder: Path) -> None:
    for sensor in ("acc", "gyro"):
        write_rows(folder / "RawData" / f"{sensor}_exp03_user02.txt", counting(20, 3))
    rows = np.array([[3, 2, 5, 1, 8], [3, 2, 2, 11, 20], [4, 2, 1, 1, 5]], dtype=np.float64)
    write_rows(folder / "RawData" / "labels.txt", rows)


def write_uci_har(folder: Path) -> None:
    for part, people in (("train", [1, 3, 3]), ("test", [2])):
        count = len(people)
        write_rows(folder / part / f"subject_{part}.txt", np.array(people, float)[:, None])
        write_rows(folder / part / f"y_{part}.txt", np.arange(6, 6 - count, -1.0)[:, None])
        for signal in ("body_acc", "body_gyro", "total_acc"):
            for axis in "xyz":
                path = folder / part / "Inertial Signals" / f"{signal}_{axis}_{part}.txt"
                write_rows(path, counting(count, 128))


def write_usc_had(folder: Path) -> None:
    (folder / "Subject2").mkdir(parents=True)
    for activity in (4, 11):
        readings = counting(30, 6)
        savemat(folder / "Subject2" / f"a{activity}t1.mat", {"sensor_readings": readings})


def write_wisdm(folder: Path) -> None:
    for sensor, offset in (("accel", 0), ("gyro", 25_000_000)):
        path = folder / "raw" / "watch" / sensor / f"data_1600_{sensor}_watch.txt"
        path.parent.mkdir(parents=True)
        path.write_text(
            "".join(
                f"1600,{letter},{10**12 + offset + 50_000_000 * row},{row},{row + 0.5},{-row};\n"
                for letter in "AS"
                for row in range(20)
            )
        )


def write_pamap2(folder: Path) -> None:
    rows = counting(40, 54)
    rows[:, 0] = 5 + np.arange(40) / 100
    rows[:, 1] = np.repeat([0, 24, 4, 17], 10)
    rows[15, 4] = np.nan
    write_rows(folder / "Protocol" / "subject105.dat", rows)


def write_opportunity(folder: Path) -> None:
    rows = 1000 * counting(40, 250)
    rows[:, 0] = np.arange(40) * 100 / 3
    rows[:, 249] = np.repeat([0, 406516, 404520, 405506], 10)
    rows[:3, 37] = np.nan
    write_rows(folder / "dataset" / "S2-ADL3.dat", rows)


def write_harth(folder: Path) -> None:
    lines = ["timestamp,back_x,back_y,back_z,thigh_x,thigh_y,thigh_z,label"]
    for row in range(40):
        time = np.datetime64("2019-01-12T00:00:00.000") + row * np.timedelta64(20, "ms")
        numbers = ",".join(str(row + column / 10) for column in range(6))
        lines.append(f"{str(time).replace('T', ' ')},{numbers},{[1, 130][row // 20]}")
    folder.mkdir()
    (folder / "S006.csv").write_text("\n".join(lines))


def write_mhealth(folder: Path) -> None:
    rows = counting(30, 24)
    rows[:, 23] = np.repeat([0, 12, 1], 10)
    write_rows(folder / "mHealth_subject4.log", rows, "\t")


@dataclass(frozen=True)
class Case:
    """What a written data set must be read as: row 5's values, and labels with their rows."""

    write: Callable[[Path], None]
    wearer: str
    row: list[float]
    spans: list[tuple[str, int, int]]
    kept: int


def at(columns: list[int], scale: float = 1.0) -> list[float]:
    return [(5 + column / 1000) * scale for column in columns]


CASES = {
    "hapt": Case(
        write_hapt,
        "user02",
        at([0, 1, 2], G) + at([0, 1, 2]),
        [("stand", 0, 8), ("walk up stairs", 10, 20)],
        20,
    ),
    "usc-had": Case(
        write_usc_had,
        "subject02",
        at([0, 1, 2], G) + at([3, 4, 5], DEGREE),
        [("walking upstairs", 0, 30)],
        30,
    ),
    # Rotation is sampled 25 ms later, half a period: the mean of two neighbours.
    "wisdm-watch": Case(
        write_wisdm, "1600", [5, 5.5, -5, 4.5, 5.0, -4.5], [("walking", 0, 20)], 20
    ),
    "pamap2": Case(
        write_pamap2,
        "subject105",
        at([4, 5, 6, 10, 11, 12, 21, 22, 23, 27, 28, 29, 38, 39, 40, 44, 45, 46]),
        [("rope jumping", 10, 19), ("walking", 19, 29), ("ironing", 29, 39)],
        39,
    ),
    "opportunity": Case(
        write_opportunity,
        "S2",
        # Three rows without a value are left out: row 5 of the rest is row 8 of the file.
        [
            (8 + column / 1000) * (9.8 if offset < 3 else 1.0)
            for start in (37, 50, 63, 76, 89)
            for offset, column in enumerate(range(start, start + 6))
        ],
        [("open door 1", 7, 17), ("close fridge", 17, 27), ("toggle switch", 27, 37)],
        37,
    ),
    "harth": Case(
        write_harth,
        "S006",
        [(5 + column / 10) * G for column in range(6)],
        [("walking", 0, 20), ("cycling sit inactive", 20, 40)],
        40,
    ),
    "mhealth": Case(
        write_mhealth,
        "subject04",
        at([0, 1, 2, 5, 6, 7])
        + at([8, 9, 10], DEGREE)
        + at([14, 15, 16])
        + at([17, 18, 19], DEGREE),
        [("jump front and back", 10, 20), ("standing still", 20, 30)],
        30,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_loader_gives_si_units_wearers_and_labels(name: str, tmp_path: Path) -> None:
    case, dataset = CASES[name], DATASETS[name]
    case.write(tmp_path / "data")
    content = read_dataset(dataset, tmp_path / "data")
    assert not isinstance(content, Windows)
    recording = next(iter(content))
    assert recording.stream.device == case.wearer in dataset.wearers
    assert recording.stream.units == dataset.units
    assert len(recording.values) == len(recording.times) == case.kept
    assert recording.values[5] == pytest.approx(np.array(case.row), rel=1e-6)
    edges = [
        (a.label, *np.searchsorted(recording.times, (a.start - 1e-4, a.end - 1e-4)).tolist())
        for a in recording.annotations
    ]
    assert edges == case.spans
    assert np.median(np.diff(recording.times)) == pytest.approx(1 / dataset.rate_hz, rel=0.01)


def test_uci_har_is_read_as_windows_in_si_units(tmp_path: Path) -> None:
    write_uci_har(tmp_path)
    windows = read_dataset(DATASETS["uci-har"], tmp_path)
    assert isinstance(windows, Windows)
    assert windows.values.shape == (4, 128, 9)
    assert windows.wearers.tolist() == ["user01", "user03", "user03", "user02"]
    assert [windows.names[label] for label in windows.labels] == [
        "lie",
        "stand",
        "sit",
        "lie",
    ]
    assert windows.values[1, 7] == pytest.approx(
        1.007 * np.array([G] * 3 + [1] * 3 + [G] * 3), rel=1e-6
    )


@pytest.mark.parametrize("name", CASES)
def test_import_writes_sessions_that_read_back_as_they_were(name: str, tmp_path: Path) -> None:
    CASES[name].write(tmp_path / "data")
    dataset = DATASETS[name]
    survey = import_data(dataset, tmp_path / "data", tmp_path / "out", {})
    written = list(read_dataset(dataset, tmp_path / "data"))  # type: ignore[arg-type]
    assert survey.recordings == len(written) == len(list((tmp_path / "out").glob("*.mcap")))
    for recording in written:
        assert isinstance(recording, Recording)
        (back,) = read_session(tmp_path / "out" / f"{recording.name}.mcap")
        assert back.stream.channels == dataset.channels
        assert (back.values == recording.values).all()
        assert (back.times == recording.times).all()
        assert back.annotations == recording.annotations
    missing = survey.missing(dataset)
    assert any(f"of {dataset.recordings}" in line for line in missing)
    assert any(line.startswith("nothing of") for line in missing)


def test_import_counts_what_it_leaves_out(tmp_path: Path) -> None:
    write_opportunity(tmp_path / "data")
    survey = import_data(DATASETS["opportunity"], tmp_path / "data", tmp_path / "out", {})
    assert survey.without_reading == 3
    assert survey.unlabelled == 7
    assert survey.samples == 37


def test_import_under_other_names(tmp_path: Path) -> None:
    write_mhealth(tmp_path / "data")
    names = {"jump front and back": "leg jump", "standing still": "leg still"}
    import_data(DATASETS["mhealth"], tmp_path / "data", tmp_path / "out", names)
    (session,) = (tmp_path / "out").glob("*.mcap")
    assert [a.label for a in read_annotations(session)] == ["leg jump", "leg still"]


def test_who_was_tested_on_still_is_after_another_import(tmp_path: Path) -> None:
    dataset, out = DATASETS["mhealth"], tmp_path / "out"
    write_mhealth(tmp_path / "data")
    tested = replace(dataset, test=("subject04",))
    survey = import_data(tested, tmp_path / "data", out, {})
    assert read_description(out).test == ("subject04",) == tuple(survey.wearers)
    log = tmp_path / "data" / "mHealth_subject4.log"
    text = log.read_text()
    log.rename(log.with_name("mHealth_subject5.log"))
    import_data(tested, tmp_path / "data", out, {})
    assert read_description(out).test == ("subject04",)
    log.with_name("mHealth_subject6.log").write_text("no number\n")
    with pytest.raises(DatasetError, match="subject6"):
        import_data(tested, tmp_path / "data", tmp_path / "again", {})
    log.with_name("mHealth_subject6.log").write_text(text)
    import_data(tested, tmp_path / "data", tmp_path / "again", {})
    assert len(list((tmp_path / "again").glob("*.mcap"))) == 2


def test_windows_are_imported_as_one_file(tmp_path: Path) -> None:
    write_uci_har(tmp_path / "data")
    import_data(DATASETS["uci-har"], tmp_path / "data", tmp_path / "out", {"lie": "rest flat"})
    windows = read_windows(tmp_path / "out" / "windows.npz")
    assert windows.names == (*DATASETS["uci-har"].labels[:5], "rest flat")
    assert windows.values.dtype == np.float32
    assert windows.values.shape == (4, 128, 9)


def test_labels_that_get_one_name_become_one(tmp_path: Path) -> None:
    write_uci_har(tmp_path)
    windows = read_dataset(DATASETS["uci-har"], tmp_path)
    assert isinstance(windows, Windows)
    merged = rename_windows(windows, {"sit": "rest", "stand": "rest", "lie": "rest"})
    assert merged.names == ("walk", "walk up stairs", "walk down stairs", "rest")
    assert [merged.names[label] for label in merged.labels] == ["rest"] * 4


def compact_arrays() -> dict[str, Any]:
    return {
        "X": np.arange(60, dtype=np.int16).reshape(10, 6),
        "scale": np.full(6, 0.5),
        "y": np.array([-1, -1, 4, 4, 4, 0, 0, 0, 0, 0]),
        "offsets": np.array([0, 5, 10]),
        "subject": np.array([2, 2]),
        "rec": np.array(["exp01_user02", "exp02_user02"]),
        "classes": np.array(["x"] * 12),
    }


def test_a_compact_file_is_read_as_the_data_set(tmp_path: Path) -> None:
    np.savez(tmp_path / "hapt.npz", **compact_arrays())
    content = read_dataset(DATASETS["hapt"], tmp_path / "hapt.npz")
    assert not isinstance(content, Windows)
    first, second = content
    assert first.name == "hapt_exp01_user02"
    assert first.stream.device == "user02"
    assert first.values[1] == pytest.approx(np.array([3 * G, 3.5 * G, 4 * G, 4.5, 5, 5.5]))
    assert [annotation.label for annotation in first.annotations] == ["stand"]
    assert first.annotations[0].start == pytest.approx(first.times[2])
    assert second.annotations[0].label == "walk"


def test_a_compact_file_of_windows(tmp_path: Path) -> None:
    arrays = {
        f"{key}_{part}": value
        for part in ("train", "test")
        for key, value in {
            "X": np.ones((2, 128, 9), np.float32),
            "y": np.array([0, 5]),
            "subject": np.array([7, 8]),
        }.items()
    }
    np.savez(tmp_path / "uci.npz", **arrays)  # type: ignore[arg-type]
    windows = read_dataset(DATASETS["uci-har"], tmp_path / "uci.npz")
    assert isinstance(windows, Windows)
    assert windows.wearers.tolist() == ["user07", "user08"] * 2
    assert windows.values[0, 0] == pytest.approx(np.array([G] * 3 + [1] * 3 + [G] * 3))


@pytest.mark.parametrize("name", DATASETS)
def test_an_empty_folder_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DatasetError) as told:
            list(read_dataset(DATASETS[name], folder))  # type: ignore[arg-type]
        assert "\n" not in str(told.value)
        assert str(folder) in str(told.value)


def spoil(path: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / path).write_text(text)

    return write


def remove(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


def cut_mat(folder: Path) -> None:
    """Overwrite the last bytes of a compressed trial."""
    path = folder / "Subject2" / "a4t1.mat"
    savemat(path, {"sensor_readings": np.arange(600.0).reshape(100, 6)}, do_compression=True)
    path.write_bytes(path.read_bytes()[:-4] + b"oops")


@pytest.mark.parametrize(
    ("name", "fault", "told"),
    [
        ("hapt", remove("RawData/gyro_exp03_user02.txt"), "gyro_exp03_user02.txt is missing"),
        ("hapt", spoil("RawData/labels.txt", "3 2 13 1 8\n"), "the row 3 2 13 1 8"),
        ("hapt", spoil("RawData/acc_exp03_user02.txt", "1 2\n"), "2 columns in row 1; expected 3"),
        ("hapt", spoil("RawData/acc_exp03_user02.txt", "1 2 3\n4 5\n"), "2 columns in row 2"),
        ("hapt", spoil("RawData/acc_exp03_user02.txt", "1 2 3\n"), "1 samples but its gyro file"),
        ("hapt", spoil("RawData/acc_exp03_user02.txt", ""), "is empty"),
        ("hapt", spoil("RawData/acc_exp03_user02.txt", "1 2 x\n"), "can't be read as numbers"),
        ("hapt", spoil("RawData/acc_exp3.txt_user02.txt", "1 2 3\n"), "is not named acc_exp"),
        ("uci-har", remove("train/y_train.txt"), "y_train.txt is missing"),
        ("uci-har", spoil("test/y_test.txt", "7\n"), "the activity 7 in row 1"),
        ("uci-har", spoil("test/y_test.txt", "1\n2\n"), "2 rows but subject_test.txt 1"),
        ("usc-had", spoil("Subject2/a4t1.mat", "nothing"), "can't be read as MATLAB's"),
        ("usc-had", spoil("Subject2/a13t1.mat", ""), "is not SubjectN/aMtK.mat"),
        ("wisdm-watch", remove("raw/watch/gyro/data_1600_gyro_watch.txt"), "is missing"),
        ("usc-had", cut_mat, "can't be read as MATLAB's"),
        ("wisdm-watch", spoil("raw/watch/accel/data_1600_accel_watch.txt", "1,A,2,3"), "rows of"),
        ("wisdm-watch", spoil("raw/watch/accel/data_1600_accel_watch.txt", ""), "is empty"),
        (
            "wisdm-watch",
            spoil("raw/watch/accel/data_1600_accel_watch.txt", "1,N,2,3,4,5;"),
            "activities \\['N'\\]",
        ),
        ("pamap2", spoil("Protocol/subject105.dat", "1 2 3\n"), "3 columns in row 1; expected 54"),
        ("mhealth", spoil("mHealth_subject4.log", "\t".join(["13"] * 24)), "the activity 13"),
        ("harth", spoil("S006.csv", "timestamp,back_x\n1,2\n"), "no column 'back_y'"),
    ],
)
def test_a_malformed_file_is_named_with_its_fault(
    name: str, fault: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    write = write_uci_har if name == "uci-har" else CASES[name].write
    write(tmp_path / "data")
    fault(tmp_path / "data")
    with pytest.raises(DatasetError, match=told) as error:
        list(read_dataset(DATASETS[name], tmp_path / "data"))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"subject": np.array([77, 77])}, "has person 77"),
        ({"classes": np.array(["x"] * 5)}, "6 channels and 5 labels"),
        ({"rec": None}, "has no array 'rec'; it has X, scale"),
        ({"subject": np.array([2])}, "1 entries of subject and 2 of rec; expected 2"),
        ({"subject": np.array(["2", "2"])}, "'subject' of <U1.*expected whole numbers"),
        ({"y": np.full(10, 12)}, "has the label 12 but 12 names"),
        ({"y": np.zeros(10)}, "'y' of float64"),
        ({"offsets": np.array([0, 7, 5, 10])}, "offsets that rise"),
        ({"offsets": np.array([0.0, 5.0, 10.0])}, "'offsets' of float64"),
        ({"X": np.zeros((11, 6))}, "11 rows of X, 10 of y"),
        ({"scale": np.full(5, 0.5)}, "5 entries of scale; expected 6"),
        ({"X": np.zeros((10, 6, 1))}, "shape \\(10, 6, 1\\); expected numbers of 2 dimensions"),
    ],
)
def test_what_is_wrong_in_a_compact_file_is_told(
    changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    arrays = compact_arrays() | changes
    np.savez(tmp_path / "x.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(DatasetError, match=told):
        list(read_dataset(DATASETS["hapt"], tmp_path / "x.npz"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": np.zeros(2)}, "'labels' of float64.*expected whole numbers"),
        ({"labels": np.array(["a", "b"])}, "'labels' of <U1"),
        ({"wearers": np.array([1, 2])}, "'wearers' of int64.*expected text"),
        ({"names": np.array([1, 2])}, "'names' of int64"),
        ({"rate_hz": np.array([25.0, 25.0])}, "expected numbers of 0 dimensions"),
        ({"rate_hz": np.array(0.0)}, "has the rate 0 Hz"),
        ({"values": np.zeros((2, 6, 3))}, "windows of 6 samples; expected 8 or more"),
    ],
)
def test_what_is_wrong_in_a_file_of_windows_is_told(
    changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    arrays: dict[str, Any] = {
        "values": np.zeros((2, 8, 3)),
        "labels": np.array([0, 1]),
        "wearers": np.array(["a", "b"]),
        "names": np.array(["walk", "sit"]),
        "channels": np.array(["acc_x", "acc_y", "acc_z"]),
        "units": np.array(["m/s2"] * 3),
        "rate_hz": np.array(25.0),
    }
    np.savez(tmp_path / "windows.npz", **arrays)
    assert read_windows(tmp_path / "windows.npz").labels.tolist() == [0, 1]
    np.savez(tmp_path / "windows.npz", **(arrays | changes))
    with pytest.raises(DatasetError, match=told):
        read_windows(tmp_path / "windows.npz")


@pytest.mark.parametrize("damage", ["garbage", "cut off", "overwritten", "empty"])
def test_a_damaged_file_of_arrays_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, X=np.random.default_rng(0).normal(size=2000))
    whole = path.read_bytes()
    path.write_bytes(
        {
            "garbage": b"PK nothing",
            "cut off": whole[: len(whole) // 2],
            "overwritten": whole[:2000] + b"\xff" * 500 + whole[2500:],
            "empty": b"",
        }[damage]
    )
    with pytest.raises(DatasetError, match="no compact file"):
        read_dataset(DATASETS["hapt"], path)
    with pytest.raises(DatasetError, match="no file of windows"):
        read_windows(path)


def test_an_unknown_data_set_is_told_with_its_neighbour() -> None:
    with pytest.raises(UnknownDatasetError, match="did you mean 'pamap2'"):
        find_dataset("pamap")
    assert issubclass(UnknownDatasetError, StreamerError)


def test_what_cannot_be_used_is_left_out_and_counted() -> None:
    dataset = DATASETS["hapt"]
    times = 1e9 + np.arange(20) / 50
    times[7] = times[5]
    times[15:] += 1.0
    values = np.ones((20, 6), np.float32)
    values[3, 2] = np.nan
    labels = np.repeat([0, UNLABELLED], 10)
    stream = dataset.stream("user01")
    recording = build_recording("r", stream, times, values, labels, dataset.labels)
    assert (recording.without_reading, recording.out_of_order) == (1, 1)
    assert len(recording.times) == 18
    survey = Survey()
    survey.add(recording)
    assert (survey.samples, survey.unlabelled, survey.gaps) == (18, 10, 1)
    assert str(survey).startswith("1 people, 1 recordings, 18 samples (10 without a label)")


def test_everything_said_of_a_data_set_fits_together() -> None:
    for dataset in DATASETS.values():
        assert len(dataset.channels) == len(dataset.units) == len(dataset.si_scale)
        assert len(set(dataset.labels)) == len(dataset.labels)
        assert set(dataset.test) < set(dataset.wearers)
        dataset.stream(dataset.wearers[0])


def test_the_commands_list_and_import(tmp_path: Path) -> None:
    listed = streamer("datasets").stdout
    assert all(name in listed for name in DATASETS)
    told = streamer("datasets", "pamap2").stdout
    assert "CC BY 4.0" in told
    assert "hand_acc_x [m/s2]" in told
    write_mhealth(tmp_path / "data")
    done = streamer("import", "mhealth", "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "1 people, 1 recordings, 30 samples (10 without a label)" in done.stdout
    assert "not the whole data set: 1 recordings of 10" in done.stderr
    failed = streamer("import", "hapt", "--data", tmp_path, "--out", tmp_path / "x")
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert failed.stderr.startswith("error: data set hapt: ")


def test_a_file_that_ends_before_its_labels_is_told(tmp_path: Path) -> None:
    write_hapt(tmp_path)
    for sensor in ("acc", "gyro"):
        write_rows(tmp_path / "RawData" / f"{sensor}_exp03_user02.txt", counting(15, 3))
    done = streamer("import", "hapt", "--data", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 0
    assert "acc_exp03_user02.txt ends at sample 15, before its last label" in done.stderr


def test_a_session_keeps_the_names_that_it_is_given(tmp_path: Path) -> None:
    write_hapt(tmp_path)
    content = read_dataset(DATASETS["hapt"], tmp_path)
    assert not isinstance(content, Windows)
    write_session(next(iter(content)), tmp_path / "x.mcap", {"stand": "stay up"})
    labels = [annotation.label for annotation in read_annotations(tmp_path / "x.mcap")]
    assert labels == ["stay up", "walk up stairs"]


def corrected(path: Path, set_s: float = 0.0, offset_s: float = 0.0) -> list[Recording]:
    """Return a session of two batches, before whose second the clock was corrected so."""
    first, second = cut(counted_samples(1000), [500])
    with SessionWriter(path) as writer:
        writer.add_stream(stream_info())
        writer.add_batch(first)
        writer.add_batch(replace(second, clock_set_s=set_s, clock_offset_s=offset_s))
    return list(read_session(path))


def test_a_host_whose_clock_was_set_back_parts_a_recording(tmp_path: Path) -> None:
    parts = corrected(tmp_path / "a.mcap", set_s=-30.0)
    assert [len(part.times) for part in parts] == [500, 500]
    assert [part.values[0, 0] for part in parts] == [0, 500]
    assert parts[1].times[0] == pytest.approx(parts[0].times[-1] + 0.02 - 30)


def test_a_clock_that_is_corrected_a_little_costs_the_samples_between(tmp_path: Path) -> None:
    (recording,) = corrected(tmp_path / "a.mcap", offset_s=-0.1)
    assert (np.diff(recording.times) > 0).all()
    assert recording.out_of_order == 1000 - len(recording.times) == 5


def test_a_folder_that_holds_something_else_is_not_imported_into(tmp_path: Path) -> None:
    write_hapt(tmp_path / "data")
    write_mhealth(tmp_path / "other")
    for _ in range(2):
        import_data(DATASETS["hapt"], tmp_path / "data", tmp_path / "out", {})
    with pytest.raises(DatasetError, match=r"out holds 'hapt \(.*' already; give another folder"):
        import_data(DATASETS["mhealth"], tmp_path / "other", tmp_path / "out", {})
