"""From a folder of one's own to a bundle: CSV files, sessions, windows, SHARE's arrays."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from commands import streamer
from conftest import EPOCH, worn_samples
from device_adapters.samples import ACCELERATION, STANDARD_GRAVITY, SampleBatch, StreamInfo
from device_adapters.session_file import Annotation, SessionWriter
from streamer.cli import _tell_of
from streamer.datasets import csv_files
from streamer.datasets.dataset import Recording, Survey, Windows
from streamer.datasets.folder import read_description, read_folder
from streamer.datasets.names import plain_words, read_names
from streamer.datasets.windows import write_windows
from streamer.errors import (
    ConfigError,
    DatasetError,
    LabelSetError,
    StreamerError,
    TrainingError,
)
from streamer.recognizer import Recognizer
from streamer.share.bundle import Manifest
from streamer.share.packaged import find_bundle
from streamer.share.runtime import ShareModel
from streamer.training import compiler, defaults, trainer
from streamer.training.config import DataConfig
from streamer.training.data import cut_windows, read_stretches
from streamer.training.defaults import configure, rename_labels, unnamed
from streamer.training.examination import examine

ACTIVITIES = ("Resting", "shake_it", "shake it hard")
DESCRIPTION = """
name = "kitchen"
licence = "mine"
rate_hz = 25.0

[csv]
time = "t"
time_unit = "ms"
label = "what"
unlabelled = ["?"]
path = "(?P<subject>[^/]+)/.*"

