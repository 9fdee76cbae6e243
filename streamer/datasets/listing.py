"""Data sets as tables for people."""

from collections.abc import Iterable

from rich.table import Table

from streamer.datasets.dataset import Dataset


def list_datasets(datasets: Iterable[Dataset]) -> Table:
    """Return a row for each data set."""
    table = Table()
    for column in ("name", "people", "rate", "channels", "window", "labels", "terms"):
        words = column in {"name", "terms"}
        table.add_column(column, justify="left" if words else "right", no_wrap=True)
    for dataset in datasets:
        table.add_row(
            dataset.name,
            str(len(dataset.wearers)),
            f"{dataset.rate_hz:g} Hz",
            str(len(dataset.channels)),
            str(dataset.window),
            str(len(dataset.labels)),
            dataset.licence.partition(" (")[0],
        )
    return table


def describe_dataset(dataset: Dataset) -> Table:
    """Return all that is known of a data set."""
    channels = (f"{c} [{u}]" for c, u in zip(dataset.channels, dataset.units, strict=True))
    table = Table.grid(padding=(0, 2))
    for name, text in (
        ("name", dataset.name),
        ("title", dataset.title),
        ("from", dataset.source),
        ("terms", dataset.licence),
        ("layout", dataset.layout),
        ("people", f"{len(dataset.wearers)}, {dataset.wearers[0]} to {dataset.wearers[-1]}"),
        ("tested on", ", ".join(dataset.test)),
        ("recordings", str(dataset.recordings)),
        ("rate", f"{dataset.rate_hz:g} Hz"),
        ("window", f"{dataset.window} samples ({dataset.window / dataset.rate_hz:.3g} s)"),
        ("channels", ", ".join(channels)),
        ("labels", ", ".join(dataset.labels)),
    ):
        table.add_row(name, text.replace("[", "\\["))
    return table
