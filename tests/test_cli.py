"""The command line as a user meets it."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import streamer
from conftest import EPOCH, counted_samples, cut, free_port, stream_info, wait_for_listener
from device_adapters.adapter import AdapterStatistics
from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.session_file import (
    EmittedLabel,
    SessionReader,
    SessionWriter,
    read_annotations,
)
from streamer import __version__
from streamer.cli import _account, _report
from streamer.gateway import GatewayStatistics
from streamer.messages import parse_label
from streamer.publishers import PublisherStatistics
from streamer.recognizer import RecognizerStatistics
from streamer.wearers import JoinedDeviceStatistics, WearerStatistics


def output(*arguments: str | Path) -> str:
    """Return what a command prints that succeeds."""
    done = streamer(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(*arguments: str | Path) -> str:
    """Return the one line that tells what is wrong."""
    done = streamer(*arguments)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_the_version() -> None:
    command = [sys.executable, "-m", "streamer", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout == f"{__version__}\n"


def test_bundles_lists_what_is_packaged() -> None:
    rows = [line.split("│") for line in output("bundles").splitlines() if "│" in line]
    cells = {row[1].strip(): [cell.strip() for cell in row[2:-1]] for row in rows}
    assert set(cells) == {"waist", "waist-acc", "wrist", "wrist-acc"}
    assert cells["waist"][:4] == ["waist", "50 Hz", "acc, gyro", "12"]
    assert cells["wrist-acc"][:4] == ["wrist", "20 Hz", "acc", "18"]


def test_a_packaged_bundle_is_known_by_its_name(real_session: Path) -> None:
    assert "20 Hz" in output("inspect", "wrist")
    lines = output("replay", real_session, "--bundle", "waist-acc", "--json").splitlines()
    assert parse_label("replay", lines[0].encode()).model.startswith("waist-acc-")
    assert "packaged bundles are waist, waist-acc, wrist, wrist-acc" in told("inspect", "waste")


def test_inspect_shows_the_packaged_bundle() -> None:
    shown = output("inspect")
    for fact in (
        "acc_x [m/s2]",
        "50 Hz",
        "128 samples (2.56 s)",
        "CC BY 4.0",
        "with gravity",
        "macro-F1",
    ):
        assert fact in shown
    assert "├── walk ●" in shown
    assert "│   ├── up" in shown


def test_replay_prints_a_line_for_each_label(real_session: Path) -> None:
    lines = output("replay", real_session).splitlines()
    messages = output("replay", real_session, "--json", "--batch", "7").splitlines()
    assert len(lines) == len(messages) > 600
    for line, message in zip(lines, messages, strict=True):
        label = parse_label("replay", message.encode())
        assert label.label in line
        assert label.wearer in line


def test_replay_of_a_cut_session_says_so(real_session: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mcap"
    path.write_bytes(real_session.read_bytes()[:400_000])
    done = streamer("replay", path)
    assert len(done.stdout.splitlines()) > 100
    assert "WARNING: session" in done.stderr
    assert "400000" in done.stderr


@settings(max_examples=8)
@given(data=st.data())
def test_a_session_cut_anywhere_is_no_traceback(
    worn_session: Path, tmp_path: Path, data: st.DataObject
) -> None:
    whole = worn_session.read_bytes()
    path = tmp_path / "cut.mcap"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    done = streamer("replay", path)
    said = done.stderr.splitlines()
    assert len(said) == 1
    assert said[0].startswith("WARNING: session" if done.returncode == 0 else "error: session")


def test_what_is_wrong_is_told_in_a_line(tmp_path: Path, real_session: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('nmae = "x"\n[[adapters]]\ntype = "synthetic"\n')
    assert "did you mean 'name'?" in told("run", "-c", config)
    assert "No such file" in told("run", "-c", tmp_path / "none.toml")
    assert "No such file" in told("replay", tmp_path / "none.mcap")
    assert "no device 'nobody'" in told("replay", real_session, "--device", "nobody")
    assert "No such file" in told("replay", real_session, "--bundle", tmp_path / "none.onnx")
    assert "no ONNX model" in told("inspect", config)
    assert "expected mqtt://" in told("watch", "http://x")
    assert "expected mqtt://" in told("replay", real_session, "--mqtt", "x")
    assert "holds no acc_exp" in told(
        "import", "hapt", "--data", tmp_path, "--out", tmp_path / "out"
    )
    assert "can't be read" in told("train", tmp_path / "none.toml")
    assert "not a finished run" in told("compile", tmp_path)
    assert "No such file" in told("demo", "--speed", "100", "--json", tmp_path / "none" / "f.json")
    assert "File exists" in told("import", "hapt", "--data", tmp_path, "--out", config)


def test_nonsense_options_are_refused(real_session: Path) -> None:
    nonsense = [("--speed", "fast"), ("--speed", "-1"), ("--batch", "0")]
    for options in nonsense + [("--hop", hop) for hop in ("0", "inf", "1e9", "nan")]:
        assert streamer("replay", real_session, *options).returncode == 2


def test_a_session_that_the_bundle_cannot_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slow.mcap"
    with SessionWriter(path) as writer:
        writer.add_stream(stream_info(rate_hz=20.0))
        writer.add_batch(counted_samples(100, rate_hz=20.0))
    assert "20 Hz, needed at least 45 Hz" in told("replay", path)


def test_record_and_replay_agree(tmp_path: Path) -> None:
    config, session = tmp_path / "gateway.toml", tmp_path / "live.mcap"
    config.write_text(
        f'[mqtt]\nlisten = "127.0.0.1:{free_port()}"\n'
        '[[adapters]]\ntype = "synthetic"\nseconds = 3.5\n'
    )
    assert streamer("record", session, "-c", config).returncode == 0
    recorded = [
        event.payload.decode()
        for event in SessionReader(session)
        if isinstance(event, EmittedLabel)
    ]
    assert recorded
    assert output("replay", session, "--json").splitlines() == recorded


def test_a_replay_that_did_not_reach_its_broker_failed(worn_session: Path) -> None:
    away = f"mqtt://127.0.0.1:{free_port()}"
    done = streamer("replay", worn_session, "--mqtt", away)
    assert done.returncode == 1
    assert done.stdout.splitlines()
    assert re.search(r"WARNING: broker .*: [1-9]\d* messages undelivered", done.stderr)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_gateway_stops_tidily_whatever_its_clients_do(
    tmp_path: Path, stop: signal.Signals
) -> None:
    config, port = tmp_path / "gateway.toml", free_port()
    config.write_text(f'[mqtt]\nlisten = "127.0.0.1:{port}"\n[[adapters]]\ntype = "synthetic"\n')
    gateway = subprocess.Popen(
        [sys.executable, "-m", "streamer", "run", "-c", config],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_listener(port)
    with (
        socket.create_connection(("127.0.0.1", port)),
        socket.create_connection(("127.0.0.1", port)) as garbage,
    ):
        garbage.sendall(bytes(range(256)) * 4)
        time.sleep(1)
        gateway.send_signal(stop)
        account, said = gateway.communicate(timeout=20)
    assert (gateway.returncode, said) == (0, "")
    assert "0 dropped, 0 rejected" in account


def test_the_account_leaves_nothing_out() -> None:
    device = JoinedDeviceStatistics("watch", 90, 4, out_of_order=1, impossible=2, late=0, missing=0)
    counts = GatewayStatistics(
        adapters=(AdapterStatistics(samples=200, lost=9, dropped=3, rejected=5),),
        waiting=0,
        recognizer=RecognizerStatistics(1, 100, 11, lost=2, out_of_order=10, impossible=20),
        wearers=(WearerStatistics("anna", (device,), fallback_labels=0),),
        publishers=(PublisherStatistics(published=8, dropped=1, queued=2, capacity=9),),
        devices=2,
        refused={},
        turned_away=10,
    )
    assert _account(counts) == (
        "190 samples of 2 wearables (9 lost, 3 dropped, 33 rejected, 10 turned away), "
        "5 messages rejected, 11 labels, 3 messages undelivered"
    )


def test_import_hapt_makes_sessions(tmp_path: Path) -> None:
    raw = tmp_path / "HAPT" / "RawData"
    raw.mkdir(parents=True)
    rows = "".join(f"{n / 100} 0 1\n" for n in range(500))
    (raw / "acc_exp07_user03.txt").write_text(rows)
    (raw / "gyro_exp07_user03.txt").write_text(rows)
    (raw / "labels.txt").write_text("7 3 5 101 200\n7 3 12 201 300\n8 3 1 1 10\n")
    out = tmp_path / "sessions"
    said = output("import", "hapt", "--data", tmp_path / "HAPT", "--out", out)
    assert "1 people, 1 recordings, 500 samples (300 without a label), 2 labels" in said
    session = tmp_path / "sessions" / "hapt_exp07_user03.mcap"
    stand, rise = read_annotations(session)
    start = 946_684_800 + 7 * 3600
    assert (stand.wearer, stand.label) == ("user03", "stand")
    assert [stand.start - start, stand.end - start] == pytest.approx([2.0, 4.0])
    assert rise.label == "lie to stand"
    (info, *_) = SessionReader(session)
    batches = [event for event in SessionReader(session) if isinstance(event, SampleBatch)]
    assert isinstance(info, StreamInfo)
    assert info.conversion == "g to m/s2"
    assert sum(len(batch) for batch in batches) == 500
    assert batches[0].values[1].tolist() == pytest.approx([0.0980665, 0, 9.80665, 0.01, 0, 1])


def test_sessions_of_two_devices_replay_one_or_both(tmp_path: Path) -> None:
    path = tmp_path / "two.mcap"
    with SessionWriter(path) as writer:
        for device in ("left", "right"):
            writer.add_stream(stream_info(device))
            for batch in cut(counted_samples(200, device), [20]):
                writer.add_batch(batch)
    both = [json.loads(line) for line in output("replay", path, "--json").splitlines()]
    assert [message["wearer"] for message in both].count("left") == len(both) / 2 == 3
    one = output("replay", path, "--json", "--device", "left").splitlines()
    assert [json.loads(line) for line in one] == [m for m in both if m["wearer"] == "left"]
    assert both[0]["window"]["start"] == EPOCH


def test_a_client_that_hangs_up_on_the_own_broker_is_told_in_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.new_event_loop()
    message = "Unhandled exception in client_connected_cb"
    _report(loop, {"message": message, "exception": OSError(107, "not connected")})
    _report(loop, {"message": message, "exception": asyncio.CancelledError()})
    loop.close()
    assert [record.message for record in caplog.records] == [
        f"{message}: [Errno 107] not connected"
    ]
    assert caplog.records[0].exc_info is None