[csv.channels]
acc_x = { column = "ax", unit = "g" }
acc_y = { column = "ay", unit = "g" }
acc_z = { column = "az", unit = "g" }
gyro_x = { column = "gx", unit = "deg/s" }
gyro_y = { column = "gy", unit = "deg/s" }
gyro_z = { column = "gz", unit = "deg/s" }
"""


def write_person(path: Path, seed: int, *, names: tuple[str, ...] = ACTIVITIES) -> None:
    """Write three activities of 4 s each at 25 Hz, then a gap, a missing value and a `?`."""
    rng = np.random.default_rng(seed)
    lines = ["t,ax,ay,az,gx,gy,gz,what"]
    for row in range(350):
        part = row // 100
        moment = 1000.0 + row * 40 + (5000 if row > 330 else 0)
        swing = (0, 1.5, 6)[part] * np.sin(row * 0.9) if part < 3 else 0.0
        numbers = rng.normal([swing, 0, 1, 100 * swing, 0, 0], [0.05] * 3 + [20] * 3)
        fields = [f"{number:.4f}" for number in numbers]
        if row == 320:
            fields[1] = ""
        label = names[part] if part < 3 else "?"
        lines.append(",".join([f"{moment:g}", *fields, label]))
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def kitchen(tmp_path: Path) -> Path:
    folder = tmp_path / "kitchen"
    for seed, person in enumerate(("anna", "ben", "cleo", "dora", "eve")):
        write_person(folder / person / "monday.csv", seed)
    (folder / "dataset.toml").write_text(DESCRIPTION)
    return folder


def test_csv_files_are_read_as_described(kitchen: Path) -> None:
    content = read_folder(kitchen, read_description(kitchen))
    assert not isinstance(content, Windows)
    recordings = list(content)
    assert [recording.stream.device for recording in recordings] == [
        "anna",
        "ben",
        "cleo",
        "dora",
        "eve",
    ]
    first = recordings[0]
    assert first.stream.conversion == "g to m/s2, deg/s to rad/s"
    assert first.without_reading == 1
    assert len(first.times) == 349
    assert np.diff(first.times).max() == pytest.approx(5.04)
    assert [a.label for a in first.annotations] == ["resting", "shake it", "shake it hard"]
    assert first.annotations[1].start - first.times[0] == pytest.approx(4.0, abs=1e-5)
    assert first.values[:100, 2].mean() == pytest.approx(STANDARD_GRAVITY, abs=0.2)
    assert first.values[100:200, 3].max() == pytest.approx(np.deg2rad(150), rel=0.4)


def test_devices_worn_apart_are_turned_apart(
    kitchen: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kitchen / "dataset.toml"
    one = configure(kitchen)
    assert one.augmentation.turned_apart == ()
    assert one.devices == (((0, 1, 2), (3, 4, 5)),)
    assert one.augmentation.symmetries == (
        (1, -1, -1, 1, -1, -1),
        (-1, 1, -1, -1, 1, -1),
        (-1, -1, 1, -1, -1, 1),
    )
    apart = DESCRIPTION.replace("acc_", "wrist_acc_").replace("gyro_", "hip_gyro_")
    path.write_text(apart)
    config = configure(kitchen)
    assert config.augmentation.turned_apart == ("wrist", "hip")
    assert config.devices == (((0, 1, 2),), ((3, 4, 5),))
    assert config.augmentation.symmetries[:2] == ((1, -1, -1, 1, 1, 1), (-1, 1, -1, 1, 1, 1))
    assert config.augmentation.symmetries[5] == (1, 1, 1, -1, -1, 1)
    assert config.augmentation.symmetry_share == one.augmentation.symmetry_share / 2
    _tell_of(config)
    assert "worn apart, so turned apart at random: wrist, hip\n" in capsys.readouterr().out
    path.write_text(apart.replace("hip_gyro_z", "pulse"))
    config = configure(kitchen)
    assert config.augmentation.rotation_degrees == one.augmentation.rotation_degrees
    assert config.devices == (((0, 1, 2),),)
    assert config.augmentation.symmetries[0] == (1, -1, -1, 1, 1, 1)


def test_a_folder_becomes_a_bundle_by_one_command(
    kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Motions as plain as these are learnt in a tenth of the steps that unknown ones get.
    monkeypatch.setattr(defaults, "FEWEST_STEPS", 1)
    monkeypatch.setattr(defaults, "WINDOWS_AN_EPOCH", 120)
    bundle = tmp_path / "kitchen.onnx"
    names = tmp_path / "names.toml"
    names.write_text(
        "[labels]\nresting = 'rest'\n'shake it' = 'shake softly'\n'shake it hard' = 'shake hard'\n"
    )
    done = streamer(
        "train", kitchen, "--out", tmp_path / "run", "--bundle", bundle, "--labels", names
    )
    assert done.returncode == 0, done.stderr
    assert "5 people, 5 recordings, 1745 samples (245 without a label), 3 labels" in done.stdout
    assert "left out: 5 samples with a missing or impossible value, 0 out of order" in done.stdout
    assert "5 gaps over 100 ms" in done.stdout
    manifest = Recognizer.load(bundle).manifest
    assert manifest.label_set.names == ("rest", "shake softly", "shake hard")
    assert (manifest.rate_hz, manifest.window) == (25.0, 64)
    assert (tmp_path / "run" / "bundle.onnx").read_bytes() == bundle.read_bytes()
    assert manifest.training.licence == "mine"
    assert manifest.measured is not None
    assert manifest.measured.people == ("eve",)
    assert manifest.measured.accuracy > 0.9


@pytest.mark.parametrize(
    ("bundle", "told"),
    [
        (".", "is a folder; give a file, such as"),
        ("dataset.toml/model.onnx", "can't be written: "),
        ("dataset.toml/deep/model.onnx", "can't be written: "),
    ],
)
def test_a_bundle_that_cannot_be_written_is_told_before_training(
    kitchen: Path, bundle: str, told: str
) -> None:
    done = streamer("train", kitchen, "--bundle", kitchen / bundle)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr


def test_an_interrupted_training_tells_how_it_goes_on(
    kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "train", interrupted)
    done = streamer("train", kitchen, "--out", tmp_path / "run")
    assert done.returncode == 130
    assert "the same command goes on from the last whole epoch" in done.stderr


def test_the_bundle_may_be_the_runs_own(
    kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waist = find_bundle("waist")

    def compile_waist(_: Path, bundle: Path, __: str) -> Manifest:
        bundle.write_bytes(waist.read_bytes())
        return ShareModel.load("waist").manifest

    monkeypatch.setattr(trainer, "train", lambda *_: trainer.TrainingResult())
    monkeypatch.setattr(compiler, "compile_run", compile_waist)
    for bundle in ("bundle.onnx", "other.onnx"):
        target = tmp_path / bundle
        done = streamer("train", kitchen, "--out", tmp_path, "--bundle", target)
        assert done.returncode == 0, done.stderr
        assert target.read_bytes() == waist.read_bytes()


def test_a_folders_configuration(kitchen: Path) -> None:
    config = configure(kitchen)
    assert config.data.validation == ("ben",)
    assert config.data.test == ("eve",)
    assert config.data.units == ("m/s2",) * 3 + ("rad/s",) * 3
    renamed = rename_labels(config, {"shake it": "shake softly"})
    assert renamed.data.labels == ("resting", "shake softly", "shake it hard")
    stretches = read_stretches(renamed.data, renamed.data.labels)
    labels = stretches[0].labels
    assert [int((labels == label).sum()) for label in range(3)] == [100, 100, 100]
    # The gap of 5 s parts each recording in two.
    assert len(stretches) == 10


def test_epochs_of_long_recordings_have_a_bound(
    kitchen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = configure(kitchen).optimisation
    monkeypatch.setattr(defaults, "LONGEST_EPOCH", 10_000)
    long = configure(kitchen).optimisation
    # 1200 labelled samples to learn from, in windows of 64 that begin every 4 and every 7.
    assert (short.stride, long.stride) == (4, 7)
    assert long.epochs > short.epochs  # there are no fewer steps for that


def test_what_has_no_label_makes_no_epoch_longer(
    kitchen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "MOST_EPOCHS", 100_000)
    whole = configure(kitchen).optimisation
    unlabel(kitchen, ACTIVITIES[2])
    shorter = configure(kitchen).optimisation
    # A third of the labelled samples is gone, and so each is seen half as often again.
    assert shorter.epochs == pytest.approx(1.5 * whole.epochs, rel=0.1)
    assert shorter.stride == whole.stride


def test_hardly_any_windows_are_not_gone_through_without_bound(kitchen: Path) -> None:
    unlabel(kitchen, ACTIVITIES[2])
    assert configure(kitchen).optimisation.epochs == defaults.MOST_EPOCHS


def unlabel(folder: Path, activity: str) -> None:
    """Take an activity's label from all recordings."""
    for path in folder.glob("*/*.csv"):
        path.write_text(path.read_text().replace(f"{activity}\n", "?\n"))


