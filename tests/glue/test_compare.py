"""`triptych compare`: what it finds, what it prints, and that it can fail."""

import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from triptych import column, comparison, names
from triptych.__main__ import main
from triptych.agreement import exhibits, tables
from triptych.agreement.measures import distance
from triptych.agreement.training import EPOCHS
from triptych.claims import book, verdicts
from triptych.column import Column
from triptych.source.parse import concepts


@pytest.fixture
def all_columns(columns: list[Any]) -> None:
    """Skip where a framework is missing."""


def test_every_concept_has_an_exhibit() -> None:
    assert {exhibit.concept for exhibit in exhibits.EXHIBITS} == set(concepts())


def printed(width: int, **options: Any) -> tuple[str, comparison.Outcome]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    settings = {"dtypes": names.DTYPES, "device": "cpu", "concept": None} | options
    outcome = comparison.compare(console, **settings)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue(), outcome


COMPILED_LONG = {
    *("activations", "data_loading", "data_parallel", "metrics", "normalization", "optimizers"),
    *("regularization", "reproducible", "transformations"),
}


@pytest.mark.usefixtures("all_columns")
@pytest.mark.parametrize(
    "concept",
    [
        pytest.param(concept, marks=pytest.mark.slow if concept in COMPILED_LONG else ())
        for concept in dict.fromkeys(exhibit.concept for exhibit in exhibits.EXHIBITS)
    ],
)
def test_every_exhibit(agree: Any, concept: str) -> None:
    """What the table at the end of a test run has of them."""
    for row in exhibits.agreement(concept=concept):
        agree.row(row)
        assert row.holds, row


