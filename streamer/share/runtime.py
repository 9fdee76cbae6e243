"""Running a compiled bundle with numpy and onnxruntime: hop by hop, many streams in one call.

The graph takes the new samples of each stream and what it kept of the stream before:

| input | | |
|---|---|---|
| `samples` | float32 [batch, 1, channels, span] | the new samples, after those of the context |
| `kept_0` ... | float32 [batch, ...] | the encoder's caches, of the manifest's shapes |
| `before` | float64 [batch, partial] | the partial result of the window's earlier outputs |
| `pooled` | float32 [time, 2] | ones at the new outputs that belong to its head, and to its tail |

and gives `scores` and `probabilities` [batch, labels], the caches `next_kept_0` ..., and `partials`
[batch, 2, partial]: those of the head and of the tail. The window that is scored is what was before
with both of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from streamer.errors import BundleError
from streamer.share.bundle import Manifest, digest, parse_manifest
from streamer.share.labels import LabelSet
from streamer.share.packaged import find_bundle, packaged_bundles

SAMPLES, BEFORE, POOLED = "samples", "before", "pooled"
SCORES, PROBABILITIES, PARTIALS = "scores", "probabilities", "partials"
_NOTHING = 4
"""The log level above which onnxruntime has nothing to say."""

_DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}


def kept(number: int) -> str:
    """Return the name of a cache's input."""
    return f"kept_{number}"


def next_kept(number: int) -> str:
    """Return the name of a cache's output."""
    return f"next_kept_{number}"


# Not frozen: it is made for every hop, and setting what is frozen takes 2 % of a lone stream's.
@dataclass(slots=True, eq=False)
class Scores:
    """What the model says of some windows.

    Attributes:
        labels: log-probability of each label's words and `end`, float32 [batch, labels].
        probabilities: calibrated, of each label among the valid ones, float32 [batch, labels].
        label_set: the labels.
    """

    labels: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    label_set: LabelSet

    @property
    def prefixes(self) -> NDArray[np.float32]:
        """Of each node of the prefix tree the sum of its labels' shares, float32 [batch, nodes]."""
        shares = np.zeros((len(self.labels), len(self.label_set.nodes)), dtype=np.float32)
        for label, path in enumerate(self.label_set.paths):
            shares[:, path] += self.probabilities[:, label, None]
        return shares


class ShareModel:
    """A loaded bundle.

    Attributes:
        manifest: what the bundle is and what it needs.
    """

    def __init__(self, session: Any, manifest: Manifest) -> None:  # noqa: ANN401 - untyped library
        self._session = session
        self.manifest = manifest

    @classmethod
    def load(cls, bundle: Path | str) -> "ShareModel":
        """Load a bundle, by its path or a packaged one's name, and check that it is whole.

        Raises:
            BundleError: it is missing, damaged, no bundle, or does not fit its own manifest.
        """
        path = find_bundle(bundle)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            packaged = ", ".join(packaged_bundles())
            reason = f"can't be read: {error.strerror}; packaged bundles are {packaged}"
            raise BundleError(path, reason) from error
        except OSError as error:
            raise BundleError(path, f"can't be read: {error.strerror}") from error
        options = onnxruntime.SessionOptions()
        # More threads would share out a product's rows, and so its rounding, by their number.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # Reusing buffers within a run makes a lone stream 3 % slower, and saves next to nothing.
        options.enable_mem_reuse = False
        options.log_severity_level = _NOTHING
        try:
            session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common class
            raise BundleError(path, "is no ONNX model that onnxruntime can run") from error
        try:
            written = session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise BundleError(path, f"has a manifest that is no UTF-8 text: {error}") from error
        manifest = parse_manifest(path, written)
        if digest(data, manifest.sha256) != manifest.sha256:
            raise BundleError(path, "was changed after it was compiled: its hash does not fit")
        _check_graph(path, session, manifest)
        return cls(session, manifest)

    def bind(self, batch: int, time: int) -> "BoundGraph":
        """Return the graph with arrays for so many streams and new samples of each."""
        sizes = {"batch": batch, "time": time, "span": self.manifest.streaming.context + time}
        arrays = {
            end.name: np.zeros([sizes.get(size, size) for size in end.shape], _DTYPES[end.type])
            for end in [*self._session.get_inputs(), *self._session.get_outputs()]
        }
        return BoundGraph(self._session, self.manifest, arrays)

    def score_windows(self, windows: NDArray[np.float32]) -> Scores:
        """Score whole windows, [batch, window, channels], on their own."""
        graph = self.bind_windows(len(windows))
        graph.samples[:] = windows
        return graph.run()

    def bind_windows(self, batch: int) -> "BoundGraph":
        """Return the graph with arrays for so many whole windows, each on its own."""
        graph = self.bind(batch, self.manifest.window)
        graph.pooled[:] = pooling_masks(self.manifest.window, 0, self.manifest.outputs)
        return graph