@pytest.mark.parametrize("window", [8, 51, 64, 100, 128, 256])
def test_a_network_sees_a_part_of_a_window_at_once(kitchen: Path, window: int) -> None:
    with (kitchen / "dataset.toml").open("r+") as file:
        file.write(f"window = {window}\n{DESCRIPTION}")
    shape = configure(kitchen).network.shape
    assert shape.receptive_field < window
    assert len(shape.stages) == 1 or shape.receptive_field <= window / 2


def test_better_names_stand_in_the_description(kitchen: Path) -> None:
    with (kitchen / "dataset.toml").open("a") as file:
        file.write("\n[labels]\nshake_it = 'shake softly'\n")
    config = configure(kitchen)
    assert config.data.labels == ("resting", "shake softly", "shake it hard")
    # A configuration written by hand need not repeat them.
    by_hand = config.data.model_copy(update={"rename": {}})
    assert int((read_stretches(by_hand, by_hand.labels)[0].labels == 1).sum()) == 100
    again = rename_labels(config, {"shake softly": "sway"}).data
    assert again.labels == ("resting", "sway", "shake it hard")
    assert int((read_stretches(again, again.labels)[0].labels == 1).sum()) == 100


def test_a_recording_too_short_to_be_resampled_is_passed_over(tmp_path: Path) -> None:
    for wearer, count in (("a", 200), ("b", 2), ("c", 200)):
        lines = ["x,what", *(f"{row},walk" for row in range(count))]
        (tmp_path / f"{wearer}.csv").write_text("\n".join(lines))
    (tmp_path / "dataset.toml").write_text(
        'name = "short"\nrate_hz = 52\n[csv]\nlabel = "what"\n'
        '[csv.channels]\nacc_x = { column = "x", unit = "m/s2" }\n'
    )
    config = configure(tmp_path).data.model_copy(update={"rate_hz": 20.0})
    assert [stretch.wearer for stretch in read_stretches(config, ("walk",))] == ["a", "c"]


def test_a_label_that_is_named_twice_is_told(kitchen: Path) -> None:
    with (kitchen / "dataset.toml").open("a") as file:
        file.write("\n[labels]\nShake-It = 'shake softly'\nshake_it = 'sway'\n")
    with pytest.raises(ConfigError, match=r"labels: .*'Shake-It' and 'shake_it' are the same"):
        configure(kitchen)


def test_a_start_keeps_its_window_whatever_the_folder_says(kitchen: Path, tmp_path: Path) -> None:
    begun = configure(kitchen)
    (tmp_path / "config.json").write_text(begun.model_dump_json())
    with (kitchen / "dataset.toml").open("r+") as file:
        file.write(f"window = 100\n{DESCRIPTION}")
    assert configure(kitchen).data.window == 100
    assert configure(kitchen, tmp_path).data.window == begun.data.window == 64


def test_what_is_shorter_than_a_window_is_told(kitchen: Path) -> None:
    data = configure(kitchen).data
    (told,) = examine(data.model_copy(update={"window": 120})).warnings
    lengths = [len(stretch.values) for stretch in read_stretches(data, data.labels)]
    short = [length for length in lengths if length < 120]
    assert told.startswith(f"{sum(short)} samples lie in {len(short)} unbroken stretches")


def test_a_label_without_a_window_is_told(tmp_path: Path) -> None:
    rows = [f"{n},{'jump' if n > 190 else 'walk'},{who}" for who in "abc" for n in range(200)]
    data = configure_walkers(tmp_path, rows)
    assert data.labels == ("walk", "jump")
    told = "label 'jump' is in the middle of no window of 64 samples (2.56 s): nothing is left"
    assert [text.startswith(told) for text in examine(data).warnings].count(True) == 1


def test_hidden_files_are_not_read_and_links_are_followed(kitchen: Path, tmp_path: Path) -> None:
    before = configure(kitchen).data
    hidden = kitchen / "anna" / ".ipynb_checkpoints"
    hidden.mkdir()
    (hidden / "monday-checkpoint.csv").write_text("anything")
    (kitchen / "ben").rename(tmp_path / "elsewhere")
    (kitchen / "ben").symlink_to(tmp_path / "elsewhere")
    (kitchen / "anna" / "again.csv").symlink_to(kitchen / "anna" / "monday.csv")
    survey = examine(configure(kitchen).data).survey
    assert configure(kitchen).data == before
    assert (len(survey.wearers), survey.recordings) == (5, 5)


def test_a_path_that_tells_labels_alone_tells_nobody_apart(kitchen: Path) -> None:
    path = kitchen / "dataset.toml"
    path.write_text(path.read_text().replace("(?P<subject>[^/]+)/.*", "(?P<label>[^/]+)/.*"))
    with pytest.raises(DatasetError, match=r"would be of the wearer 'monday', as .* is"):
        configure(kitchen)


def test_clocks_of_people_in_one_file_may_be_a_little_apart(tmp_path: Path) -> None:
    rows = [
        f"{40000 * n + 50 * k},{n},walk,{who}" for n in range(100) for k, who in enumerate("abc")
    ]
    folder = write_csv(
        tmp_path, "t,x,what,who", rows, 'time = "t"\ntime_unit = "us"\nsubject = "who"'
    )
    content = read_folder(folder, read_description(folder))
    assert not isinstance(content, Windows)
    assert [len(recording.times) for recording in content] == [100] * 3


