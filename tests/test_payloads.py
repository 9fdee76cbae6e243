"""Payload formats: known vectors, the documentation's examples, round trips, and garbage."""

import re
import tomllib
import tracemalloc
from pathlib import Path
from typing import Any

import cbor2
import msgpack
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import EPOCH
from device_adapters.errors import PayloadError
from device_adapters.mqtt.payloads import Packet, PayloadFormat, payload_names
from device_adapters.mqtt.payloads.numbers import numbers
from device_adapters.mqtt.payloads.raw import HEADER
from mqtt_wearables import BATCH, counted_packet, make_format

PAGE = (Path(__file__).parent.parent / "docs" / "payloads.md").read_text()
LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {},
    "times": {"rate": "", "time_unit": "ms"},
    "columns": {"channels": ["ax", "ay", "az", "gx", "gy", "gz"], "counts": "messages"},
    "nested": {
        "channels": ["imu.acc.0", "imu.acc.1", "imu.acc.2", "imu.w.x", "imu.w.y", "imu.w.z"],
        "time": "imu.us",
        "time_unit": "us",
        "rate_hz": 50,
        "device": "from",
    },
    "objects": {
        "samples": "samples",
        "channels": ["acc.x", "acc.y", "acc.z", "gyro.x", "gyro.y", "gyro.z"],
        "counter": "",
        "rate": "",
    },
}
DOCUMENTS = {"json": orjson.dumps, "cbor": cbor2.dumps, "messagepack": msgpack.packb}


