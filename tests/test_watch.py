"""What `streamer watch` shows, in a terminal and elsewhere."""

import io
from collections.abc import AsyncIterator

import pytest
from msgspec import structs
from rich.console import Console

from streamer.messages import Alternative, Label
from streamer.watch import watch
from test_messages import LABEL


async def shown(label: Label, *, terminal: bool) -> str:
    async def labels() -> AsyncIterator[Label]:
        yield label

    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    await watch(labels(), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("name", ["anna", "[red]", "[b]ob", ":smile:"])
async def test_names_are_shown_as_they_are(name: str, terminal: bool) -> None:
    label = structs.replace(LABEL, wearer=name, alternatives=(Alternative(name, 0.08),))
    text = await shown(label, terminal=terminal)
    assert name in text
    assert "walk" in text
    assert not terminal or f"{name} 8%" in text