@pytest.mark.parametrize("key", ["time", "label", "subject"])
def test_a_column_must_have_a_name(kitchen: Path, key: str) -> None:
    path = kitchen / "dataset.toml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{key} =")]
    path.write_text("\n".join(lines).replace("[csv]", f'[csv]\n{key} = ""'))
    with pytest.raises(ConfigError, match=f"csv.{key}: '' is not right"):
        configure(kitchen)


def test_a_value_that_no_sensor_reads_is_counted(tmp_path: Path) -> None:
    write_csv(tmp_path, "x,what", ["1,walk", "9999999,walk", "2,walk"])
    content = read_folder(tmp_path, read_description(tmp_path))
    assert not isinstance(content, Windows)
    (recording,) = content
    assert recording.values[:, 0].tolist() == [1, 2]
    assert recording.without_reading == 1


def test_short_recordings_are_judged_together(tmp_path: Path) -> None:
    description = DESCRIPTION.replace('time = "t"\ntime_unit = "ms"\n', "").replace('"g"', '"m/s2"')
    (tmp_path / "dataset.toml").write_text(description.replace("rate_hz = 25.0", "rate_hz = 50.0"))
    for who in ("anna", "ben", "cleo"):
        (tmp_path / who).mkdir()
        for number, what in enumerate(("rest", "wave")):
            values = worn_samples(200, seed=number).values / [*[STANDARD_GRAVITY] * 3, *[1] * 3]
            rows = [",".join(map(str, row)) + f",{what}" for row in values.tolist()]
            (tmp_path / who / f"{what}.csv").write_text(
                "\n".join(["ax,ay,az,gx,gy,gz,what", *rows])
            )
    (warning,) = examine(configure(tmp_path).data).warnings
    assert "acc looks like g, not m/s2" in warning
    assert warning.endswith("(2 more like it)")


def test_sessions_that_differ_are_told(tmp_path: Path) -> None:
    names = tuple(f"{sensor}_{axis}" for sensor in ("acc", "gyro", "mag") for axis in "xyz")
    units = (*["m/s2"] * 3, *["rad/s"] * 3, *["uT"] * 3)
    for wearer, channels, rate in (("a", 9, 50.0), ("b", 6, 50.0), ("c", 9, 25.0)):
        info = StreamInfo(wearer, names[:channels], units[:channels], rate, "test", "device")
        values = worn_samples(600, wearer, rate).values[:, np.arange(channels) % 6]
        with SessionWriter(tmp_path / f"{wearer}.mcap") as writer:
            writer.add_stream(info)
            writer.add_annotation(Annotation(wearer, "rest", EPOCH, EPOCH + 20))
            writer.add_batch(SampleBatch(wearer, EPOCH + np.arange(600) / rate, values))
    told = examine(configure(tmp_path).data).warnings
    assert "mag_x, mag_y, mag_z not learnt from: recording 'b' has none of it" in told
    assert "recordings of 25 to 50 Hz; recording 'c' is of 25 Hz" in told


def test_plain_numbers_are_warned_of(kitchen: Path) -> None:
    assert unnamed(("1", "2"))
    assert not unnamed(("1", "walk 2"))
    for seed, path in enumerate(sorted(kitchen.glob("*/*.csv"))):
        path.unlink()
        path.parent.rmdir()
        write_person(path, seed, names=("0", "1", "2"))
    assert unnamed(configure(kitchen).data.labels)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("rate_hz = 25.0", ""), "must tell rate_hz"),
        (('label = "what"', 'label = "which"'), "no column 'which'; it has t, ax"),
        (('unit = "g"', 'unit = "gee"'), "csv.channels.acc_x.unit"),
        (('time = "t"', 'time = "what"'), "'Resting' in row 1 of column 'what'"),
        (('"(?P<subject>[^/]+)/.*"', '"x(?P<subject>.*)"'), "does not match path"),
        (('"(?P<subject>[^/]+)/.*"', '"("'), "is no expression"),
        (("[csv]", '[csv]\nfiles = "*.txt"'), "holds no file"),
        (("[csv]", '[csv]\nfiles = "/tmp/*.csv"'), "files = '/tmp/.*no pattern"),
        (("[csv]", '[csv]\nfiles = ""'), "csv.files: '' is not right"),
        (("rate_hz = 25.0", "rate_hz = 1e9"), "rate_hz: 1000000000.0 is not right"),
        (("rate_hz = 25.0", "rate_hz = 2.0"), "of 2 Hz, of which 2.56 s are 5 samples"),
        (('unlabelled = ["?"]', f"unlabelled = {[*ACTIVITIES, '?']}"), "has a label"),
        (('path = "(?P<subject>[^/]+)/.*"', ""), "wearer 'monday', as .*anna/monday.csv is"),
        (("(?P<subject>[^/]+)", "(?P<person>[^/]+)"), "group 'person'; known are label and sub"),
        (("(?P<subject>[^/]+)/.*", "(?P<subject>.*)[.]csv"), "'anna/monday', whose name holds"),
        (('time_unit = "ms"', 'time_unit = "s"'), "times 40 s apart .* rate_hz = 25; .* 'ms'"),
        (("time_unit", "timeunit"), "csv.timeunit: .* did you mean 'time_unit'"),
        (('unit = "g" }', 'unit = "g", colum = "x" }'), "acc_x.colum: .* did you mean 'column'"),
        (("[csv.ch", '[labels]\nshake_itt = "go"\n[csv.ch'), "shake itt.* mean 'shake it'"),
        (("[csv.ch", '[labels]\nresting = "歩"\n[csv.ch'), "labels.resting: has no word"),
        (("licence", "license"), "did you mean 'licence'"),
        (("[csv.ch", '[labels]\nresting = "the end"\n[csv.ch'), "has the word 'end', .*own in the"),
    ],
)
def test_a_fault_of_a_folder_is_told_in_a_line(
    kitchen: Path, change: tuple[str, str], told: str
) -> None:
    path = kitchen / "dataset.toml"
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(StreamerError, match=told.replace("(", "\\(")) as error:
        configure(kitchen)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("block", [7, 350])
