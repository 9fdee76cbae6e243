"""A live view of what every wearer does, from the labels on a broker."""

import time
from collections.abc import AsyncIterator

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streamer.messages import Label
from streamer.publishers.console import as_text

REFRESHES_PER_SECOND = 8
BAR_WIDTH = 20
STALE_SECONDS = 5.0
"""A wearer from whom nothing came for this long is shown dimmed."""


async def watch(labels: AsyncIterator[Label], console: Console) -> None:
    """Show labels until they end: a table that lives in a terminal, lines elsewhere."""
    if not console.is_terminal:
        async for label in labels:
            console.print(Text(as_text(label)), soft_wrap=True)
        return
    newest: dict[str, tuple[Label, float]] = {}
    with Live(
        get_renderable=lambda: wearer_table(newest),
        console=console,
        refresh_per_second=REFRESHES_PER_SECOND,
    ):
        async for label in labels:
            newest[label.wearer] = (label, time.monotonic())


def wearer_table(newest: dict[str, tuple[Label, float]]) -> Table:
    """Return a row for each wearer, with the newest label and when it came (monotonic seconds)."""
    table = Table(expand=True, title="what every wearer does", title_justify="left")
    for heading in ("wearer", "activity", "probability", "observed", "instead"):
        table.add_column(heading)
    now = time.monotonic()
    for wearer, (label, came) in sorted(newest.items()):
        table.add_row(
            Text(wearer),
            Text(label.label, style="bold"),
            probability_bar(label.p),
            f"{label.observed:.0%}",
            Text(", ".join(f"{other.label} {other.p:.0%}" for other in label.alternatives[:2])),
            style="dim" if now - came > STALE_SECONDS else "",
        )
    return table


def probability_bar(p: float) -> Text:
    """Return a bar of the probability with its figure."""
    filled = round(p * BAR_WIDTH)
    colour = "green" if p >= 0.8 else "yellow" if p >= 0.5 else "red"
    bar = Text("█" * filled, style=colour)
    bar.append("░" * (BAR_WIDTH - filled), style="dim")
    bar.append(f" {p:4.0%}")
    return bar
