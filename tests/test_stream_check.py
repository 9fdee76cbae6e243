"""Genuine samples pass; the same in another unit, without gravity or at another rate do not."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from conftest import CHANNELS, EPOCH, UNITS, cut, stream_info, worn_samples
from device_adapters.samples import ACCELERATION, STANDARD_GRAVITY, SampleBatch, StreamInfo
from device_adapters.session_file import SessionReader
from streamer.stream_check import Finding, Severity, StreamCheck

Change = Callable[[NDArray[np.float32]], NDArray[np.float32]]
STRETCH = 250


def scaled(channels: slice, factor: float) -> Change:
    def change(values: NDArray[np.float32]) -> NDArray[np.float32]:
        changed = values.copy()
        changed[:, channels] *= np.float32(factor)
        return changed

    return change


def without_gravity(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a phone's linear acceleration is: gravity is what is below 0.3 Hz."""
    gravity = signal.sosfiltfilt(
        signal.butter(3, 0.3, fs=50, output="sos"), values[:, :3].astype(np.float64), axis=0
    )
    changed = values.copy()
    changed[:, :3] -= gravity.astype(np.float32)
    return changed


def stuck(channels: slice) -> Change:
    def change(values: NDArray[np.float32]) -> NDArray[np.float32]:
        changed = values.copy()
        changed[:, channels] = 0.25
        return changed

    return change


def clipped(values: NDArray[np.float32]) -> NDArray[np.float32]:
    changed = values.copy()
    changed[:, 0] = np.clip(2.5 * changed[:, 0], -2 * STANDARD_GRAVITY, 2 * STANDARD_GRAVITY)
    return changed


def findings(
    values: NDArray[np.float32], info: StreamInfo | None = None, rate_hz: float = 50.0
) -> tuple[Finding, ...]:
    info = info or stream_info()
    check = StreamCheck(info, info.channels, gravity=True)
    check.push(SampleBatch("wrist", EPOCH + np.arange(len(values)) / rate_hz, values))
    assert check.findings is not None
    return check.findings


@pytest.fixture(scope="module")
def recorded(real_session: Path) -> NDArray[np.float32]:
    batches = [event for event in SessionReader(real_session) if isinstance(event, SampleBatch)]
    return np.concatenate([batch.values for batch in batches])


def stretches(values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [values[begin : begin + STRETCH] for begin in range(0, len(values) - STRETCH, STRETCH)]


def test_nothing_is_found_in_genuine_samples(recorded: NDArray[np.float32]) -> None:
    assert len(stretches(recorded)) > 60
    assert [findings(stretch) for stretch in stretches(recorded) if findings(stretch)] == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (scaled(slice(3), 1 / STANDARD_GRAVITY), "acc looks like g, not m/s2"),
        (scaled(slice(3), 1000 / STANDARD_GRAVITY), "acc looks like mg, not m/s2"),
        (scaled(slice(3), 8192 / STANDARD_GRAVITY), "raw counts"),
        (scaled(slice(3), 0.0), "acc reads zero all the time"),
        (without_gravity, "gravity was taken out"),
    ],
)
def test_another_unit_is_refused_whatever_the_wearer_does(
    recorded: NDArray[np.float32], change: Change, told: str
) -> None:
    found = [findings(stretch) for stretch in stretches(change(recorded))]
    assert all(f and f[0].severity is Severity.REFUSE for f in found)
    assert np.mean([told in f[0].text for f in found]) > 0.97


def test_degrees_are_refused_once_the_wearer_moves(recorded: NDArray[np.float32]) -> None:
    moving = [
        s for s in stretches(recorded) if np.percentile(np.linalg.norm(s[:, 3:], axis=1), 85) > 0.5
    ]
    assert len(moving) > 20
    for stretch in moving:
        (finding,) = findings(scaled(slice(3, 6), 180 / np.pi)(stretch))
        assert finding.severity is Severity.REFUSE
        assert "gyro looks like deg/s, not rad/s" in finding.text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (stuck(slice(5, 6)), "gyro_z never changes"),
        (stuck(slice(3, 6)), "gyro_x, gyro_y, gyro_z never change;"),
        (clipped, "acc_x stops at 19.6 m/s2"),
    ],
)
def test_a_sensor_that_is_not_well_is_warned_about(change: Change, told: str) -> None:
    (finding,) = findings(change(worn_samples(STRETCH).values))
    assert finding.severity is Severity.WARN
    assert told in finding.text


@pytest.mark.parametrize("jitter_s", [0.0, 0.008])
def test_another_rate_is_warned_about(jitter_s: float) -> None:
    batch = worn_samples(500)
    times = batch.times + np.tile([0, 0, jitter_s, jitter_s], 125)
    times[300:] += 1.0  # a gap is no rate
    for nominal, told in ((100.0, ["sent as 100 Hz, comes at "]), (50.0, []), (47.0, [])):
        check = StreamCheck(stream_info(rate_hz=nominal), CHANNELS, gravity=True)
        check.push(SampleBatch("wrist", times, batch.values))
        assert [re.split(r"49|50", f.text)[0] for f in check.findings or ()] == told
        assert all(f.severity is Severity.WARN for f in check.findings or ())


def judged(messages: Iterable[SampleBatch], rate_hz: float) -> tuple[Finding, ...] | None:
    """Return what is found in the messages that a check takes, sent as such a rate."""
    check = StreamCheck(stream_info(rate_hz=rate_hz), CHANNELS, gravity=True)
    for message in messages:
        check.push(message)
        if check.findings is not None:
            break
    return check.findings