def test_files_are_read_alike_in_blocks(
    kitchen: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> list[Recording]:
        content = read_folder(kitchen, read_description(kitchen))
        assert not isinstance(content, Windows)
        return list(content)

    whole = read()
    monkeypatch.setattr(csv_files, "BLOCK_ROWS", block)
    for one, other in zip(whole, read(), strict=True):
        assert np.array_equal(one.times, other.times)
        assert np.array_equal(one.values, other.values)
        assert one.annotations == other.annotations


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("5,1,2\n", "3 columns in line 352; the first has 8"),
        ("5,1,2,x,3,4,5,?\n", "'x' in row 351 of column 'az': no number"),
        ('5,1,2,3,3,4,5,"?\n\n', "from line 352 on: .*stray quote"),
        ('5,1,2,3,3,4,5,"?\n5,1,2,3,3,4,5,?"\n', "a field in line 352 that ends in line 353"),
    ],
)
@pytest.mark.parametrize("block", [7, 350, csv_files.BLOCK_ROWS])
def test_a_malformed_row_is_named(
    kitchen: Path, line: str, told: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_ROWS", block)
    path = kitchen / "anna" / "monday.csv"
    path.write_text(path.read_text() + line)
    with pytest.raises(StreamerError, match=told):
        configure(kitchen)


def write_csv(folder: Path, header: str, rows: Sequence[str], csv: str = "", **more: str) -> Path:
    """Write `all.csv` with the channel x, and a description."""
    (folder / "all.csv").write_text("\n".join([header, *rows]))
    top = "".join(f"{key} = {value}\n" for key, value in more.items())
    (folder / "dataset.toml").write_text(
        f'name = "all"\nrate_hz = 25\n{top}[csv]\nlabel = "what"\n{csv}\n'
        '[csv.channels]\nacc_x = { column = "x", unit = "m/s2" }\n'
    )
    return folder


@pytest.mark.parametrize(
    ("header", "rows", "told"),
    [
        ("x,what,x", ["1,walk,2"], "all.csv has 2 columns 'x'"),
        ("", [], "all.csv is empty"),
        ("x,what,who", ["1,walk,a", "1,walk,"], "wearer '', whose name is empty; change row 2"),
    ],
)
def test_a_fault_of_a_file_is_told(tmp_path: Path, header: str, rows: list[str], told: str) -> None:
    write_csv(tmp_path, header, rows, 'subject = "who"' if "who" in header else "")
    with pytest.raises(DatasetError, match=told):
        configure(tmp_path)


def test_rows_of_several_people_may_be_mixed(tmp_path: Path) -> None:
    rows = [f"{40 * row},{row},walk,{who}" for row in range(100) for who in "bac"]
    columns = 'time = "t"\ntime_unit = "ms"\nsubject = "who"'
    folder = write_csv(tmp_path, "t,x,what,who", rows, columns)
    content = read_folder(folder, read_description(folder))
    assert not isinstance(content, Windows)
    recordings = list(content)
    assert [(r.stream.device, len(r.times)) for r in recordings] == [(w, 100) for w in "bac"]
    assert recordings[1].values[:3, 0].tolist() == [0, 1, 2]


def test_magnetometers_are_read_too(tmp_path: Path) -> None:
    write_csv(tmp_path, "x,m,what", ["1,-420,walk", "2,510,walk"])
    with (tmp_path / "dataset.toml").open("a") as file:
        file.write('mag_x = { column = "m", unit = "mgauss" }\n')
    content = read_folder(tmp_path, read_description(tmp_path))
    assert not isinstance(content, Windows)
    (recording,) = content
    assert recording.stream.units == ("m/s2", "uT")
    assert recording.stream.conversion == "mgauss to uT"
    np.testing.assert_allclose(recording.values, [[1, -42], [2, 51]])


@pytest.mark.parametrize("zone", ["", "Z", "+00:00"])
def test_dates_may_tell_their_zone(tmp_path: Path, zone: str) -> None:
    rows = [f"2024-03-01T10:00:{second:02}{zone},1,walk" for second in range(60)]
    folder = write_csv(tmp_path, "t,x,what", rows, 'time = "t"\ntime_unit = "iso"')
    content = read_folder(folder, read_description(folder))
    assert not isinstance(content, Windows)
    assert next(iter(content)).times[0] == 1_709_287_200


@pytest.mark.parametrize("name", ["p1.csv", "p1.CSV"])
def test_the_suffix_of_files_may_be_in_capitals(tmp_path: Path, name: str) -> None:
    write_csv(tmp_path, "x,what", ["1,walk"])
    (tmp_path / "all.csv").rename(tmp_path / name)
    assert [r.name for r in read_folder(tmp_path, read_description(tmp_path))] == ["p1"]  # type: ignore[union-attr]


def walkers(*labels: str, count: int = 100) -> list[str]:
    """Return rows of three people, each of whom does everything for `count` samples."""
    return [f"{row},{label},{who}" for who in "abc" for label in labels for row in range(count)]


def configure_walkers(folder: Path, rows: Sequence[str], **more: str) -> DataConfig:
    return configure(write_csv(folder, "x,what,who", rows, 'subject = "who"', **more)).data


@pytest.mark.parametrize(
    ("published", "learnt"),
    [
        (("Walk up", "walk-up", "walk_up", "WalkUp", "walk - up"), ("walk up",)),
        (("1", "1.0", "2."), ("1", "2")),
        (("Größe", "Fuß"), ("grosse", "fuss")),
    ],
)
def test_spellings_of_a_label_are_one(
    tmp_path: Path, published: tuple[str, ...], learnt: tuple[str, ...]
) -> None:
    assert configure_walkers(tmp_path, walkers(*published)).labels == learnt


@pytest.mark.parametrize(
    ("published", "told"),
    [
        (("-1", "1"), "label '1' in recording 'all' of .* becomes '1', and so does '-1'"),
        (("lift +", "lift -"), "'lift -' in .* becomes 'lift', and so does 'lift \\+'"),
        (("sit 歩く", "sit"), "becomes 'sit', and so does 'sit"),
        (("歩く", "sit"), "label '歩く' in recording 'all' .* has no word of letters a to z"),
    ],
)
def test_labels_that_words_cannot_tell_apart_need_names(
    tmp_path: Path, published: tuple[str, ...], told: str
) -> None:
    rows = walkers(*published)
    with pytest.raises(LabelSetError, match=told):
        configure_walkers(tmp_path, rows)
    names = f'{{ "{published[0]}" = "go", "{published[1]}" = "stay" }}'
    config = configure_walkers(tmp_path, rows, labels=names)
    assert config.labels == ("go", "stay")
    assert set(read_stretches(config, config.labels)[0].labels.tolist()) == {0, 1}
    unnamed = config.model_copy(update={"labels": ("1", "lift", "sit"), "rename": {}})
    (tmp_path / "dataset.toml").write_text(
        (tmp_path / "dataset.toml").read_text().replace(f"labels = {names}", "")
    )
    if published[0] != "歩く":
        with pytest.raises(LabelSetError, match="so does"):
            read_stretches(unnamed, unnamed.labels)


def test_only_people_with_a_window_are_held_out(tmp_path: Path) -> None:
    short = [f"{row},walk,b" for row in range(20)]
    rows = [row for row in walkers("walk", "sit") if not row.endswith("b")] + short
    config = configure_walkers(tmp_path, rows)
    assert config.validation == ("c",)
    with pytest.raises(TrainingError, match=r"'b' is held out, but .* window of 64 samples"):
        examine(config.model_copy(update={"validation": ("b",)}))
    with pytest.raises(TrainingError, match=r"'bb' is held out, .* did you mean 'b'"):
        examine(config.model_copy(update={"test": ("bb",)}))
    with pytest.raises(TrainingError, match=r"of 3 people .* 0 of them in an unbroken stretch"):
        configure_walkers(tmp_path, walkers("walk", count=20))


def test_nobody_is_held_out_whom_a_label_needs(tmp_path: Path) -> None:
    everybody = [
        f"{row},{label},p{person}"
        for person in range(10)
        for label in ("walk", "sit", *(("run",) if person in {4, 9} else ()))
        for row in range(100)
    ]
    config = configure_walkers(tmp_path, everybody)
    assert config.test == ("p0", "p4")
    assert config.validation == ("p2", "p8")
    alone = [f"{row},{'abc'[person % 3]},p{person}" for person in range(6) for row in range(100)]
    config = configure_walkers(tmp_path, alone)
    assert not examine(config).warnings
    only = [f"{row},does {person},p{person}" for person in range(6) for row in range(100)]
    config = configure_walkers(tmp_path, only)
    assert (config.test, config.validation) == (("p4",), ("p1",))
    assert len(examine(config).warnings) == 2


def test_a_wearer_is_the_same_with_a_point(tmp_path: Path) -> None:
    rows = [f"{row},{label},{who}" for who in ("1", "2.0", "2", "1.", "3", "p1.0") for label in
            ("walk", "sit") for row in range(100)]  # fmt: skip
    config = configure_walkers(tmp_path, rows)
    assert {s.wearer for s in read_stretches(config, config.labels)} == {"1", "2", "3", "p1.0"}


def test_a_recording_without_a_usable_sample_is_named(kitchen: Path) -> None:
    whole = (kitchen / "anna" / "monday.csv").read_text().splitlines()
    without = [whole[0], *(row.rsplit(",", 3)[0] + ",,1,walk" for row in whole[1:])]
    (kitchen / "anna" / "sunday.csv").write_text("\n".join(without))
    told = examine(configure(kitchen).data).warnings
    assert "recording 'anna_sunday' has no sample with a value of each channel" in told


def test_one_label_alone_is_told(tmp_path: Path) -> None:
    config = configure_walkers(tmp_path, walkers("walk", count=300))
    assert "label 'walk' is the only one: the model will say nothing else" in (
        examine(config).warnings
    )


def test_a_rate_ten_times_the_true_one_is_told_of_short_recordings(kitchen: Path) -> None:
    path = kitchen / "dataset.toml"
    path.write_text(path.read_text().replace("rate_hz = 25.0", "rate_hz = 250.0"))
    told = examine(configure(kitchen).data).warnings
    assert any("sent as 250 Hz, comes at 25.0 Hz" in text for text in told)


def test_short_recordings_are_no_messages_of_another_rate(kitchen: Path) -> None:
    description = DESCRIPTION.replace('time = "t"\ntime_unit = "ms"\n', "")
    description = description.replace("[csv]", "window = 16\n[csv]")
    (kitchen / "dataset.toml").write_text(description)
    for day in kitchen.glob("*/monday.csv"):
        header, *rows = day.read_text().splitlines()
        for part in range(12):
            text = "\n".join([header, *rows[25 * part : 25 * (part + 1)]])
            day.with_name(f"part{part}.csv").write_text(text)
        day.unlink()
    assert not [text for text in examine(configure(kitchen).data).warnings if "comes at" in text]


def test_recordings_slower_than_what_is_learnt_are_warned_of(kitchen: Path) -> None:
    config = configure(kitchen).data
    fast = config.model_copy(update={"rate_hz": 50.0})
    told = examine(fast).warnings
    assert any("is of 25 Hz, learnt from as of 50 Hz; a gateway refuses" in text for text in told)


def test_labels_that_cannot_be_learnt_are_told(tmp_path: Path) -> None:
    dances = [f"{row},dance,b" for row in range(100)]
    config = configure_walkers(tmp_path, [*walkers("walk", "sit"), *dances, "0,walk,b"])
    assert config.validation == ("c",)
    held_out = config.model_copy(update={"validation": ("b",)})
    (warning,) = [text for text in examine(held_out).warnings if "dance" in text]
    assert warning == (
        "label 'dance' is of nobody but b, held out: nobody is left to learn it from"
    )
    with pytest.raises(TrainingError, match=r"has 'wlak', .* did you mean 'walk'"):
        examine(config.model_copy(update={"labels": ("wlak", "sit")}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('"g"', '"m/s2"'), "acc looks like g, not m/s2"),
        (("rate_hz = 25.0", "rate_hz = 50.0"), "sent as 50 Hz, comes at 25.0 Hz"),
        (('"deg/s"', '"rad/s"'), "gyro looks like deg/s, not rad/s"),
    ],
)
def test_what_a_gateway_would_refuse_is_warned_of(
    kitchen: Path, change: tuple[str, str], told: str
) -> None:
    path = kitchen / "dataset.toml"
    config = configure(kitchen).data
    assert not [text for text in examine(config).warnings if "recording" in text]
    path.write_text(path.read_text().replace(*change))
    (warning,) = [t for t in examine(configure(kitchen).data).warnings if "recording" in t]
    assert told in warning
    assert warning.endswith("(4 more like it)")


