"""Reading files of named arrays that training wrote."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import TrainingError


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a compressed NumPy file by their names.

    Raises:
        OSError: it can't be opened.
        TrainingError: it is damaged.
    """
    try:
        # NumPy would leave a file open that it opens itself and then can't read.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (EOFError, ValueError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise TrainingError(f"{path} is damaged ({error}); remove it to train afresh") from error