@pytest.mark.parametrize("sent_as", [25.0, 50.0, 100.0])
@pytest.mark.parametrize("samples", [10, 25, 50])
def test_another_rate_is_warned_about_where_messages_tell_one_time(
    sent_as: float, samples: int
) -> None:
    values = worn_samples(1000).values
    laid_out = [
        SampleBatch(
            "wrist",
            EPOCH + begin / 50.0 + np.arange(samples) / sent_as,
            values[begin : begin + samples],
        )
        for begin in range(0, 1000, samples)
    ]
    del laid_out[3::5]  # without a counter nothing tells that they were lost
    found = judged(laid_out, sent_as)
    assert found is not None
    if sent_as == 50.0:
        assert found == ()
    else:
        (finding,) = found
        assert f"sent as {sent_as:g} Hz, comes at " in finding.told
        assert float(finding.told.split()[-2]) == pytest.approx(50.0, rel=0.1)


def test_two_devices_that_send_under_one_name_are_warned_about() -> None:
    values = worn_samples(600).values
    both = [
        SampleBatch("wrist", EPOCH + second + late + np.arange(50) / 50.0, values[begin:][:50])
        for second, begin in enumerate(range(0, 600, 50))
        for late in (0.0, 0.3)
    ]
    (finding,) = judged(both, 50.0) or ()
    assert "sent as 50 Hz, comes at 100.0 Hz" in finding.told
    assert "another device sends under its name" in finding.remedy


def test_times_that_stand_still_are_warned_about() -> None:
    check = StreamCheck(stream_info(), CHANNELS, gravity=True)
    check.push(SampleBatch("wrist", np.full(STRETCH, EPOCH), worn_samples(STRETCH).values))
    (finding,) = check.findings or ()
    assert "stand still" in finding.text


def test_a_fall_and_numbers_that_are_none_are_passed_over() -> None:
    values = worn_samples(STRETCH).values
    values[50:80, :3] *= np.float32(0.02)
    values[100, :] = np.nan
    values[101, 0] = np.inf
    values[102, 1] = 3e38
    assert findings(values) == ()


def test_samples_without_numbers_are_warned_about() -> None:
    (finding,) = findings(np.full((STRETCH, 6), np.nan, np.float32))
    assert finding.severity is Severity.WARN
    assert "has a number below 1e+06 for each of acc_x, acc_y" in finding.text


def test_channels_that_are_not_read_may_hold_anything() -> None:
    values = worn_samples(STRETCH).values
    values[:, 3:] = np.nan
    check = StreamCheck(stream_info(), CHANNELS[:3], gravity=True)
    check.push(SampleBatch("wrist", EPOCH + np.arange(STRETCH) / 50, values))
    assert check.findings == ()


def test_every_accelerometer_is_judged_by_its_own_name() -> None:
    sound = worn_samples(STRETCH).values[:, :3]
    channels = tuple(f"{place}_acc_{axis}" for place in ("chest", "ankle") for axis in "xyz")
    info = StreamInfo("wrist", channels, (ACCELERATION,) * 6, 50.0, "test", "device")
    (finding,) = findings(np.hstack([sound, sound / np.float32(STANDARD_GRAVITY)]), info)
    assert finding.text.startswith("ankle_acc looks like g")
    assert findings(np.hstack([sound, sound]), info) == ()


@pytest.mark.parametrize(("strength", "told"), [(48.0, []), (400.0, ["mag_z stops at 400.0 uT"])])
def test_a_magnetometer_is_not_taken_for_an_accelerometer(strength: float, told: list[str]) -> None:
    channels = (*CHANNELS, "mag_x", "mag_y", "mag_z")
    info = StreamInfo("wrist", channels, (*UNITS, *["uT"] * 3), 50.0, "test", "device")
    field = np.random.default_rng(0).normal((0, 15, strength), 5, (STRETCH, 3)).clip(-400, 400)
    values = np.hstack([worn_samples(STRETCH).values, field.astype(np.float32)])
    found = [finding.told for finding in findings(values, info)]
    assert [text[: text.index(" in ")] for text in found] == told


def test_an_accelerometer_alone_is_judged() -> None:
    info = StreamInfo("wrist", CHANNELS[:3], UNITS[:3], 50.0, "test", "device")
    sound = worn_samples(STRETCH).values[:, :3]
    assert findings(sound, info) == ()
    assert len(findings(sound / np.float32(STANDARD_GRAVITY), info)) == 1


def test_a_model_without_gravity_is_told_nothing_of_units() -> None:
    check = StreamCheck(stream_info(), CHANNELS, gravity=False)
    check.push(worn_samples(STRETCH))
    assert check.findings == ()


def test_the_verdict_depends_on_the_first_samples_however_they_are_cut() -> None:
    sound = worn_samples(STRETCH)
    wrong = SampleBatch("wrist", sound.times + 5, np.full_like(sound.values, 1e6))
    for size in (1, 7, 250, 400):
        check = StreamCheck(stream_info(), CHANNELS, gravity=True)
        used = 0
        both = SampleBatch(
            "wrist",
            np.concatenate([sound.times, wrong.times]),
            np.concatenate([sound.values, wrong.values]),
        )
        for batch in cut(both, [size]):
            if check.findings is None:
                used += check.push(batch)
        assert (used, check.findings) == (STRETCH, ())
