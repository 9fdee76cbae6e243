"""Several devices of one person: joined on the clock, late, missing, back again."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray
from typing_extensions import override

from conftest import CHANNELS, EPOCH, UNITS, cut
from device_adapters.replay import ReplayAdapter, ReplayOptions
from device_adapters.samples import SampleBatch, StreamInfo
from streamer.config import read_gateway_config
from streamer.errors import ConfigError, StreamMismatchError, WearerError
from streamer.gateway import Gateway
from streamer.messages import Label, parse_label
from streamer.recognizer import Recognizer
from streamer.recorder import Recorder
from streamer.share.labels import LabelSet
from streamer.share.runtime import ShareModel
from streamer.training.compiler import write_bundle
from streamer.training.network import ShareNetwork
from streamer.wearers import WearerConfig, Wearers, _check_fallback
from test_gateway import Collector, Scripted
from test_recognizer import recorded
from test_share import SMALL, manifest_of

CONFIG = Path(__file__).parent.parent / "configs" / "wearers.toml"
PARTS = {"wrist": CHANNELS[:3], "hip": CHANNELS[3:5], "ankle": CHANNELS[5:]}
ANNA = WearerConfig(channels={own: f"{dev}/{own}" for dev, part in PARTS.items() for own in part})
RATES = {"wrist": 50.0, "hip": 52.0, "ankle": 100.0}


def info(device: str, rate_hz: float = 50.0) -> StreamInfo:
    channels = PARTS[device]
    units = tuple(UNITS[CHANNELS.index(channel)] for channel in channels)
    return StreamInfo(device, channels, units, rate_hz, "test", "counter")


def parts_of(whole: SampleBatch) -> dict[str, SampleBatch]:
    """Return what each of three devices has of a stream of the bundle's channels."""
    columns = {dev: [CHANNELS.index(own) for own in part] for dev, part in PARTS.items()}
    return {
        dev: SampleBatch(dev, whole.times, whole.values[:, own]) for dev, own in columns.items()
    }


def without(batch: SampleBatch, begin_s: float, end_s: float) -> SampleBatch:
    """Return the batch without what was taken so long after its first sample."""
    since = batch.times - batch.times[0]
    kept = (since < begin_s) | (since >= end_s)
    return SampleBatch(batch.device, batch.times[kept], batch.values[kept])


def pieces(part: SampleBatch, size: int) -> list[SampleBatch]:
    """Cut a part into batches of this size; none holds samples back until after a long gap."""
    edges = [0, *(np.flatnonzero(np.diff(part.times) > 1) + 1).tolist(), len(part)]
    return [
        piece
        for begin, end in pairwise(edges)
        for piece in cut(
            SampleBatch(part.device, part.times[begin:end], part.values[begin:end]), [size]
        )
    ]


def in_turn(parts: Mapping[str, SampleBatch], size: int = 10) -> list[SampleBatch]:
    """Return the parts' batches in the order in which their last samples were taken."""
    batches = [piece for part in parts.values() for piece in pieces(part, size)]
    return sorted(batches, key=lambda batch: float(batch.times[-1]))


def opened(
    bundle: Path,
    config: WearerConfig = ANNA,
) -> Wearers:
    wearers = Wearers(Recognizer.load(bundle), {"anna": config})
    for device in PARTS:
        wearers.open(info(device))
    return wearers


def labels_of(wearers: Wearers, batches: Sequence[SampleBatch]) -> list[Label]:
    return [label for batch in batches for label in wearers.push_all([batch])] + wearers.flush()


@pytest.fixture(scope="module")
def whole(real_session: Path) -> SampleBatch:
    return recorded(real_session, 20, "anna")


