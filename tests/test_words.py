"""Word vectors: from every source, brought to the model's size, into the decoder."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from streamer.errors import TrainingError
from streamer.training.word_vectors import (
    WordsConfig,
    file_vectors,
    imagebind_vectors,
    initial_vectors,
    minilm_vectors,
    reduce_vectors,
)

VOCABULARY = ("start", "end", "walk", "run", "upstairs", "downstairs", "1", "zzz")


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness: np.ndarray = unit @ unit.T
    return likeness


@given(st.integers(2, 40), st.integers(1, 80), st.integers(0, 9))
def test_reduced_vectors_are_as_long_as_random_ones(words: int, size: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(words, 100))
    reduced = reduce_vectors(vectors, size, seed)
    assert reduced.shape == (words, size)
    assert np.linalg.norm(reduced, axis=1) == pytest.approx(np.full(words, np.sqrt(size)), rel=1e-4)
    assert (reduced == reduce_vectors(vectors, size, seed)).all()


@given(st.integers(2, 30), st.integers(0, 9))
def test_with_room_for_all_components_likeness_is_kept(words: int, seed: int) -> None:
    vectors = 5 + np.random.default_rng(seed).normal(size=(words, 384))
    kept = cosines(reduce_vectors(vectors, 64, seed))
    assert kept == pytest.approx(cosines(vectors - vectors.mean(axis=0)), abs=1e-4)


def test_with_less_room_the_strongest_components_stay() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat(rng.normal(size=(3, 200)), 20, axis=0)
    vectors = kinds + 0.05 * rng.normal(size=kinds.shape)
    likeness = cosines(reduce_vectors(vectors, 4, seed=1))
    assert likeness[:20, :20].min() > 0.9
    assert likeness[:20, 20:].max() < 0.3


def test_one_known_word_has_a_vector() -> None:
    assert np.isfinite(reduce_vectors(np.ones((1, 10)), 8, seed=0)).all()


def write_vectors(path: Path, *, header: bool) -> None:
    lines = ["walk 1 0 0 0", "Run 0.9 0.1 0 0", "upstairs 0 0 1 0", "cake 5 5 5 5", "1 0 0 0 9"]
    path.write_text("\n".join([*(["5 4"] if header else []), *lines, "upstairs 7 7 7 7"]))


@pytest.mark.parametrize("header", [True, False])
def test_vectors_from_a_text_file(header: bool, tmp_path: Path) -> None:
    write_vectors(tmp_path / "v.txt", header=header)
    with (tmp_path / "v.txt").open("a") as file:
        file.write("\nrun name@domain.com 1 1 1 1\n")  # GloVe has words of two parts
    vectors = file_vectors(tmp_path / "v.txt", ["run", "upstairs", "zzz"])
    assert vectors[:2].tolist() == [[0.9, 0.1, 0, 0], [0, 0, 1, 0]]
    assert np.isnan(vectors[2]).all()


def test_numbers_marks_and_unknown_words_stay_random(tmp_path: Path) -> None:
    write_vectors(tmp_path / "v.txt", header=True)
    config = WordsConfig(source="file", path=tmp_path / "v.txt")
    vectors = initial_vectors(config, VOCABULARY, 16, seed=1)
    assert sorted(vectors) == [2, 3, 4]
    assert initial_vectors(WordsConfig(), VOCABULARY, 16, seed=1) == {}
    assert initial_vectors(config, ["start", "end", "1", "2"], 16, seed=1) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("walk 1 x\n", "line 1 is not a word and numbers"),
        ("cake 1 2\n", "none of the words: walk, run"),
        ("walk 1 2\nrun 1 2 3\n", "different lengths \\[2, 3\\]"),
    ],
)
def test_a_bad_file_of_vectors_is_told(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text(text)
    with pytest.raises(TrainingError, match=told):
        file_vectors(path, ["walk", "run"])
    with pytest.raises(TrainingError, match="can't be read"):
        file_vectors(tmp_path / "none.txt", ["walk"])


@pytest.mark.parametrize(
    "fields", [{"source": "file"}, {"path": "x"}, {"source": "imagebind", "path": "x"}]
)
def test_a_source_and_its_files_go_together(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="goes with"):
        WordsConfig.model_validate(fields)


def test_minilm_knows_what_is_alike() -> None:
    words = ["walk", "walking", "lie", "upstairs", "downstairs", "qzxv"]
    vectors = minilm_vectors(words)
    assert vectors.shape == (6, 384)
    likeness = cosines(vectors)
    assert likeness[0, 1] > 0.7
    assert likeness[0, 2] < 0.3
    assert likeness[3, 4] == pytest.approx(0.86, abs=0.02)
    config = WordsConfig(source="minilm")
    assert sorted(initial_vectors(config, VOCABULARY, 32, seed=0)) == [2, 3, 4, 5, 7]


class Tower(nn.Module):
    """ImageBind's text tower, small: pre-normalised blocks, a causal mask, `end` is projected."""

    def __init__(self, tokens: int, width: int, layers: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.position = nn.Parameter(torch.randn(1, length, width))
        self.attention = nn.ModuleList(
            nn.MultiheadAttention(width, width // 64, batch_first=True) for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for _ in range(2 * layers))
        self.inner = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(layers))
        self.outer = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.projection = nn.Linear(width, 32, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embedding(tokens) + self.position[:, : tokens.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        for number, attention in enumerate(self.attention):
            normal = self.norms[2 * number](hidden)
            hidden = hidden + attention(normal, normal, normal, attn_mask=mask)[0]
            normal = self.norms[2 * number + 1](hidden)
            hidden = hidden + self.outer[number](functional.gelu(self.inner[number](normal)))
        projected: Tensor = self.projection(self.norm(hidden[:, -1]))
        return projected

    def checkpoint(self) -> dict[str, Tensor]:
        """Return the weights under the names of the published checkpoint."""
        text = "modality_preprocessors.text"
        weights = {
            f"{text}.token_embedding.weight": self.embedding.weight,
            f"{text}.pos_embed": self.position,
            "modality_heads.text.proj.0.weight": self.norm.weight,
            "modality_heads.text.proj.0.bias": self.norm.bias,
            "modality_heads.text.proj.1.weight": self.projection.weight,
            "modality_preprocessors.vision.cls_token": torch.zeros(1),
        }
        for number, attention in enumerate(self.attention):
            block = f"modality_trunks.text.blocks.{number}"
            parts = {
                "attn": attention,
                "norm_1": self.norms[2 * number],
                "norm_2": self.norms[2 * number + 1],
                "mlp.fc1": self.inner[number],
                "mlp.fc2": self.outer[number],
            }
            for name, module in parts.items():
                weights |= {f"{block}.{name}.{key}": w for key, w in module.state_dict().items()}
        return {name: weight.detach().clone() for name, weight in weights.items()}


@pytest.fixture
def merges(tmp_path: Path) -> Path:
    path = tmp_path / "bpe.txt.gz"
    with gzip.open(path, "wt") as file:
        file.write('"a header\nw a\nwa l\nwal k</w>\n')
    return path


def test_imagebinds_text_tower_gives_the_towers_own_vectors(merges: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tower = Tower(tokens=512 + 3 + 2, width=128, layers=3, length=77)
    torch.save(tower.checkpoint(), tmp_path / "small.pth")
    vectors = imagebind_vectors(tmp_path / "small.pth", merges, ["walk", "up"])
    # `walk` is one merged token; `up` is a `u` and a `p` that ends a word; all between two marks.
    letters = {chr(byte): byte - 33 for byte in range(33, 127)}
    start, end = 515, 516
    tokens = [[start, 514, end], [start, letters["u"], 256 + letters["p"], end]]
    with torch.no_grad():
        expected = [tower.eval()(torch.tensor([row]))[0].numpy() for row in tokens]
    assert np.abs(vectors - np.stack(expected)).max() < 1e-4


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("sprung"),))  # type: ignore[return-value]


def test_a_checkpoint_is_never_unpickled(
    merges: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(TrainingError, match="is no checkpoint"):
        imagebind_vectors(tmp_path / "trap.pth", merges, ["walk"])
    assert not (tmp_path / "sprung").exists()
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(TrainingError, match="no checkpoint of ImageBind"):
        imagebind_vectors(tmp_path / "other.pth", merges, ["walk"])
    with pytest.raises(TrainingError, match="can't be read"):
        imagebind_vectors(tmp_path / "none.pth", merges, ["walk"])
    with pytest.raises(TrainingError, match="no vocabulary of CLIP"):
        imagebind_vectors(tmp_path / "other.pth", tmp_path / "other.pth", ["walk"])


def test_a_checkpoint_of_fewer_tokens_is_told(merges: Path, tmp_path: Path) -> None:
    torch.save(Tower(tokens=300, width=64, layers=1, length=77).checkpoint(), tmp_path / "few.pth")
    with pytest.raises(TrainingError, match=r"few.pth does not fit .*bpe.txt.gz"):
        imagebind_vectors(tmp_path / "few.pth", merges, ["walk"])
