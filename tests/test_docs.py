"""The documentation's examples are run, and its commands exist."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

from commands import streamer
from conftest import Mosquitto
from streamer import recognizer
from streamer.config import read_gateway_config

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def test_docstring_examples_hold() -> None:
    assert doctest.testmod(recognizer).attempted > 0
    assert doctest.testmod(recognizer).failed == 0


@pytest.mark.parametrize("number", range(len(blocks(ROOT / "docs" / "python.md", "python"))))
def test_python_examples_run(number: int, mosquitto: Mosquitto, tmp_path: Path) -> None:
    code = blocks(ROOT / "docs" / "python.md", "python")[number]
    script = tmp_path / "example.py"
    script.write_text(code.replace("mqtt://127.0.0.1", mosquitto.url))
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "walk" in done.stdout


def test_every_command_in_the_documentation_exists() -> None:
    shown = "\n".join("\n".join(blocks(page, "(?:sh|console)")) for page in PAGES)
    commands = set(re.findall(r"^\s*\$?\s*streamer ([a-z]+)", shown, re.MULTILINE))
    assert {"run", "replay", "record", "train", "watch"} <= commands
    for command in commands:
        assert streamer(command, "--help").returncode == 0, command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configurations_in_the_documentation_are_sound(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "toml"):
        if "[[adapters]]" in block:
            path = tmp_path / "gateway.toml"
            path.write_text(block)
            read_gateway_config(path)


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
