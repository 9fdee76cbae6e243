"""What a bundle is, shown to people."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from streamer.share.bundle import Manifest


def describe_bundle(manifest: Manifest, size: int) -> RenderableType:
    """Return a view of a bundle's manifest; `size` is the file's, in bytes."""
    return Group(_facts(manifest, size), Text(), _label_tree(manifest))


def list_bundles(bundles: Iterable[tuple[Manifest, int]]) -> Table:
    """Return a row for each bundle, of its manifest and its file's size in bytes."""
    table = Table()
    for column in ("name", "worn", "rate", "channels", "activities", "size", "accuracy"):
        words = column in {"name", "worn", "channels"}
        table.add_column(column, justify="left" if words else "right", no_wrap=True)
    for manifest, size in bundles:
        sensors = dict.fromkeys(name.rpartition("_")[0] or name for name in manifest.channels)
        measured = manifest.measured
        table.add_row(
            manifest.name,
            manifest.worn,
            f"{manifest.rate_hz:g} Hz",
            ", ".join(sensors),
            str(len(manifest.labels)),
            f"{size / 1e6:.2f} MB",
            "" if measured is None else f"{measured.accuracy:.3f}",
        )
    return table


def _facts(manifest: Manifest, size: int) -> Table:
    window_s, hop_s = manifest.window / manifest.rate_hz, manifest.hop / manifest.rate_hz
    channels = zip(manifest.channels, manifest.units, strict=True)
    facts = {
        "model": f"{manifest.model_id} ({size / 1e6:.2f} MB)",
        "worn": manifest.worn or "unknown",
        "channels": ", ".join(f"{channel} [{unit}]" for channel, unit in channels),
        "acceleration": "with gravity" if manifest.gravity else "without gravity",
        "rate": f"{manifest.rate_hz:g} Hz",
        "window": f"{manifest.window} samples ({window_s:g} s)",
        "hop": f"{manifest.hop} samples ({hop_s:g} s)",
        "words": f"{len(manifest.vocabulary)} in the vocabulary, "
        f"{len(manifest.tree)} nodes in the tree of {len(manifest.labels)} labels",
        "learnt from": f"{manifest.training.name}; {manifest.training.licence}",
        "accuracy": _accuracy(manifest),
        "calibration": _calibration(manifest),
        "sha256": manifest.sha256,
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, Text(value))
    return table


def _accuracy(manifest: Manifest) -> str:
    measured = manifest.measured
    if measured is None:
        return "not measured"
    return (
        f"{measured.accuracy:.3f} of windows right, macro-F1 {measured.macro_f1:.3f}, "
        f"for {len(measured.people)} people never seen (seed {manifest.training.seed})"
    )


def _calibration(manifest: Manifest) -> str:
    temperature, measured = manifest.calibration.temperature, manifest.measured
    if measured is None:
        return f"temperature {temperature:g}"
    return (
        f"temperature {temperature:g}; expected error {measured.calibration_error:.3f}, "
        f"without it {measured.uncalibrated_error:.3f}"
    )


def _label_tree(manifest: Manifest) -> Tree:
    ends = {path[-1] for path in manifest.label_set.paths}
    root = Tree("labels, word by word ([bold]●[/] a label ends here)")
    branches = [root]
    for number, node in enumerate(manifest.tree[1:], start=1):
        mark = " [bold]●[/]" if number in ends else ""
        branches.append(branches[node.parent].add(f"{node.word}{mark}"))
    return root