def test_times_that_start_afresh_begin_another_recording(tmp_path: Path) -> None:
    rows = [f"{t},{t}" for t in (2.0, 2.1, 2.2, 2.15, 2.3)] + ["0,9", "0.1,9"]
    (tmp_path / "a.csv").write_text("t,x\n" + "\n".join(rows))
    (tmp_path / "dataset.toml").write_text(
        'name = "a"\nrate_hz = 10\n[csv]\ntime = "t"\n'
        '[csv.channels]\nacc_x = { column = "x", unit = "m/s2" }\n'
    )
    content = read_folder(tmp_path, read_description(tmp_path))
    assert not isinstance(content, Windows)
    first, second = content
    assert (len(first.times), first.out_of_order, len(second.times)) == (4, 1, 2)
    assert first.name != second.name
    assert not first.annotations


def test_sessions_need_no_description(tmp_path: Path) -> None:
    channels = tuple(f"sensor{number:02d}_{axis}" for number in range(15) for axis in "xyz")
    for seed, wearer in enumerate(("a", "b", "c")):
        info = StreamInfo(wearer, channels, (ACCELERATION,) * 45, 100.0, "test", "counter")
        values = np.random.default_rng(seed).normal(0, 1, (600, 45)).astype(np.float32)
        with SessionWriter(tmp_path / f"{wearer}.mcap") as writer:
            writer.add_stream(info)
            writer.add_annotation(Annotation(wearer, "T-shirt on", EPOCH, EPOCH + 3))
            writer.add_annotation(Annotation(wearer, "T-shirt off", EPOCH + 3, EPOCH + 6))
            writer.add_batch(SampleBatch(wearer, EPOCH + np.arange(600) / 100, values))
    config = configure(tmp_path)
    assert len(config.data.channels) == 45
    assert config.data.labels == ("t shirt on", "t shirt off")
    assert (config.data.window, config.data.hop, config.data.validation) == (256, 50, ("b",))
    stretches = read_stretches(config.data, config.data.labels)
    assert [int((s.labels == 0).sum()) for s in stretches] == [300, 300, 300]
    own_spelling = config.data.model_copy(update={"labels": ("t-shirt on", "t-shirt off")})
    assert (read_stretches(own_spelling, own_spelling.labels)[0].labels[:300] == 0).all()