def example(heading: str, language: str) -> str:
    """Return the first block of the documentation under a heading."""
    section = PAGE[PAGE.index(f"\n## {heading}") :]
    found = re.search(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found.group(1)


def stream(payloads: PayloadFormat, packet: Packet) -> np.ndarray[Any, Any]:
    """Return the channels of a packet whose sensors are aligned."""
    return payloads.merge(packet.values) if payloads.sensors else packet.values


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_of_every_layout_come_back(name: str, layout: str) -> None:
    payloads = make_format(name, **LAYOUTS[layout])
    sent = counted_packet(3, payloads)
    got = payloads.decode(payloads.encode(sent))
    np.testing.assert_array_equal(got.values, sent.values)
    np.testing.assert_allclose(got.times, sent.times, atol=1e-6)
    assert got.counter == sent.counter
    assert got.period_s == pytest.approx(sent.period_s)
    assert got.device == ("w1" if layout == "nested" else None)


@pytest.mark.parametrize("name", payload_names())
def test_what_is_encoded_comes_back(name: str) -> None:
    payloads = make_format(name)
    sent = counted_packet(2, payloads)
    got = payloads.decode(payloads.encode(sent))
    np.testing.assert_allclose(stream(payloads, got), sent.values, rtol=1e-6)
    start = sent.times[0] % payloads.clock_turn_s
    np.testing.assert_allclose(got.times, start + np.arange(BATCH) * 0.02, atol=1e-6)
    assert got.counter == sent.counter


def test_the_documents_raw_bytes_are_what_it_says() -> None:
    payload = bytes.fromhex(
        "".join(re.findall(r"^((?:[0-9a-f]{2} )+)", example("raw", "text"), re.MULTILINE))
    )
    packet = make_format("raw").decode(payload)
    assert packet.counter == 1500
    np.testing.assert_allclose(packet.times, [12.5, 12.52])
    assert packet.values.tolist() == [
        [9.75, 0.5, -0.25, 0.125, 0.0, -1.0],
        [9.5, 0.75, -0.5, 0.25, 0.5, -1.5],
    ]


@pytest.mark.parametrize("name", ["json", "senml_json", "sensor_logger"])
def test_the_documents_examples_are_read(name: str) -> None:
    payloads = make_format(name)
    packet = payloads.decode(example(name, "json").encode())
    assert stream(payloads, packet).shape == (2, 6)
    assert packet.period_s == pytest.approx(0.02)


def test_the_documents_own_layout_is_read() -> None:
    section = PAGE[PAGE.index("\n### Your own keys") :]
    toml, document = re.findall(r"^```(?:toml|json)\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[
        :2
    ]
    (adapter,) = tomllib.loads(toml)["adapters"]
    packet = make_format(adapter["payload"], **adapter["payload_options"]).decode(document.encode())
    assert packet.values.shape == (2, 6)
    assert packet.counter == 17


def test_rfc_8428_records_are_resolved() -> None:
    # The multiple-measurements example of RFC 8428, 5.1.3: base values, relative times.
    pack = [
        {"bn": "urn:dev:ow:10e2073a01080063:", "bt": 1.320067464e9, "bu": "m/s2", "bver": 5}
        | {"n": "acc_x", "v": 120.1},
        {"n": "acc_y", "v": 1.2},
        {"n": "acc_x", "t": -5, "v": 120.2},
        {"n": "acc_y", "t": -5, "v": 1.25},
        {"n": "battery", "u": "%EL", "v": 80},
    ]
    payloads = make_format("senml_json", names=["acc_x", "acc_y"])
    packet = payloads.decode(orjson.dumps(pack))
    np.testing.assert_allclose(packet.times, [1.320067459e9, 1.320067464e9])
    np.testing.assert_allclose(packet.values, [[120.2, 1.25], [120.1, 1.2]], rtol=1e-6)


def test_senml_labels_are_numbers_in_cbor() -> None:
    pack = [{-2: "urn:dev:x/", -3: EPOCH, 0: "a", 1: "m/s2", 2: 1}, {0: "a", 6: 0.02, 2: 2.5}]
    packet = make_format("senml_cbor", names=["a"]).decode(cbor2.dumps(pack))
    assert packet.values.tolist() == [[1.0], [2.5]]


def phone(*records: tuple[str, int, float], message: int = 0) -> bytes:
    """Return a message of Sensor Logger whose vectors are (value, 0, 0)."""
    return orjson.dumps(
        {
            "messageId": message,
            "sessionId": "s",
            "deviceId": "phone",
            "payload": [
                {"name": name, "time": time, "values": {"x": value, "y": 0, "z": 0}, "accuracy": 3}
                for name, time, value in records
            ],
        }
    )


def test_sensors_of_a_phone_are_told_apart() -> None:
    payloads = make_format("sensor_logger", rate_hz=50)
    packet = payloads.decode(
        phone(("Gyroscope", 2_000, 5.0), ("accelerometer", 1_000, 1.0), ("location", 9, 0.0))
    )
    assert packet.device == "phone"
    np.testing.assert_allclose(packet.times, [9e-9, 1e-6, 2e-6])
    assert packet.values[1, 0] == 1.0
    assert packet.values[2, 3] == 5.0
    assert np.isnan(packet.values).sum() == 9 + 6 + 6


TOO_MANY = [[0.0] * 6] * 10_001
GOOD = {"t": 1.0, "seq": 1, "rate": 50, "values": [[1, 2, 3, 4, 5, 6]]}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "it has no values"),
        ({**GOOD, "values": []}, "list of equally long lists"),
        ({**GOOD, "values": [[1, 2], [3]]}, "list of equally long lists of numbers"),
        ({**GOOD, "values": [[1, True]]}, "list of equally long lists of numbers"),
        ({**GOOD, "values": [["1", "2"]]}, "list of equally long lists of numbers"),
        ({**GOOD, "values": [[None, 2]]}, "list of equally long lists of numbers"),
        ({**GOOD, "values": TOO_MANY}, "10001 samples"),
        ({**GOOD, "values": [[1e300]]}, "float32"),
        ({**GOOD, "t": "noon"}, "'noon'; it must be a finite number"),
        ({**GOOD, "t": True}, "True"),
        ({**GOOD, "t": 1e15}, "is its unit right"),
        ({**GOOD, "t": [1, 2]}, "1 samples but 2 times"),
        ({**GOOD, "t": [2, 1], "values": [[1], [2]]}, "do not increase"),
        ({**GOOD, "t": [1, 1.02, 2e9], "values": [[1], [2], [3]]}, "times leap by 2e\\+09 s"),
        ({**GOOD, "t": [1, 2, 3], "values": [[1], [2], [3]]}, "times are 1 s apart, its rate is"),
        ({**GOOD, "rate": 0}, "0.01 Hz is least"),
        ({**GOOD, "rate": 5e-324}, "0.01 Hz is least"),
        ({**GOOD, "rate": 1e9}, "apart"),
        ({**GOOD, "seq": -1}, "whole number"),
        ({**GOOD, "seq": 1.5}, "whole number"),
    ],
)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_wrong_documents_are_refused_with_the_reason(
    name: str, document: object, told: str
) -> None:
    with pytest.raises(PayloadError, match=told):
        make_format(name).decode(DOCUMENTS[name](document))