class BoundGraph:
    """The graph bound to arrays, so that nothing is converted or allocated from run to run.

    Attributes:
        samples: the new samples, [batch, time, channels].
        pasts: what was kept of the streams: the context, [batch, channels, context]; the caches.
        next_pasts: what is to be kept; the new context shares its memory with `samples`.
        before, pooled: the other inputs; all are zeros at first; see the module's text.
        head, tail: the new outputs' partial results, [batch, partial]; every run writes over them.
    """

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - untyped library
        manifest: Manifest,
        arrays: Mapping[str, NDArray[Any]],
    ) -> None:
        self._session = session
        self._manifest = manifest
        self._label_set = manifest.label_set
        self._arrays = arrays
        self._binding = session.io_binding()
        for ends, bind in (
            (session.get_inputs(), self._binding.bind_ortvalue_input),
            (session.get_outputs(), self._binding.bind_ortvalue_output),
        ):
            for end in ends:
                # It shares the array's memory.
                bind(end.name, onnxruntime.OrtValue.ortvalue_from_numpy(arrays[end.name]))
        time, context = len(arrays[POOLED]), manifest.streaming.context
        caches = range(len(manifest.streaming.kept))
        picture = arrays[SAMPLES][:, 0]
        self.samples = picture[:, :, context:].transpose(0, 2, 1)
        self.pasts = [picture[:, :, :context], *(arrays[kept(number)] for number in caches)]
        self.next_pasts = [picture[:, :, time:], *(arrays[next_kept(number)] for number in caches)]
        self.before, self.pooled = arrays[BEFORE], arrays[POOLED]
        self.head, self.tail = arrays[PARTIALS].transpose(1, 0, 2)
        self._scores, self._probabilities = arrays[SCORES], arrays[PROBABILITIES]

    def first(self, batch: int) -> "BoundGraph":
        """Return the graph with the same arrays' first streams."""
        rows = {name: a if name == POOLED else a[:batch] for name, a in self._arrays.items()}
        return BoundGraph(self._session, self._manifest, rows)

    def run(self) -> Scores:
        """Run the graph on what stands in the inputs."""
        self._session.run_with_iobinding(self._binding)
        return Scores(self._scores.copy(), self._probabilities.copy(), self._label_set)


def pooling_masks(time: int, head: int, tail: int) -> NDArray[np.float32]:
    """Return `pooled` for `time` new outputs: the last `tail` are its tail, `head` come before."""
    masks = np.zeros((time, 2), dtype=np.float32)
    masks[time - tail - head : time - tail, 0] = 1
    masks[time - tail :, 1] = 1
    return masks


def _check_graph(path: Path, session: Any, manifest: Manifest) -> None:  # noqa: ANN401
    ends = [*session.get_inputs(), *session.get_outputs()]
    shapes = {end.name: tuple(end.shape[1:]) for end in ends}
    layout, labels = manifest.streaming, len(manifest.labels)
    needed = {
        SAMPLES: (1, len(manifest.channels), "span"),
        BEFORE: (layout.partial,),
        POOLED: (2,),
        SCORES: (labels,),
        PROBABILITIES: (labels,),
        PARTIALS: (2, layout.partial),
    }
    for number, shape in enumerate(layout.kept):
        needed |= {kept(number): shape, next_kept(number): shape}
    if shapes != needed:
        raise BundleError(path, f"has the graph {shapes}, but its manifest says {needed}")