def write_share_arrays(folder: Path, *, beside: bool = False) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 20)):
        labels = np.arange(count) % 2
        values = rng.normal(0, 1, (count, 40, 7)) + 3 * labels[:, None, None]
        np.save(folder / f"X_{part}.npy", values)
        np.save(folder / f"y_{part}.npy", labels)
    dictionary = {"label_dictionary": {"0": ["open", "door", "1"], "1": ["close", "door", "1"]}}
    path = folder / "labels.json"
    if beside:
        path = folder.parent.parent / "configs" / f"{folder.name}.json"
        path.parent.mkdir()
    path.write_text(json.dumps(dictionary))


@pytest.mark.parametrize("beside", [False, True])
def test_shares_own_arrays_are_taken_as_they_are(tmp_path: Path, beside: bool) -> None:
    folder = tmp_path / "dataset" / "Opp_g"
    write_share_arrays(folder, beside=beside)
    (folder / "dataset.toml").write_text("rate_hz = 30\n")
    config = configure(folder)
    assert config.data.labels == ("open door 1", "close door 1")
    assert config.data.test == ("test",)
    assert config.data.units == ("1",) * 7
    assert config.augmentation.rotation_degrees == 0
    stretches = read_stretches(config.data, config.data.labels)
    assert len(stretches) == 80
    windows = cut_windows(stretches, config.data.window, 32, offset=17)
    assert len(windows) == 80
    values = np.load(folder / "X_train.npy")
    values[3, 2, 1] = np.nan
    np.save(folder / "X_train.npy", values)
    assert len(read_stretches(config.data, config.data.labels)) == 79
    assert Survey.of(read_folder(folder, read_description(folder))).without_reading == 40
    assert windows.labels[:4].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("labels.json", "no \\*.json with a label_dictionary"),
        ("y_test.npy", "y_test.npy is missing"),
        ("pickle", "is no array of numbers"),
        ("zip", "is no array of numbers"),
        ("text", "has <U4 of the shape \\(20,\\); expected numbers of 1 dimensions"),
        ("words", "labels without words: \\[1\\]"),
        ("rate", "must tell rate_hz"),
        ("word", "'open' is no list of words, such as \\['open'\\]"),
        ("lengths", "y_train.npy has 59 labels of the 60 windows in X_train.npy"),
    ],
)
def test_faults_of_shares_arrays_are_told(tmp_path: Path, spoil: str, told: str) -> None:
    folder = tmp_path / "arrays"
    write_share_arrays(folder)
    if spoil != "rate":
        (folder / "dataset.toml").write_text('name = "arrays"\nrate_hz = 30\n')
    if spoil == "pickle":
        np.save(folder / "y_test.npy", np.array([{}]), allow_pickle=True)
    elif spoil == "zip":
        with (folder / "y_test.npy").open("wb") as file:
            np.savez(file, allow_pickle=False, y=np.arange(20))
    elif spoil == "text":
        np.save(folder / "y_test.npy", np.array(["walk"] * 20))
    elif spoil == "words":
        (folder / "labels.json").write_text('{"label_dictionary": {"0": ["open"]}}')
    elif spoil == "word":
        (folder / "labels.json").write_text('{"label_dictionary": {"0": "open", "1": ["shut"]}}')
    elif spoil == "lengths":
        for part, count in (("train", 59), ("test", 21)):
            np.save(folder / f"y_{part}.npy", np.arange(count) % 2)
    elif spoil != "rate":
        (folder / spoil).unlink()
    with pytest.raises(StreamerError, match=told):
        configure(folder)


