"""How the pages are built: what is measured once, and what stops the build."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("sphinx")
sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "_ext"))
evidence: Any = importlib.import_module("evidence")
derivation: Any = importlib.import_module("derivation")
drawing: Any = importlib.import_module("drawing")
said: Any = importlib.import_module("said")
tables: Any = importlib.import_module("tables")


def test_a_fingerprint_follows_the_sources_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh clone has nothing compiled, and must find what was measured before all the same."""
    monkeypatch.setattr(evidence, "ROOT", tmp_path)
    source = tmp_path / "numpy_ref" / "one.py"
    source.parent.mkdir()
    source.write_text("x = 1\n", "utf-8")
    for name in {*evidence.READ, "docs/pictures.py"} - {"numpy_ref"}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("", "utf-8")
    before = evidence.fingerprint(("pictures", ""))
    compiled = source.parent / "__pycache__" / "one.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"1")
    assert evidence.fingerprint(("pictures", "")) == before
    source.write_text("x = 2\n", "utf-8")
    assert evidence.fingerprint(("pictures", "")) != before


def test_a_job_that_fails_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    jobs = [["claims", "cupy_impl", str(tmp_path / "a" / "found.json")]]
    assert evidence.main(jobs) == 1
    assert "claims cupy_impl:" in capfd.readouterr().err
    assert not (tmp_path / "a" / "found.json").exists()


def test_what_two_processes_show_adds_up() -> None:
    ours, theirs = (SimpleNamespace(triptych={"shown": {name}}) for name in "ab")
    tables.merge(None, ours, [], theirs)
    assert ours.triptych["shown"] == {"a", "b"}


def test_paragraphs_stand_once_or_at_their_column() -> None:
    common, own = said.paragraphs(["sum\n\nNumPy copies.\n\nSource: A.", "sum\n\nSource: A.", None])
    assert common == ("sum", "Source: A.")
    assert own == (("NumPy copies.",), (), ())


GRAPH: dict[str, Any] = {
    "key": "x",
    "start": {"x": 2.0},
    "nodes": [
        {"name": "a", "op": "pow", "args": ["x", 2.0]},
        {"name": "y", "op": "mul", "args": ["a", "x"]},
    ],
    "returned": {},
}


def test_two_paths_of_a_graph_add_up() -> None:
    """d(x^3)/dx = 3 x^2, of which the product's own edge gives a and the other one 2 x x."""
    found = drawing.Computed(GRAPH)
    assert found.edges == [("x", "a", 4), ("a", "y", 2), ("x", "y", 4)]
    assert found.grads == {"x": 12, "a": 2, "y": 1}


@pytest.mark.parametrize("kind", ["values", "grads"])
def test_another_number_than_a_column_returns_stops_the_build(kind: str) -> None:
    returned = {"values": {"y": 8.0}, "grads": {"x": 12.0}}
    drawing.Computed(GRAPH | {"returned": {"jax_impl": returned}})
    name = next(iter(returned[kind]))
    wrong = returned | {kind: {name: 11.0}}
    with pytest.raises(drawing.ExtensionError, match=f"jax_impl has other {kind}: .'{name}'"):
        drawing.Computed(GRAPH | {"returned": {"jax_impl": wrong}})


def test_shapes_are_those_of_the_running_function() -> None:
    sizes = {"n": 5.0, "in": 3.0, "out": 2.0}
    found = derivation.variables("linear_layer.loss_and_grads", sizes)
    names = {int(size): name for name, size in sizes.items()}
    assert derivation.shape(found["d_weight"], names, several=True) == "(out, in)"
    assert derivation.shape(found["r"], names, several=True) == "(n, out)"
    assert "x" not in found  # an argument is no step
