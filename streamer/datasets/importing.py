"""What `streamer import` does: a data set becomes a folder that training reads."""

from collections.abc import Mapping
from pathlib import Path

from streamer.datasets import read_dataset
from streamer.datasets.dataset import Dataset, Survey, Windows
from streamer.datasets.folder import description_name, read_description, write_description
from streamer.datasets.sessions import write_session
from streamer.datasets.windows import WINDOWS_FILE, rename_windows, write_windows
from streamer.errors import DatasetError


def import_data(dataset: Dataset, data: Path, out: Path, names: Mapping[str, str]) -> Survey:
    """Write sessions, or a file of windows, and their description; return what was found.

    Args:
        dataset: the data set.
        data: its folder as published, or a compact file of it.
        out: the new folder.
        names: labels to write under other names.

    Raises:
        DatasetError: the data set can't be read, or the folder holds another one.
        SessionError: a session can't be written.
        ConfigError: the folder has a description with a fault.
    """
    survey = Survey()
    content = read_dataset(dataset, data)
    out.mkdir(parents=True, exist_ok=True)
    _check_own(dataset, out)
    tested_before = read_description(out).test
    try:
        if isinstance(content, Windows):
            survey.add_windows(content)
            write_windows(rename_windows(content, names), out / WINDOWS_FILE)
        else:
            for recording in content:
                survey.add(recording)
                write_session(recording, out / f"{recording.name}.mcap", names)
    finally:
        # Whatever is there now is described, also where a malformed file ended the import.
        write_description(out, dataset, {*survey.wearers, *tested_before})
    return survey


def _check_own(dataset: Dataset, out: Path) -> None:
    """Check that what the folder holds already is of the same data set."""
    held = read_description(out).name
    filled = any(out.glob("*.mcap")) or (out / WINDOWS_FILE).is_file()
    if filled and held != description_name(dataset):
        raise DatasetError(
            dataset.name, out, f"holds {held!r} already; give another folder, or empty this one"
        )
