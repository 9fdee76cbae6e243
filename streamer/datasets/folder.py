"""A folder to learn from: sessions, windows, CSV files, or what SHARE's released code reads.

`dataset.toml` in it tells what the files don't. Sessions need none.
"""

from collections.abc import Container, Iterator
from pathlib import Path

import tomli_w
from pydantic import Field

from streamer.config_file import Section, read_config
from streamer.datasets.csv_files import CsvFiles, CsvLayout
from streamer.datasets.dataset import HIGHEST_RATE_HZ, SHORTEST_WINDOW, Dataset, Recording, Windows
from streamer.datasets.names import GivenNames
from streamer.datasets.sessions import read_session
from streamer.datasets.share_arrays import TEST_WEARER, read_share_arrays
from streamer.datasets.windows import WINDOWS_FILE, read_windows
from streamer.errors import DatasetError

DESCRIPTION_FILE = "dataset.toml"


class Description(Section):
    """What `dataset.toml` says.

    Attributes:
        name: the data set's name, for the bundle's manifest; the folder's if it is not told.
        licence: its terms, for the manifest.
        rate_hz: samples a second; needed for CSV files and for arrays.
        window: samples in a window.
        validation: wearers held out to choose the best epoch.
        test: wearers on whom the accuracy is measured.
        labels: better names for labels.
        csv: what the CSV files look like.
    """

    name: str = ""
    licence: str = "unknown"
    rate_hz: float | None = Field(default=None, gt=0, le=HIGHEST_RATE_HZ)
    window: int | None = Field(default=None, ge=SHORTEST_WINDOW)
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    labels: GivenNames = Field(default_factory=dict)
    csv: CsvLayout | None = None


def read_description(folder: Path) -> Description:
    """Read the folder's description; without one, what can be said of it.

    Raises:
        ConfigError: it can't be read, or has a wrong key.
    """
    path = folder / DESCRIPTION_FILE
    told = read_config(path, Description) if path.is_file() else Description()
    test = told.test or ((TEST_WEARER,) if _is_share(folder) else ())
    return told.model_copy(update={"name": told.name or folder.resolve().name, "test": test})


def description_name(dataset: Dataset) -> str:
    """Return what an imported data set is called in its description."""
    return f"{dataset.name} ({dataset.title})"


def write_description(folder: Path, dataset: Dataset, wearers: Container[str]) -> None:
    """Write the description of an imported data set, of which these wearers are there."""
    content = {
        "name": description_name(dataset),
        "licence": dataset.licence,
        "rate_hz": dataset.rate_hz,
        "window": dataset.window,
        "test": [wearer for wearer in dataset.test if wearer in wearers],
    }
    (folder / DESCRIPTION_FILE).write_text(tomli_w.dumps(content), encoding="utf-8")


def read_folder(folder: Path, description: Description) -> Iterator[Recording] | Windows:
    """Read whatever the folder holds.

    Raises:
        DatasetError: it holds nothing to learn from, or files are malformed.
        SessionError: a session can't be read.
    """
    if (folder / WINDOWS_FILE).is_file():
        return read_windows(folder / WINDOWS_FILE)
    if _is_share(folder):
        return read_share_arrays(folder, _rate(folder, description))
    if description.csv is not None:
        rate_hz = _rate(folder, description)
        return CsvFiles(description.name, folder, description.csv, rate_hz).recordings()
    paths = sorted(folder.glob("*.mcap"))
    if not paths:
        raise DatasetError(
            description.name,
            folder,
            f"holds nothing to learn from: no session (*.mcap; `streamer import` makes them), no "
            f"{WINDOWS_FILE}, no X_train.npy, and no {DESCRIPTION_FILE} with a table [csv]",
        )
    return (recording for path in paths for recording in read_session(path))


def _is_share(folder: Path) -> bool:
    return (folder / "X_train.npy").is_file()


def _rate(folder: Path, description: Description) -> float:
    if description.rate_hz is None:
        raise DatasetError(
            description.name, folder / DESCRIPTION_FILE, "must tell rate_hz, the samples a second"
        )
    return description.rate_hz
