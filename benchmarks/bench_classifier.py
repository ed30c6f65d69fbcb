"""The classifier 4-16-8-3: training steps, the diabetes data, inference, a wide twin."""

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.cases import (
    EPS,
    FUSED,
    SEED,
    Case,
    Outputs,
    Target,
    in_float64,
    judge,
    kept,
    placed,
    precision,
)
from benchmarks.compile_time import FROM_CPP, from_cpp, unchecked
from benchmarks.counts import classifier_step, inference
from benchmarks.machine import absent, devices, runs
from triptych import data
from triptych.agreement.bounds import TRAINED
from triptych.column import Column

SIZES = (4, 16, 8, 3)
BATCHES = (32, 1024, 32768)
SWEEP = tuple(4**power for power in range(11))
RATE = {"sgd": 0.1, "adam": 0.01}
NUMBERS = {"float64": 8, "float32": 4, "tf32": 4, "bfloat16": 2}
"""Bytes of a number."""
FORMS = {
    "as written": "as_written",
    "un-jitted": "as_written",
    "compiled network": "compiled_network",
    "compiled step": "compiled_step",
    "compiled step, donated": "compiled_step",
    "whole loop": "compiled_loop",
    FROM_CPP: "compiled_loop",
    "CUDA graph": "cuda_graph",
}
MODES = {
    "numpy_ref": ("as written",),
    "torch_impl": (
        *("as written", "compiled network", "compiled step", "whole loop", FROM_CPP, "CUDA graph"),
    ),
    "jax_impl": ("un-jitted", "compiled step", "compiled step, donated", "whole loop"),
}
PEERS = {"scikit-learn": "as written", "optax": "compiled step", "torch.optim": "as written"}
AGAINST_SKLEARN = (442, 4096)
SWEPT = ("as written", "compiled step", "whole loop", "CUDA graph")
FASTEST = {
    ("numpy_ref", "cpu"): "as written",
    ("torch_impl", "cpu"): "as written",
    ("torch_impl", "cuda"): "CUDA graph",
    ("jax_impl", "cpu"): "whole loop",
    ("jax_impl", "cuda"): "whole loop",
}
"""The mode that stands for a column where not every mode has a row."""
_AS_WRITTEN = {("numpy_ref", "as written"), ("torch_impl", "as written")}
_COMPILED = {("jax_impl", "compiled step"), ("jax_impl", "whole loop")}
_COMPILED |= {("torch_impl", "compiled step")}
_NETWORK, _LOOP = ("torch_impl", "compiled network"), ("torch_impl", "whole loop")
_FROM_CPP = ("torch_impl", FROM_CPP)
_GRAPH = ("torch_impl", "CUDA graph")
DEFAULTS: dict[str, dict[tuple[int, str], set[tuple[str, str]]]] = {
    "cpu": {
        (32, "float32"): _AS_WRITTEN
        | _COMPILED
        | {_NETWORK, _LOOP, _FROM_CPP, ("jax_impl", "un-jitted")},
        (1024, "float32"): _AS_WRITTEN | _COMPILED,
        (32768, "float32"): _AS_WRITTEN | _COMPILED,
        (32, "float64"): _AS_WRITTEN | {("jax_impl", "whole loop")},
    }
    | {(batch, "float32"): {("numpy_ref", "as written")} for batch in AGAINST_SKLEARN},
    "cuda": {
        (32, "float32"): _AS_WRITTEN | _COMPILED | {_GRAPH},
        (1024, "float32"): _AS_WRITTEN | {_GRAPH, ("jax_impl", "whole loop")},
        (32768, "float32"): _AS_WRITTEN | _COMPILED | {_GRAPH},
    },
}
"""Which training steps with SGD run without --full, by device, batch and dtype."""
TWINS = {"cpu": ((256, 1024, 1024, 250), 256), "cuda": ((1024, 4096, 4096, 1000), 8192)}
TIMED_COMPILERS = ("compiled network", "compiled step", "whole loop", FROM_CPP)
"""Modes whose first call is timed in a process of its own."""
REDUCED = ("tf32", "bfloat16")
TWIN_DTYPES = {"cpu": ("float32",), "cuda": ("float32", *REDUCED)}
TASKS = {"sgd": "classifier step, SGD", "adam": "classifier step, Adam"}
EPOCH = "diabetes, an epoch"


