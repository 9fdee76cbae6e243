"""Public data sets, one file each, and folders of one's own: read into one shape."""

from collections.abc import Iterator
from pathlib import Path

from streamer.datasets.compact import read_compact
from streamer.datasets.dataset import Dataset, Recording, Windows
from streamer.datasets.hapt import HAPT
from streamer.datasets.harth import HARTH
from streamer.datasets.mhealth import MHEALTH
from streamer.datasets.opportunity import OPPORTUNITY
from streamer.datasets.pamap2 import PAMAP2
from streamer.datasets.uci_har import UCI_HAR
from streamer.datasets.usc_had import USC_HAD
from streamer.datasets.wisdm import WISDM_PHONE, WISDM_WATCH
from streamer.errors import DatasetError, UnknownDatasetError

__all__ = ["DATASETS", "find_dataset", "read_dataset"]

DATASETS = {
    dataset.name: dataset
    for dataset in (
        UCI_HAR,
        HAPT,
        USC_HAD,
        WISDM_WATCH,
        WISDM_PHONE,
        PAMAP2,
        OPPORTUNITY,
        HARTH,
        MHEALTH,
    )
}


def find_dataset(name: str) -> Dataset:
    """Return the data set of this name.

    Raises:
        UnknownDatasetError: there is none.
    """
    if name not in DATASETS:
        raise UnknownDatasetError(name, tuple(DATASETS))
    return DATASETS[name]


def read_dataset(dataset: Dataset, data: Path) -> Iterator[Recording] | Windows:
    """Read a data set from its official layout, or from a compact file of it (`.npz`).

    Raises:
        DatasetError: files are missing or malformed.
    """
    if data.suffix == ".npz":
        return read_compact(dataset, data)
    if not data.is_dir():
        raise DatasetError(dataset.name, data, f"is no folder; expected {dataset.layout}")
    return dataset.read(data)
