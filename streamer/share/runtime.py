"""Running a compiled bundle with numpy and onnxruntime: hop by hop, many streams in one call.

The graph takes the new samples of each stream and what it kept of the stream before:

| input | | |
|---|---|---|
| `samples` | float32 [batch, time, channels] | the new samples |
| `state` | float32 [batch, state] | the encoder's caches |
| `before` | float64 [batch, partial] | the partial result of the window's earlier outputs |
| `starts` | int64 [2] | from which new output on they are pooled, and where their tail begins |
| `pooled` | float32 [2, time] | the same as ones and zeros |
| `counts` | float64 [3] | outputs that are pooled, in the tail, and in the whole window |

and gives `scores`, `probabilities` [batch, labels], `prefixes` [batch, nodes of the prefix tree],
`next_state`, and `partials` [batch, 2, partial], of all pooled outputs and of their tail.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from streamer.errors import BundleError
from streamer.share.bundle import Manifest, digest, parse_manifest

SAMPLES, STATE, BEFORE = "samples", "state", "before"
STARTS, POOLED, COUNTS = "starts", "pooled", "counts"
SCORES, PROBABILITIES, PREFIXES = "scores", "probabilities", "prefixes"
NEXT_STATE, PARTIALS = "next_state", "partials"
OUTPUTS = (SCORES, PROBABILITIES, PREFIXES, NEXT_STATE, PARTIALS)
_NOTHING = 4
"""The log level above which onnxruntime has nothing to say."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the model says of some windows.

    Attributes:
        labels: log-probability of each label's words and `end`, float32 [batch, labels].
        probabilities: calibrated, of each label among the valid ones, float32 [batch, labels].
        prefixes: of each node of the prefix tree, the sum of its labels', float32 [batch, nodes].
    """

    labels: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    prefixes: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class PoolingPlan:
    """Which of a step's new outputs are pooled, and of how many the window is.

    Attributes:
        inputs: the graph's inputs that say so.
    """

    inputs: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, time: int, pooled: int, tail: int, window: int) -> "PoolingPlan":
        """Pool the last `pooled` of `time` outputs and, apart, the last `tail`.

        Args:
            time: new outputs.
            pooled: how many of them belong to the window.
            tail: how many are pooled apart as well.
            window: outputs in the whole window.
        """
        starts = np.array([time - pooled, time - tail])
        ones = (np.arange(time) >= starts[:, None]).astype(np.float32)
        counts = np.array([pooled, tail, window], dtype=np.float64)
        return cls({STARTS: starts, POOLED: ones, COUNTS: counts})


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
        # More threads would share out a product's rows, and so its rounding, by their number.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _NOTHING
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

    def run(
        self,
        samples: NDArray[np.float32],
        state: NDArray[np.float32],
        before: NDArray[np.float64],
        plan: PoolingPlan,
    ) -> tuple[Scores, NDArray[np.float32], NDArray[np.float64]]:
        """Run the graph; see the module's text.

        Returns:
            The scores, the next state, and the partial results.
        """
        inputs = {SAMPLES: samples, STATE: state, BEFORE: before, **plan.inputs}
        labels, probabilities, prefixes, state, partials = self._session.run(OUTPUTS, inputs)
        return Scores(labels, probabilities, prefixes), state, partials

    def score_windows(self, windows: NDArray[np.float32]) -> Scores:
        """Score whole windows, [batch, window, channels], on their own."""
        layout, (batch, time, _) = self.manifest.streaming, windows.shape
        outputs = time - layout.receptive_field + 1
        scores, *_ = self.run(
            windows,
            np.zeros((batch, layout.state), dtype=np.float32),
            np.repeat(nothing(layout.sums, layout.maxima)[None], batch, axis=0),
            PoolingPlan.of(time, outputs, 1, outputs),
        )
        return scores


def nothing(sums: int, maxima: int) -> NDArray[np.float64]:
    """Return the partial result of no output at all."""
    return np.concatenate([np.zeros(sums), np.full(maxima, -np.inf)])


def _check_graph(path: Path, session: Any, manifest: Manifest) -> None:  # noqa: ANN401
    ends = [*session.get_inputs(), *session.get_outputs()]
    shapes = {end.name: end.shape[-1] for end in ends}
    layout, labels = manifest.streaming, len(manifest.labels)
    needed = {
        SAMPLES: len(manifest.channels),
        STATE: layout.state,
        BEFORE: layout.partial,
        STARTS: 2,
        POOLED: "time",
        COUNTS: 3,
        SCORES: labels,
        PROBABILITIES: labels,
        PREFIXES: len(manifest.tree),
        NEXT_STATE: layout.state,
        PARTIALS: layout.partial,
    }
    if shapes != needed:
        raise BundleError(path, f"has the graph {shapes}, but its manifest says {needed}")