def test_windows_of_another_rate_or_channel_are_refused(tmp_path: Path) -> None:
    windows = Windows(
        np.zeros((4, 30, 3), np.float32),
        np.array([0, 1, 0, 1]),
        np.array(["a", "a", "b", "b"]),
        ("rest", "run"),
        ("acc_x", "acc_y", "acc_z"),
        ("m/s2",) * 3,
        20.0,
    )
    write_windows(windows, tmp_path / "windows.npz")
    config = configure(tmp_path).data
    assert config.window == 30
    for changes, told in (
        ({"rate_hz": 50.0}, "30 samples at 20 Hz"),
        ({"window": 31}, "30 samples at 20 Hz"),
        ({"channels": ("gyro_x",), "units": ("rad/s",)}, "have no gyro_x \\[rad/s\\]"),
    ):
        with pytest.raises(StreamerError, match=told):
            read_stretches(config.model_copy(update=changes), config.labels)


@pytest.mark.parametrize(
    ("published", "plain"),
    [
        ("WALKING_UPSTAIRS", "walking upstairs"),
        ("OpenDoor1", "open door1"),
        ("playing catch w/tennis ball", "playing catch w tennis ball"),
        ("Spazieren gehén", "spazieren gehen"),
        ("Smørrebrød", "smorrebrod"),
        ("走る", ""),
    ],
)
def test_names_as_plain_words(published: str, plain: str) -> None:
    assert plain_words(published) == plain


def test_a_file_of_names_must_name_every_label(tmp_path: Path) -> None:
    path = tmp_path / "names.toml"
    path.write_text('[labels]\nSTANDING_STILL = "Leg Still"\n')
    assert read_names(path, ["standing still"]) == {"standing still": "leg still"}
    with pytest.raises(ConfigError, match="no name for 'walking'"):
        read_names(path, ["standing still", "walking"])
    path.write_text('[labels]\nsit = "!"\n')
    with pytest.raises(ConfigError, match=r"labels\.sit"):
        read_names(path)