FEW = {"un-jitted": 4, "equal bits": 20}
"""K of forms so slow that they would hold up the turns of the others."""


def steps_of(batch: int, mode: str = "") -> int:
    """K: enough steps for a round of a millisecond or more, few where a batch is large.

    What a form does once, such as making a network and an optimiser, is spread over the K steps.
    """
    return min(FEW.get(mode, 100), max(2, 2**17 // batch))


@lru_cache(4)
def arguments(batch: int, steps: int, sizes: tuple[int, ...], dtype: str) -> peers.Arguments:
    """Start, rows of order 1, their classes, and the numbers of the rows that each step sees."""
    rng = np.random.default_rng(SEED)
    n = batch * steps
    kept = "float64" if dtype == "float64" else "float32"
    x, t = rng.normal(size=(n, sizes[0])).astype(kept), rng.integers(0, sizes[-1], n)
    return data.classifier_start(SEED, sizes, dtype=kept), x, t, data.batches(n, batch, 1, SEED)


def expected_training(case: Case, optimizer: str, given: peers.Arguments) -> peers.Expected:
    """What training from there must lead to."""

    def expected(batches: np.ndarray) -> Outputs:
        with precision("float64"):
            params, losses = judge(case.column).call(
                "classifier", "fit", *in_float64(given[:3]), batches,
                optimizer=optimizer, learning_rate=RATE[optimizer],
            )  # fmt: skip
        return params | {"losses": losses[:10]}

    return expected


def training_bound(optimizer: str, dtype: str, batch: int, steps: int) -> float:
    """How far a parameter may be off: the bound for the next larger number of steps.

    Among 100000 rows, float32 rounds about one over the edge of a ReLU: one row, of the batch that
    it is in, then passes in one column and not in the other. Adam divides a gradient by its size,
    so there a row can turn a whole step. In float64 no row does.
    """
    bounds = TRAINED[optimizer, dtype]
    bound = bounds[min(known for known in bounds if known >= steps)]
    if dtype == "float64" or batch * steps <= 10_000:
        return bound
    return bound + RATE[optimizer] * (1 / batch if optimizer == "sgd" else 1)


def training(case: Case, optimizer: str, given: peers.Arguments) -> Target:
    """A loop of training steps: a column's, in one of its forms, or a peer's."""
    rate = RATE[optimizer]
    expected = expected_training(case, optimizer, given)
    if case.column == "scikit-learn":
        epochs = case.steps // len(given[3])
        return peers.mlp_classifier(given, optimizer, rate, expected, epochs=epochs)
    if case.mode == FUSED:
        from benchmarks import fused

        return fused.classifier(given, rate, expected)
    if case.peer:
        make = {"optax": peers.optax, "torch.optim": peers.torch_optim}[case.column]
        return make(given, optimizer, rate, expected)
    column = Column(case.column, case.device)
    _, x, t, batches = (placed(column, value, case.dtype) for value in given)

    def fresh() -> Any:
        return column.synchronize((placed(column, given[0], case.dtype), x, t, batches))

    run = unchecked(column, _loop(case, column, optimizer, fresh))
    one = given[3][0]
    return Target(
        fresh, run, column.synchronize, peers.trained(column), partial(expected, given[3]),
        transfer=given[0] | {"x": given[1][one], "t": given[2][one]},
    )  # fmt: skip


def _loop(case: Case, column: Column, optimizer: str, fresh: Any) -> Any:
    rate = RATE[optimizer]
    if case.mode == "compiled step, donated":
        return _donating(column, rate)
    if case.mode == "CUDA graph":
        # recorded once, before the clock starts, and replayed in each round
        replay = unchecked(column, column.execution.cuda_graph)(*fresh(), learning_rate=rate)
        return lambda params, *_: replay(params)
    if case.mode == FROM_CPP:
        return partial(from_cpp(column), learning_rate=rate)
    if optimizer == "sgd":
        return partial(getattr(column.execution, FORMS[case.mode]), learning_rate=rate)
    return partial(column.classifier.fit, optimizer=optimizer, learning_rate=rate)


def _donating(column: Column, rate: float) -> Any:
    """JAX's compiled step, given its parameters' memory to write the new ones to."""
    import jax
    import jax.numpy as jnp

    step = jax.jit(column.execution._step.__wrapped__, donate_argnums=0)

    def run(params: Any, x: Any, t: Any, batches: Any) -> Any:
        losses, there = [], jnp.asarray(rate)
        for rows in batches:
            params, value = step(params, x, t, rows, there)
            losses.append(value)
        return params, jnp.stack(losses)

    return run


def step_case(column: str, mode: str, batch: int, optimizer: str = "sgd", **kwargs: Any) -> Case:
    """A training step on rows of order 1."""
    dtype = kwargs.get("dtype", "float32")
    steps, epochs = steps_of(batch, mode), 1
    if column == "scikit-learn":
        # `fit` prepares every row before its first step, so few rows and many epochs are timed.
        steps, epochs = min(50, max(4, 2**15 // batch)), 20
    count = classifier_step(SIZES, batch, NUMBERS[dtype], optimizer=optimizer)

    make = partial(_make_step, optimizer=optimizer, steps=steps)
    return Case(
        "classifier", TASKS[optimizer], column, mode, batch, steps * epochs, make,
        **count._asdict(), **kwargs,
    )  # fmt: skip


def _make_step(case: Case, *, optimizer: str, steps: int) -> Target:
    assert case.batch is not None
    target = training(case, optimizer, arguments(case.batch, steps, SIZES, case.dtype))
    return target._replace(bound=training_bound(optimizer, case.dtype, case.batch, steps))


def epoch_case(column: str, mode: str, **kwargs: Any) -> Case:
    """An epoch of 10 steps of 32 rows over the diabetes study; ten epochs are chained."""
    epochs, batch = 10, 32
    count = classifier_step(SIZES, batch, NUMBERS["float32"])
    per_epoch = data.TRAINING_ROWS // batch
    return Case(
        "classifier", EPOCH, column, mode, batch, epochs, _make_epochs,
        flops=count.flops * per_epoch, bytes=count.bytes * per_epoch, **kwargs,
    )  # fmt: skip


def _make_epochs(case: Case) -> Target:
    assert case.batch is not None
    (x, t), _ = data.diabetes(SEED, dtype="float32")
    start = data.classifier_start(SEED, dtype="float32")
    rows = data.batches(len(x), case.batch, case.steps, SEED)
    target = training(case, "sgd", (start, x, t, rows))
    return target._replace(bound=training_bound("sgd", "float32", case.batch, len(rows)))


def inference_case(column: str, mode: str, batch: int, **kwargs: Any) -> Case:
    """The probabilities of a batch of rows; a step takes the next batch."""
    count = inference(SIZES, batch, NUMBERS["float32"])
    return Case(
        "classifier", "classifier, inference", column, mode, batch, steps_of(batch),
        _make_inference, **count._asdict(), **kwargs,
    )  # fmt: skip


def _make_inference(case: Case) -> Target:
    assert case.batch is not None
    given, rows, _, _ = arguments(case.batch, case.steps, SIZES, "float32")
    column = Column(case.column, case.device)
    params = column.take_in(given)
    batches = [column.take_in(part) for part in np.split(rows, case.steps)]
    one = unchecked(column, column.classifier.probabilities)

    def outputs(result: Any) -> Outputs:
        return {"P": np.concatenate(column.give_out(result))}

    def expected() -> Outputs:
        with precision("float64"):
            exact = in_float64((given, rows))
            return {"P": judge(case.column).call("classifier", "probabilities", *exact)}

    def run(params: Any, batches: Any) -> Any:
        return [one(params, x) for x in batches]

    return Target(lambda: (params, batches), run, column.synchronize, outputs, expected, 16, "eps")


def twin_case(
    column: str, mode: str, *, dtype: str = "float32", size: str = "", **kwargs: Any
) -> Case:
    """A training step of a network so wide that the arithmetic counts; a smaller one on a CPU.

    Args:
        column: a column.
        mode: one of its modes.
        dtype: of the row.
        size: the device whose twin it is; by default the row's own.
    """
    sizes, batch = TWINS[size or kwargs.get("device", "cpu")]
    name = "-".join(map(str, sizes))
    return Case(
        "classifier", f"wide twin {name}, SGD", column, mode, batch, 4,
        partial(_make_twin, sizes=sizes), dtype=dtype,
        **classifier_step(sizes, batch, NUMBERS[dtype])._asdict(), **kwargs,
    )  # fmt: skip


def _make_twin(case: Case, *, sizes: tuple[int, ...]) -> Target:
    assert case.batch is not None
    batch, steps, dtype = case.batch, case.steps, case.dtype
    given = arguments(batch, steps, sizes, dtype)
    target = training(case, "sgd", given)
    column = Column(case.column, case.device)
    start, x, t, batches = (placed(column, value, dtype) for value in given)

    def check() -> Any:
        # Beside a bfloat16 weight the update is too small to see: compare the gradient too.
        trained = column.synchronize(target.run(*target.start()))
        rows = batches[0]
        return trained, column.classifier.loss_and_grads(start, x[rows], t[rows])[1]

    def outputs(result: Any) -> Outputs:
        grads = column.give_out(result[1])
        return target.outputs(result[0]) | {f"d {name}": g for name, g in grads.items()}

    def expected() -> Outputs:
        return _expected_twin(judge(case.column).name, sizes, batch, steps, dtype)

    # a gradient is within 16 eps, and an update of it at the rate 0.1 adds two roundings; the
    # eps of the reduced precisions is half the distance between two of their numbers
    bound = max(16, steps * (16 * RATE["sgd"] + 2)) * (2 if case.dtype in REDUCED else 1)
    return target._replace(
        check=check, outputs=outputs, expected=expected, bound=bound, unit="eps",
        as_a_whole=turned(sizes, batch, case.dtype),
    )  # fmt: skip


def turned(sizes: tuple[int, ...], batch: int, dtype: str) -> dict[str, float]:
    """Outputs behind a ReLU where rounding turns some of its masks, and their bound.

    A pre-activation that is within its rounding of 0 falls on the other side, and its row's whole
    part of the gradient comes or goes. Emulated at 1024-4096-4096-1000 with 8192 rows, in float32,
    TF32 and bfloat16, a quarter of eps of the masks turned (in float32, 5 of 67 million), and the
    gradients were 2 sqrt(share) off in the Frobenius norm, that is sqrt(eps): three times that is
    allowed. A factor of two in a gradient is a distance of 1. Where not one mask is expected to
    turn, and in the last layer, which has none, the bound of single entries holds.
    """
    eps = EPS[dtype]
    if 0.25 * eps * batch * sum(sizes[1:-1]) < 0.1:
        return {}
    hidden = [f"{layer}.{part}" for layer in peers.LAYERS[:-1] for part in ("weight", "bias")]
    return dict.fromkeys([*hidden, *(f"d {name}" for name in hidden)], 3 * eps**0.5)


def _expected_twin(
    judge: str, sizes: tuple[int, ...], batch: int, steps: int, dtype: str
) -> Outputs:
    """What every dtype of a twin is held to: TF32 and bfloat16 start from float32's numbers."""

    def compute() -> Outputs:
        start, x, t, batches = in_float64(arguments(batch, steps, sizes, dtype))
        column, rows = Column(judge), batches[0]
        train = {"optimizer": "sgd", "learning_rate": RATE["sgd"]}
        with precision("float64"):
            grads = column.call("classifier", "loss_and_grads", start, x[rows], t[rows])[1]
            params, losses = column.call("classifier", "fit", start, x, t, batches, **train)
        return params | {"losses": losses} | {f"d {name}": g for name, g in grads.items()}

    start_of = "float64" if dtype == "float64" else "float32"
    return kept(f"{judge}-{sizes}-{batch}-{steps}-{start_of}", compute)


def cases() -> Iterator[Case]:
    """Every row; those that are not `default` need --full or --sweep."""
    for device in devices():
        for column, modes in MODES.items():
            for mode in modes:
                if mode == FROM_CPP and device != "cpu":
                    continue
                if runs(column, FORMS[mode], device):
                    yield from _rows(column, mode, device)
    for peer, mode in PEERS.items():
        if not absent(peer):
            yield from _peer_rows(peer, mode)
    if not absent("numba"):
        for batch in sorted({*BATCHES, *AGAINST_SKLEARN, *SWEEP}):
            when = "default" if batch in (*BATCHES, *AGAINST_SKLEARN) else "sweep"
            yield step_case("numba", FUSED, batch, when=when)


def _rows(column: str, mode: str, device: str) -> Iterator[Case]:
    """What a column has to show in one mode on one device."""
    fastest = mode == FASTEST[column, device]
    defaults = DEFAULTS[device]
    for batch in sorted({*BATCHES, *AGAINST_SKLEARN, *SWEEP}):
        for dtype in ("float32", "float64"):
            when = "default" if (column, mode) in defaults.get((batch, dtype), ()) else "full"
            if when == "full" and dtype == "float32" and mode in SWEPT and batch in SWEEP:
                when = "sweep"
            elif when == "full" and batch not in BATCHES:
                continue
            timed = (batch, dtype) == (32, "float32") and mode in TIMED_COMPILERS
            yield step_case(
                column, mode, batch, dtype=dtype, device=device, when=when, compile_time=timed
            )
    if mode == "as written" or (column, mode) == ("jax_impl", "whole loop"):
        for batch in BATCHES:
            for dtype in ("float32", "float64"):
                small = (batch, dtype, device) == (32, "float32", "cpu")
                when = "default" if small else "full"
                yield step_case(column, mode, batch, "adam", dtype=dtype, device=device, when=when)
    if fastest:
        yield epoch_case(column, mode, device=device, when="default" if device == "cpu" else "full")
        for dtype in TWIN_DTYPES[device]:
            plain = (device, dtype) == ("cuda", "float32")
            when = "full" if plain else "default"
            yield twin_case(column, mode, dtype=dtype, device=device, when=when)
        if device != "cpu":  # the CPU's twin, so that the two can be compared
            yield twin_case(column, mode, size="cpu", device=device, when="default")
    if mode == ("compiled step" if column == "jax_impl" else "as written"):
        for batch in BATCHES:
            when = "default" if (batch, device) == (1024, "cpu") else "full"
            yield inference_case(column, mode, batch, device=device, when=when)


def _peer_rows(peer: str, mode: str) -> Iterator[Case]:
    for batch in sorted({*BATCHES, *AGAINST_SKLEARN}):
        wanted = batch == 32 or (peer == "scikit-learn" and batch in AGAINST_SKLEARN)
        yield step_case(peer, mode, batch, when="default" if wanted else "full")
    if peer != "scikit-learn":  # its Adam has epsilon in another place, and does not agree
        yield step_case(peer, mode, 32, "adam")


def test_classifier(case: Case, measure: Any) -> None:
    """Check, warm up, time."""
    measure(case)