@pytest.fixture(scope="module")
def acc_only(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an untrained bundle of the packaged one's labels that needs acceleration alone."""
    names = Recognizer.load(bundle).manifest.label_set.names
    network = ShareNetwork(LabelSet.from_names(names), 3, SMALL, hidden=20, embedding=8).eval()
    manifest = manifest_of(network).model_copy(
        update={"name": "acc", "channels": CHANNELS[:3], "units": UNITS[:3]}
    )
    path = tmp_path_factory.mktemp("fallback") / "acc.onnx"
    write_bundle(network, manifest, path)
    return path


def test_joined_devices_give_the_labels_of_the_undivided_stream(
    bundle: Path, whole: SampleBatch
) -> None:
    alone = Recognizer.load(bundle).push(whole)
    joined = labels_of(opened(bundle), in_turn(parts_of(whole)))
    assert joined == [structs.replace(label, devices=("wrist", "hip", "ankle")) for label in alone]


@settings(max_examples=4)
@given(
    sizes=st.lists(st.integers(7, 45), min_size=3, max_size=3),
    lags=st.lists(st.floats(0, 0.9), min_size=3, max_size=3),
    together=st.integers(1, 9),
)
def test_labels_depend_neither_on_cuts_nor_on_the_order_of_arrival(
    bundle: Path, whole: SampleBatch, sizes: list[int], lags: list[float], together: int
) -> None:
    parts = parts_of(whole)
    parts["hip"] = without(parts["hip"], 6.0, 9.3)
    parts["ankle"] = without(parts["ankle"], 8.0, 8.04)
    expected = labels_of(opened(bundle), in_turn(parts))
    arrivals = [
        (float(piece.times[-1]) + lag, piece)
        for part, size, lag in zip(parts.values(), sizes, lags, strict=True)
        for piece in pieces(part, size)
    ]
    batches = [piece for _, piece in sorted(arrivals, key=lambda arrival: arrival[0])]
    wearers = opened(bundle, ANNA.model_copy(update={"wait_s": 2.0}))
    got = [
        label
        for begin in range(0, len(batches), together)
        for label in wearers.push_all(batches[begin : begin + together])
    ]
    assert got + wearers.flush() == expected


def test_a_missing_device_is_waited_for_and_then_marked(bundle: Path, whole: SampleBatch) -> None:
    parts = parts_of(whole)
    parts["hip"] = without(parts["hip"], 8.0, 14.0)
    wearers = opened(bundle)
    ahead = 0.0
    labels: list[Label] = []
    for batch in in_turn(parts):
        for label in wearers.push_all([batch]):
            ahead = max(ahead, float(batch.times[-1]) - label.window.end)
            labels.append(label)
    labels += wearers.flush()
    start = float(whole.times[0])
    amid = [la for la in labels if start + 8 < la.window.start and la.window.end < start + 14]
    assert amid
    assert {(label.devices, label.observed) for label in amid} == {(("wrist", "ankle"), 0.0)}
    assert ahead < 1.0 + 0.5
    before = [label for label in labels if label.window.end < start + 7.8]
    after = [label for label in labels if label.window.start > start + 14.2]
    assert before
    assert after
    assert {label.observed for label in before + after} == {1.0}
    assert {label.devices for label in before + after} == {("wrist", "hip", "ankle")}
    assert np.diff([label.window.end for label in labels]) == pytest.approx(0.5)
    (statistics,) = wearers.statistics()
    hip = statistics.devices[1]
    assert hip.lost == 300
    assert hip.missing == pytest.approx(300, abs=10)
    assert [device.missing for device in statistics.devices][::2] == [0, 0]
    assert [device.late for device in statistics.devices] == [0, 0, 0]


def test_a_device_that_was_never_there_does_not_hold_up_the_others(
    bundle: Path, whole: SampleBatch
) -> None:
    parts = parts_of(whole)
    del parts["hip"]
    labels = labels_of(opened(bundle), in_turn(parts))
    assert len(labels) == len(Recognizer.load(bundle).push(whole))
    assert {label.devices for label in labels} == {("wrist", "ankle")}


def test_a_device_that_has_not_come_is_told_once_when_it_had_its_time_to(
    bundle: Path, whole: SampleBatch, caplog: pytest.LogCaptureFixture
) -> None:
    longer = np.concatenate([whole.times + 20.0 * turn for turn in range(4)])
    batch = SampleBatch("anna", longer, np.tile(whole.values, (4, 1)))
    parts = {name: part for name, part in parts_of(batch).items() if name != "hip"}
    for late_by_s, told in ((20.0, 0), (1e9, 1)):
        caplog.clear()
        wearers = Wearers(Recognizer.load(bundle), {"anna": ANNA})
        wearers.open(info("wrist"))
        wearers.open(info("ankle"))
        for batch in in_turn(parts):
            if batch.end > longer[0] + late_by_s:
                wearers.open(info("hip"))
            wearers.push_all([batch])
        assert caplog.text.count("'anna' is labelled without hip, of which nothing came") == told


@pytest.mark.parametrize(("missing_s", "restarts"), [(0.02, 0), (0.08, 0), (0.16, 1)])
def test_only_a_long_time_without_any_device_starts_the_stream_afresh(
    bundle: Path, whole: SampleBatch, missing_s: float, restarts: int
) -> None:
    parts = parts_of(whole)
    parts["wrist"] = without(parts["wrist"], 8.01, 8.41)
    for device in ("hip", "ankle"):
        parts[device] = without(parts[device], 8.41 - missing_s, 8.81)
    labels = labels_of(opened(bundle), in_turn(parts))
    steps = np.diff([label.window.end for label in labels])
    assert np.count_nonzero(~np.isclose(steps, 0.5)) == restarts
    assert labels_of(opened(bundle), in_turn(parts, 3)) == labels


def test_what_comes_too_late_is_counted_and_not_joined(bundle: Path, whole: SampleBatch) -> None:
    parts = parts_of(whole)
    late = [(float(p.times[-1]) + 3, p) for p in cut(parts.pop("hip"), [10])]
    others = [(float(p.times[-1]), p) for p in in_turn(parts)]
    batches = [piece for _, piece in sorted(late + others, key=lambda arrival: arrival[0])]
    wearers = opened(bundle)
    labels = labels_of(wearers, batches)
    assert labels[0].devices == ("wrist", "ankle")
    hip = wearers.statistics()[0].devices[1]
    assert hip.samples == len(whole)
    assert hip.late > 0.8 * len(whole)


def test_times_that_come_again_under_a_new_description_are_late(
    bundle: Path, whole: SampleBatch
) -> None:
    parts = parts_of(whole)
    wearers = opened(bundle, ANNA.model_copy(update={"wait_s": 60.0}))
    labels = wearers.push_all([parts["wrist"], parts["hip"].part(0, 500)])
    wearers.open(info("hip"))
    labels += wearers.push_all([parts["hip"].part(400, len(whole)), parts["ankle"]])
    assert labels + wearers.flush() == labels_of(opened(bundle), in_turn(parts))
    hip = wearers.statistics()[0].devices[1]
    assert hip.late == pytest.approx(100, abs=5)


def test_the_fallback_speaks_while_a_device_is_missing(
    bundle: Path, acc_only: Path, whole: SampleBatch
) -> None:
    parts = parts_of(whole)
    parts["hip"] = without(parts["hip"], 8.0, 14.0)
    wearers = opened(bundle, ANNA.model_copy(update={"fallback": acc_only}))
    labels = labels_of(wearers, in_turn(parts))
    start = float(whole.times[0])
    models = [label.model.split("-")[0] for label in labels]
    first, last = models.index("acc"), len(models) - models[::-1].index("acc")
    assert set(models[first:last]) == {"acc"}
    assert set(models[:first] + models[last:]) == {"waist"}
    assert labels[first].window.end == pytest.approx(start + 8.2, abs=0.6)
    assert labels[last].window.start == pytest.approx(start + 13.9, abs=0.6)
    for label in labels[first:last]:
        assert (label.devices, label.observed, label.lost) == (("wrist",), 1.0, 0)
    assert [label.seq for label in labels] == list(range(len(labels)))
    assert wearers.statistics()[0].fallback_labels == last - first


class InTurn(Scripted):
    """Yields batches of several devices, each with its description at that moment."""

    def __init__(self, arrivals: Sequence[tuple[StreamInfo, SampleBatch]]) -> None:
        super().__init__(arrivals[0][0], [])
        self._arrivals = arrivals

    @override
    async def __aiter__(self) -> AsyncIterator[SampleBatch]:
        for described, batch in self._arrivals:
            self._streams[described.device] = described
            yield batch
            await asyncio.sleep(0)


async def test_the_gateway_falls_back_until_a_device_is_described_anew(
    bundle: Path, acc_only: Path, whole: SampleBatch
) -> None:
    parts = parts_of(whole)
    parts["hip"] = without(parts["hip"], 8.0, 14.0)
    back = whole.times[0] + 13
    anew = replace(info("hip"), channels=PARTS["hip"][::-1], units=info("hip").units[::-1])
    arrivals = [
        (anew, replace(batch, values=batch.values[:, ::-1]))
        if batch.device == "hip" and batch.times[0] > back
        else (info(batch.device), batch)
        for batch in in_turn(parts)
    ]
    collector = Collector()
    anna = ANNA.model_copy(update={"fallback": acc_only})
    gateway = Gateway(
        [InTurn(arrivals)], Recognizer.load(bundle), [collector], None, {"anna": anna}
    )
    await gateway.run()
    direct = labels_of(opened(bundle, anna), in_turn(parts))
    told = [parse_label("anna", payload) for payload in collector.payloads]
    # Of a device that is described anew nobody knows what it missed.
    assert [structs.replace(label, lost=0) for label in told] == [
        structs.replace(own, lost=0) for own in direct
    ]
    assert {label.model.split("-")[0] for label in direct} == {"waist", "acc"}
    statistics = gateway.statistics()
    assert statistics.refused == {}
    (wearer,) = statistics.wearers
    assert wearer.fallback_labels > 5
    assert [device.samples for device in wearer.devices] == [len(part) for part in parts.values()]
    assert all(device.late == device.out_of_order == 0 for device in wearer.devices)


def test_a_fallback_of_other_labels_is_refused(tmp_path: Path, bundle: Path) -> None:
    network = ShareNetwork(LabelSet.from_names(("walk",)), 6, SMALL, hidden=20, embedding=8).eval()
    write_bundle(network, manifest_of(network), tmp_path / "other.onnx")
    with pytest.raises(WearerError, match=r"fallback test has labels \['walk'\]; bundle waist"):
        opened(bundle, ANNA.model_copy(update={"fallback": tmp_path / "other.onnx"}))


def test_a_fallback_without_gravity_is_refused() -> None:
    full, less = ShareModel.load("waist").manifest, ShareModel.load("waist-acc").manifest
    with pytest.raises(WearerError, match="waist-acc has gravity False; bundle waist has True"):
        _check_fallback("anna", full, less.model_copy(update={"gravity": False}))


def drifting(
    device: str, seconds: float, drift: float, offset: float, lossy: float
) -> tuple[SampleBatch, int]:
    """Return what a device of its own rate sends of a motion; samples are lost one at a time."""
    rate = RATES[device] * (1 + drift)
    times = EPOCH + offset + np.arange(int(seconds * rate)) / rate
    kept = np.ones(len(times), dtype=np.bool_)
    random = np.random.default_rng(len(device))
    kept[random.choice(np.arange(10, len(times) - 10), int(lossy * len(times)), replace=False)] = (
        False
    )
    columns = [CHANNELS.index(channel) for channel in PARTS[device]]
    values = motion(times[kept])[:, columns].astype(np.float32)
    return SampleBatch(device, times[kept], values), int((~kept).sum())


def motion(times: NDArray[np.float64]) -> NDArray[np.float64]:
    phase = 2 * np.pi * 1.8 * (times - EPOCH)
    return np.stack([9.8 + 3 * np.sin(phase)] + [np.sin(phase + k) for k in range(5)], axis=1)


async def test_three_sensors_of_different_rates_drifts_and_losses(
    bundle: Path, tmp_path: Path
) -> None:
    sent = {
        "wrist": drifting("wrist", 30, 0.0, 0.0, 0.01),
        "hip": drifting("hip", 30, 2e-4, 0.0137, 0.02),
        "ankle": drifting("ankle", 30, -1e-4, 0.0071, 0.0),
    }
    adapters = [
        Scripted(info(dev, RATES[dev]), cut(batch, [round(RATES[dev] / 5)]))
        for dev, (batch, _) in sent.items()
    ]
    path = tmp_path / "three.mcap"
    live = Collector()
    gateway = Gateway(adapters, Recognizer.load(bundle), [live], Recorder(path), {"anna": ANNA})
    await gateway.run()
    (statistics,) = gateway.statistics().wearers
    for device in statistics.devices:
        batch, lost = sent[device.device]
        assert (device.samples, device.lost, device.late) == (len(batch), lost, 0)
    labels = [json.loads(payload) for payload in live.payloads]
    assert len(labels) >= 54
    assert {label["wearer"] for label in labels} == {"anna"}
    assert all(label["devices"] == ["wrist", "hip", "ankle"] for label in labels)
    assert [label["seq"] for label in labels] == list(range(len(labels)))
    truth = SampleBatch("anna", EPOCH + np.arange(1500) / 50, np.zeros((1500, 6), np.float32))
    truth = replace(truth, values=motion(truth.times).astype(np.float32))
    expected = {la.window.end: la for la in Recognizer.load(bundle).push(truth)}
    same = [la["label"] == expected[la["window"]["end"]].label for la in labels]
    assert np.mean(same) > 0.95

    replayed = Collector()
    adapter = ReplayAdapter(ReplayOptions(file=path, speed="max"))
    again = Gateway([adapter], Recognizer.load(bundle), [replayed], None, {"anna": ANNA})
    await again.run()
    assert replayed.payloads == live.payloads


async def test_lone_devices_go_on_beside_a_wearer_but_not_under_its_name(
    bundle: Path, whole: SampleBatch, caplog: pytest.LogCaptureFixture
) -> None:
    kind = StreamInfo("ben", CHANNELS, UNITS, 50.0, "test", "counter")
    ben = Scripted(kind, cut(replace(whole, device="ben"), [10]))
    clash = Scripted(replace(kind, device="anna"), cut(whole, [10]))
    parts = [Scripted(info(dev), cut(part, [10])) for dev, part in parts_of(whole).items()]
    collector = Collector()
    gateway = Gateway(
        [ben, clash, *parts], Recognizer.load(bundle), [collector], None, {"anna": ANNA}
    )
    with caplog.at_level(logging.ERROR):
        await gateway.run()
    wearers = [json.loads(payload)["wearer"] for payload in collector.payloads]
    assert wearers.count("anna") == wearers.count("ben") > 30
    assert list(gateway.statistics().refused) == ["anna"]
    assert "rename either" in caplog.text


async def test_a_refused_device_of_a_wearers_name_ends_neither_stream_nor_segment(
    bundle: Path, whole: SampleBatch
) -> None:
    kind = StreamInfo("anna", CHANNELS, UNITS, 50.0, "test", "counter")
    parts = [(info(batch.device), batch) for batch in in_turn(parts_of(whole))]
    collectors = [Collector(), Collector()]
    middle = len(parts) // 2
    clash = [*parts[:middle], (kind, cut(whole, [10])[0]), *parts[middle:]]
    for collector, arrivals in zip(collectors, [parts, clash], strict=True):
        recognizer = Recognizer.load(bundle)
        gateway = Gateway([InTurn(arrivals)], recognizer, [collector], None, {"anna": ANNA})
        await gateway.run()
        assert recognizer.statistics().streams == 1
    undisturbed, disturbed = collectors
    assert disturbed.payloads == undisturbed.payloads
    assert disturbed.segments == undisturbed.segments


@pytest.mark.parametrize(
    ("channels", "told"),
    [
        ({"acc_w": "x/acc"}, "'acc_w'.*did you mean 'acc_.'.*It needs acc_x"),
        ({"acc_x": "x/acc"}, "nothing is mapped to acc_y, acc_z, gyro_x.*needs acc_x, acc_y"),
    ],
)
def test_a_mapping_that_is_not_the_bundles_is_told(
    bundle: Path, channels: dict[str, str], told: str
) -> None:
    with pytest.raises(WearerError, match=told):
        Wearers(Recognizer.load(bundle), {"anna": WearerConfig(channels=channels)})


def test_a_device_that_is_not_what_was_mapped_is_told(bundle: Path) -> None:
    wearers = opened(bundle)
    with pytest.raises(StreamMismatchError, match=r"'hip'.*channels a, b, needed gyro_x, gyro_y"):
        wearers.open(replace(info("hip"), channels=("a", "b")))
    with pytest.raises(StreamMismatchError, match="gyro_x is in m/s2, needed rad/s"):
        wearers.open(replace(info("hip"), units=("m/s2", "m/s2")))
    with pytest.raises(StreamMismatchError, match="3 channels"):
        wearers.push_all([SampleBatch("hip", np.zeros(1), np.zeros((1, 3), np.float32))])


@pytest.mark.parametrize(
    ("changed", "key", "told"),
    [
        (("synthetic-2/gyro_z", "gyro_z"), "wearers.anna.channels", "expected 'device/channel'"),
        (("synthetic-2/gyro_z", "synthetic-2/gyro_y"), "wearers.anna.channels", "is both"),
        (("wait_s = 1.0", "wait_s = -1"), "wearers.anna.wait_s", "-1"),
        (("wait_s = 1.0", "waits = 1"), "wearers.anna.waits", "did you mean 'wait_s'?"),
        (("[[", '[wearers.b.channels]\nacc_x = "synthetic-2/a"\n[['), "wearers", "one wearer"),
    ],
)
def test_a_fault_in_the_file_is_told(
    tmp_path: Path, changed: tuple[str, str], key: str, told: str
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG.read_text().replace(*changed))
    with pytest.raises(ConfigError) as caught:
        read_gateway_config(path)
    assert caught.value.key == key
    assert told in str(caught.value)


async def test_the_configuration_that_comes_along_joins_two_devices(
    bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(f"{CONFIG.read_text()}seconds = 3.5\n")
    config, adapters = read_gateway_config(path)
    collector = Collector()
    await Gateway(adapters, Recognizer.load(bundle), [collector], None, config.wearers).run()
    labels = [json.loads(payload) for payload in collector.payloads]
    assert labels
    assert {label["wearer"] for label in labels} == {"anna"}
    assert {tuple(label["devices"]) for label in labels} == {("synthetic-1", "synthetic-2")}
