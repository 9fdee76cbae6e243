"""Running a compiled bundle with numpy and onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from streamer.errors import BundleError
from streamer.share.bundle import Manifest, digest, parse_manifest

INPUT = "windows"
OUTPUT = "scores"
_ERRORS_ONLY = 3


class ShareModel:
    """A loaded bundle.

    Attributes:
        manifest: what the bundle is and what it needs.
    """

    def __init__(self, session: Any, manifest: Manifest) -> None:  # noqa: ANN401 - untyped library
        self._session = session
        self.manifest = manifest

    @classmethod
    def load(cls, path: Path) -> "ShareModel":
        """Load a bundle and check that it is whole.

        Raises:
            BundleError: it is missing, damaged, no bundle, or does not fit its own manifest.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BundleError(path, f"can't be read: {error.strerror}") from error
        options = onnxruntime.SessionOptions()
        # One thread and one window a run: a label's last bits must depend on nothing else.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY + 1
        try:
            session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common class
            raise BundleError(path, "is no ONNX model that onnxruntime can run") from error
        manifest = parse_manifest(path, session.get_modelmeta().custom_metadata_map)
        if digest(data, manifest.sha256) != manifest.sha256:
            raise BundleError(path, "was changed after it was compiled: its hash does not fit")
        _check_graph(path, session, manifest)
        return cls(session, manifest)

    def scores(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the log-probability of every label's words and `end`.

        Args:
            window: samples in the manifest's channels and units, float32 [window, channels].

        Returns:
            float32 [labels].
        """
        scores: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: window[None]})[0][0]
        return scores

    def probabilities(self, window: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the calibrated probability of every label, float64 [labels], sum 1."""
        scores = self.scores(window).astype(np.float64) / self.manifest.calibration.temperature
        shares = np.exp(scores - scores.max())
        result: NDArray[np.float64] = shares / shares.sum()
        return result


def _check_graph(path: Path, session: Any, manifest: Manifest) -> None:  # noqa: ANN401
    shapes = {
        end.name: tuple(end.shape[1:]) for end in [*session.get_inputs(), *session.get_outputs()]
    }
    needed = {
        INPUT: (manifest.window, len(manifest.channels)),
        OUTPUT: (len(manifest.labels),),
    }
    if shapes != needed:
        raise BundleError(path, f"has the graph {shapes}, but its manifest says {needed}")
