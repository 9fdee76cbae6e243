"""What `streamer watch` shows, in a terminal and elsewhere."""

import io
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from rich.console import Console

from streamer.messages import Alternative, Label, TimeSpan
from streamer.watch import watch

WALK = Label(
    wearer="anna",
    devices=("wrist",),
    label="walk",
    words=("walk",),
    p=0.91,
    alternatives=(Alternative("lie", 0.08),),
    window=TimeSpan(10.0, 12.54),
    observed=1.0,
    lost=0,
    model="waist-12345678",
    seq=3,
)


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
    label = replace(WALK, wearer=name, alternatives=(Alternative(name, 0.08),))
    text = await shown(label, terminal=terminal)
    assert name in text
    assert "walk" in text
    assert not terminal or f"{name} 8%" in text