def test_texts_in_place_of_numbers_take_no_more_memory_than_they_are_long() -> None:
    texts = ["a" * 130_000, *[""] * 40_000]
    tracemalloc.start()
    with pytest.raises(PayloadError, match="list of equally long lists of numbers"):
        make_format("json").decode(orjson.dumps({**GOOD, "values": [texts]}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 2**20


@pytest.mark.parametrize("key", ["seq", "t", "rate", "values"])
def test_what_is_nested_too_deep_to_be_shown_is_refused(key: str) -> None:
    payload = b'{"t": 1, "seq": 1, "rate": 50, "values": [[1]], "%s": %s1%s}'
    nested = payload % (key.encode(), b"[" * 1000, b"]" * 1000)
    with pytest.raises(PayloadError, match=f"{key}|counter"):
        make_format("json").decode(nested)


def test_a_list_of_integers_beyond_float64_is_refused() -> None:
    with pytest.raises(PayloadError, match="values holds a number that float64 does not"):
        numbers("json", "values", [10**400], 1)


@pytest.mark.parametrize(
    ("channels", "samples", "period_ns", "told"),
    [
        (6, 10, 1, "1e-09 s apart"),
        (6, 10, 0, "0 s apart"),
        (6, 0, 20_000_000, "0 samples"),
        (1, 10_001, 20_000_000, "10001 samples"),
        (0, 10, 20_000_000, "0 channels"),
    ],
)
def test_wrong_raw_headers_are_refused_with_the_reason(
    channels: int, samples: int, period_ns: int, told: str
) -> None:
    header = HEADER.pack(1, channels, samples, 0, 0, period_ns)
    with pytest.raises(PayloadError, match=told):
        make_format("raw").decode(header + bytes(4 * channels * samples))


def test_senmls_tesla_becomes_microtesla() -> None:
    pack = [{"n": "mag_x", "u": "T", "v": 48e-6, "bt": EPOCH}]
    packet = make_format("senml_json", names=["mag_x"], rate_hz=50).decode(orjson.dumps(pack))
    assert packet.values.item() == pytest.approx(48)


def test_senmls_channels_keep_to_one_unit() -> None:
    first = {"n": "acc_x", "u": "m/s2", "v": 1.0, "bt": EPOCH}
    pack = [first, {"n": "acc_x", "u": "rad/s", "v": 1.0, "t": 0.02}]
    payloads = make_format("senml_json", names=["acc_x"], rate_hz=50)
    with pytest.raises(PayloadError, match="it tells acc_x in m/s2 and in rad/s"):
        payloads.decode(orjson.dumps(pack))


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"u": "g"}, "unit 'g'; known are m/s2, rad/s, T"),
        ({"u": ["T"]}, "known are m/s2"),
        ({"t": 5, "bt": 0}, "relative to now"),
        ({"bver": 11}, "version 11"),
        ({"x_": 1}, "'x_'"),
        ({"n": "acc_y"}, "no record is of acc_x"),
        ({"v": None}, "must be a finite number"),
        ({"bn": 7}, "a name is 7"),
    ],
)
def test_wrong_senml_is_refused_with_the_reason(record: dict[str, Any], told: str) -> None:
    pack = [{"n": "acc_x", "v": 1.0, "bt": EPOCH} | record]
    payloads = make_format("senml_json", names=["acc_x"], rate_hz=50)
    with pytest.raises(PayloadError, match=told):
        payloads.decode(orjson.dumps(pack))


@pytest.mark.parametrize(
    "payload",
    [
        cbor2.dumps(cbor2.CBORTag(2, b"\xff" * 1000)),
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x81" * 100_000,
        b"\x9f" * 100_000,
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xd8\x1d\x00",
    ],
)
def test_cbor_that_asks_for_too_much_is_refused(payload: bytes) -> None:
    for name in ("cbor", "senml_cbor"):
        with pytest.raises(PayloadError):
            make_format(name).decode(payload)


@pytest.mark.parametrize(
    "payload",
    [b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000, b"\xdf\x7f\xff\xff\xff", b"\xc7\x01\x01a"],
)
def test_messagepack_that_asks_for_too_much_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        make_format("messagepack").decode(payload)


@pytest.mark.parametrize("name", payload_names())
@settings(max_examples=60)
@given(data=st.data())
def test_garbage_raises_nothing_but_its_own_error(name: str, data: st.DataObject) -> None:
    payloads = make_format(name)
    good = payloads.encode(counted_packet(0, payloads))
    start, stop = sorted(
        (data.draw(st.integers(0, len(good))), data.draw(st.integers(0, len(good))))
    )
    payload = good[:start] + data.draw(st.binary(max_size=40)) + good[stop:]
    try:
        packet = payloads.decode(payload)
    except PayloadError:
        return
    assert len(packet.times) == len(packet.values) > 0
    assert np.isfinite(packet.times).all()


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["t", "seq", "rate", "values", "payload", "name", "n", "v", "bt", "bn"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("name", sorted(set(payload_names()) - {"raw"}))
@settings(max_examples=60)
@given(document=JSON_VALUES)
def test_any_other_document_raises_nothing_but_its_own_error(name: str, document: object) -> None:
    dump = {"cbor": cbor2.dumps, "senml_cbor": cbor2.dumps, "messagepack": msgpack.packb}
    try:
        payload = dump.get(name, orjson.dumps)(document)
    except (TypeError, OverflowError):
        return
    with pytest.raises(PayloadError):
        make_format(name).decode(payload)
