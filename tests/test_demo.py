import io
import json
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from streamer.demo import run_demo


async def test_the_demo_shows_activities_and_ends_with_honest_figures() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    figures = await run_demo(console, speed=60)
    assert figures["labels"] > 600
    assert 0.88 <= figures["agreement"] <= 1
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"]
    assert "walk up stairs" in screen.getvalue()
    assert "agree" in screen.getvalue()


def test_without_a_terminal_the_demo_is_plain_text(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    done = subprocess.run(
        [sys.executable, "-m", "streamer", "demo", "--speed", "60", "--json", file],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    figures = json.loads(file.read_text())
    assert set(figures) == {"labels", "agreement", "latency_ms", "seconds"}
    assert f"{figures['labels']} labels" in done.stdout