@pytest.mark.slow
@pytest.mark.usefixtures("all_columns")
def test_everything_agrees(agree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # the other columns' claims are checked in test_claims.py
    monkeypatch.setattr(comparison, "_check_claims", lambda _: verdicts.check_all(["numpy_ref"]))
    text, outcome = printed(120)
    for row in outcome.rows:
        agree.row(row)
    assert outcome.failures == []
    assert len(outcome.rows) == 3 * sum(len(exhibit.dtypes) for exhibit in exhibits.EXHIBITS)
    assert len(outcome.trainings) == 6
    assert verdicts.summary(outcome.claims) in " ".join(text.split())
    assert f"All columns agree: {len(outcome.rows)} comparisons" in text
    assert max(map(len, text.splitlines())) <= 120
    for training in outcome.trainings:
        assert training.losses.shape == (EPOCHS,)
        assert training.losses[-1] < 0.8 * training.losses[0]
        assert training.test_accuracy > 0.4
    # the table says so much in JSON too
    found = json.loads(json.dumps(comparison.as_json(outcome)))
    assert found["agrees"] is True
    assert found["schema"] == comparison.SCHEMA
    assert found["versions"].keys() == {"python", *names.FRAMEWORKS.values()}
    fields = "concept quantity dtype device pair distance unit bound holds"
    assert found["agreement"][0].keys() >= set(fields.split())


@pytest.mark.usefixtures("all_columns")
@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_fits_the_terminal(width: int) -> None:
    text, _ = printed(width, dtypes=("float64",), concept="gradients")
    assert max(map(len, text.splitlines())) <= width
    assert "gradients" in text


def sabotage(monkeypatch: pytest.MonkeyPatch, concept: str, function: str, change: Any) -> None:
    """Plant a mistake into one function of PyTorch's column."""
    module = getattr(Column("torch_impl"), concept)
    real = getattr(module, function)
    monkeypatch.setattr(module, function, lambda *a, **k: change(real(*a, **k)))


def _transposed(result: Any) -> Any:
    return result[0], {name: g.mT if g.ndim == 2 else g for name, g in result[1].items()}


def _scaled(result: Any) -> Any:
    return {name: p * 1.00001 for name, p in result[0].items()}, result[1]


@pytest.mark.usefixtures("all_columns")
@pytest.mark.parametrize(
    ("concept", "function", "change", "words"),
    [
        ("gradients", "chain", lambda r: (r[0], r[1] | {"x": -r[1]["x"]}), "chain 1 x"),
        ("linear_regression", "fit", lambda r: (r[0], r[1] * (1 + 1e-6)), "allowed 0"),
        ("classifier", "loss_and_grads", _transposed, "shape"),
        ("classifier", "loss", lambda r: r * float("nan"), "NaN"),
        ("optimizers", "adam_step", _scaled, "eps"),
        ("promotion", "arrays", lambda r: r.replace("int16", "int32"), "uint8 + int8"),
        ("aliasing", "add_at", lambda r: r + 1, "added 0"),
        ("aliasing", "write_reshaped", lambda r: r | {"x": r["y"]}, "shape"),
        ("randomness", "with_noise", lambda r: 2 * r, "noise"),
        ("randomness", "dropout", lambda r: r[:-1], "shape"),
        ("transformations", "jacobian_by_columns", lambda r: r * 1.000001, "allowed"),
        ("transformations", "hessian_vector_product", lambda r: r | {"bias": -r["bias"]}, "bias"),
        ("rounding", "exp", lambda r: r * (1 + 2.0**-52), "allowed 0"),
    ],
)
def test_a_planted_mistake_is_found(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    concept: str,
    function: str,
    change: Any,
    words: str,
) -> None:
    sabotage(monkeypatch, concept, function, change)
    assert main(["compare", "--concept", concept, "--dtype", "float64"]) == 1
    out = capsys.readouterr().out
    assert "The columns disagree:" in out
    assert "numpy_ref/torch_impl" in out.replace("\n", "")
    assert words in " ".join(out.split())


# ten times its bound, in eps of both dtypes, or absolute in float32 and in float64
NOTICED: dict[tuple[str, str], float | tuple[float, float]] = {
    ("linear_layer", "loss, gradients"): 110,
    ("linear_layer", "1000 losses"): 630,
    ("linear_layer", "1000 steps"): 13_000,
    ("linear_regression", "100 losses"): 71,
    ("linear_regression", "100 epochs"): 6_500,
    ("classifier", "loss, beside 1"): 82,
    ("classifier", "gradients"): 162,
    ("classifier", "10 steps of SGD"): (1e-5, 2e-14),
    ("classifier", "10 steps of Adam"): (3e-5, 5e-14),
    ("optimizers", "first step of Adam"): 32,
    ("execution", "10 steps of the loop"): (1e-5, 2e-14),
    ("transformations", "Jacobians, curvature"): (5e-5, 9e-14),
    ("data_parallel", "10 steps"): (1e-5, 2e-14),
}


def test_where_nothing_may_differ() -> None:
    """Most exhibits; and what is not in the table of what has to be noticed has a narrow bound."""
    exact = [e for e in exhibits.EXHIBITS if not any(map(e.bound, e.dtypes))]
    assert len(exact) > len(exhibits.EXHIBITS) / 3
    assert exhibits.EXACT("float32") == exhibits.EXACT("float64") == 0
    for exhibit in exhibits.EXHIBITS:
        for dtype in exhibit.dtypes:
            unit = float(np.finfo(dtype).eps) if exhibit.unit == "absolute" else 1
            narrow = exhibit.bound(dtype) <= 200 * unit
            assert narrow or (exhibit.concept, exhibit.quantity) in NOTICED, (
                f"{exhibit.concept}, {exhibit.quantity}: enter ten times its bound in NOTICED"
            )


@pytest.mark.parametrize("exhibit", NOTICED, ids=" ".join)
def test_a_mistake_of_ten_times_the_bound_is_found(exhibit: tuple[str, str]) -> None:
    (found,) = [e for e in exhibits.EXHIBITS if (e.concept, e.quantity) == exhibit]
    for i, dtype in enumerate(found.dtypes):
        right = found.compute(Column("numpy_ref"), dtype)
        floats = [name for name, value in right.items() if value.dtype.kind == "f"]
        value = right[max(floats, key=lambda name: float(np.max(np.abs(right[name]))))]
        noticed = NOTICED[exhibit]
        if isinstance(noticed, tuple):
            wrong = value + np.array(noticed[i], dtype)
        else:
            wrong = value * np.array(1 + noticed * np.finfo(dtype).eps, dtype)
        assert distance("wrong", wrong, value, found.unit).value > found.bound(dtype)


@pytest.mark.usefixtures("all_columns")
def test_another_bit_is_another_digest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bit of one loss, where every bound of the other concepts would look away."""

    def one_bit(result: Any) -> Any:
        losses = result[1].clone()
        losses[3] = torch.nextafter(losses[3], torch.zeros(()))
        return result[0], losses

    torch = pytest.importorskip("torch")
    sabotage(monkeypatch, "reproducible", "fit", one_bit)
    assert main(["compare", "--concept", "reproducible", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    sgd = found["digests"][0]
    assert sgd["numpy_ref"] == sgd["jax_impl"] == sgd["committed"] != sgd["torch_impl"]
    assert any(f.startswith("digest of 100 steps of sgd, torch_impl") for f in found["failures"])


def test_a_dtype_that_a_concept_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--concept", "reproducible", "--dtype", "float64"]) == 2
    assert "reproducible exists in float32 only" in capsys.readouterr().err


def test_a_wrong_claim_of_any_column_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = verdicts.check_all(["numpy_ref"], only=[book.claim("B-count")])
    wrong = [found._replace(column=name, verdict=verdicts.WRONG) for name in names.COLUMNS]
    for part in ("_measure", "_train", "_digests"):
        monkeypatch.setattr(comparison, part, lambda *_: [])
    monkeypatch.setattr(comparison, "_check_claims", lambda _: wrong)
    _, outcome = printed(120)
    for name in names.COLUMNS:
        assert any(failure.startswith(f"claim B-count, {name}") for failure in outcome.failures)


@pytest.mark.usefixtures("all_columns")
def test_a_training_that_drifts_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(
        monkeypatch, "classifier", "fit", lambda r: ({n: p + 1e-9 for n, p in r[0].items()}, r[1])
    )
    _, outcome = printed(120, dtypes=("float64",), concept="classifier")
    assert any("training, float64, numpy_ref/torch_impl" in f for f in outcome.failures)


def test_json_on_standard_output_is_only_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--json", "--concept", "gradients", "--dtype", "float32"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["concept"] for row in found["agreement"]} == {"gradients"}
    assert {row["dtype"] for row in found["agreement"]} == {"float32"}
    assert found["training"] == []


def test_wrong_names_say_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--concept", "clasifier"]) == 2
    assert "did you mean classifier?" in capsys.readouterr().err
    assert main(["compare", "--device", "tpu"]) == 2
    assert "no device 'tpu'; usable here: cpu" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--dtype", "float16"])
    assert stop.value.code == 2
    assert "float32" in capsys.readouterr().err


def test_a_missing_framework_is_a_visible_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    real = column.missing
    gone = lambda name: "jax is not installed" if name == "jax_impl" else real(name)  # noqa: E731
    monkeypatch.setattr(exhibits, "missing", gone)
    monkeypatch.setattr(comparison, "missing", gone)
    text, outcome = printed(120, dtypes=("float32",), concept="gradients")
    assert outcome.failures == []
    assert "JAX did not run: jax is not installed" in text
    assert "not run" in text
    assert "All columns that ran agree" in text


def test_sparkline() -> None:
    assert tables.sparkline([1, 0], 2) == "█▁"
    assert tables.sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert tables.sparkline([3, 3, 3], 2) == "▁▁"
    assert len(tables.sparkline(list(np.arange(200.0)), 24)) == 24
