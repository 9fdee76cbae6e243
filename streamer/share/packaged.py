"""The bundles that come with the package, known by name."""

from importlib.resources import files
from pathlib import Path

DEFAULT_BUNDLE = "waist"


def packaged_bundles() -> dict[str, Path]:
    """Return their files by their names, in alphabetical order."""
    folder = Path(str(files("streamer") / "resources"))
    return {path.stem: path for path in sorted(folder.glob("*.onnx"), key=lambda file: file.stem)}


def find_bundle(bundle: Path | str) -> Path:
    """Return the file of the packaged bundle of this name, or else take it for a path."""
    return packaged_bundles().get(str(bundle), Path(bundle))
