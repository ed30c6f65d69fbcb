"""What people use, on the same task and data: scikit-learn, HIPS autograd, Optax, torch.nn.

Each is written the way its own documentation writes it. Rows are gathered and losses kept as in the
columns, and a peer's result has to agree like one of ours.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.cases import Target
from triptych.column import Column

Params = dict[str, np.ndarray]
Arguments = tuple[Params, np.ndarray, np.ndarray, np.ndarray]
"""Start, x, t and batches, in NumPy."""
Expected = Callable[[np.ndarray], Params]
"""What training on these batches must lead to."""
LAYERS = ("fc1", "fc2", "output")


def optax(arguments: Arguments, optimizer: str, rate: float, expected: Expected) -> Target:
    """Optax with a step under `jax.jit`, called from a Python loop."""
    import jax
    import jax.numpy as jnp
    import optax

    column = Column("jax_impl")
    _, x, t, batches = (column.take_in(value) for value in arguments)
    algorithm = {"sgd": optax.sgd, "adam": optax.adam}[optimizer](rate)

    def loss(params: Any, x: Any, t: Any) -> Any:
        h = x
        for layer in LAYERS:
            z = h @ params[f"{layer}.weight"].T + params[f"{layer}.bias"]
            h = jax.nn.relu(z)
        return optax.softmax_cross_entropy_with_integer_labels(z, t).mean()

    @jax.jit
    def step(params: Any, state: Any, rows: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(params, x[rows], t[rows])
        updates, state = algorithm.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    def run(params: Any, state: Any) -> Any:
        losses = []
        for rows in batches:  # to take them apart is timed as well, as in the column
            params, state, value = step(params, state, rows)
            losses.append(value)
        return params, jnp.stack(losses)

    def fresh() -> Any:
        params = column.take_in(arguments[0])
        return column.synchronize((params, algorithm.init(params)))

    return Target(fresh, run, column.synchronize, trained(column), partial(expected, arguments[3]))


def torch_optim(arguments: Arguments, optimizer: str, rate: float, expected: Expected) -> Target:
    """`torch.nn` and `torch.optim` in their stock form."""
    import torch
    from torch import nn

    column = Column("torch_impl")
    start, x, t, batches = (column.take_in(value) for value in arguments)
    algorithm = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = nn.Linear(4, 16)
            self.fc2 = nn.Linear(16, 8)
            self.output = nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            x = nn.functional.relu(self.fc1(x))
            x = nn.functional.relu(self.fc2(x))
            return self.output(x)

    def fresh() -> Any:
        net = Net().to(x.dtype)
        net.load_state_dict(start)
        return net, algorithm(net.parameters(), lr=rate)

    def run(net: Any, update: Any) -> Any:
        criterion = nn.CrossEntropyLoss()
        losses = []
        for rows in batches:
            update.zero_grad()
            loss = criterion(net(x[rows]), t[rows])
            loss.backward()
            update.step()
            losses.append(loss.detach())
        return dict(net.state_dict()), torch.stack(losses)

    return Target(fresh, run, column.synchronize, trained(column), partial(expected, arguments[3]))


def mlp_classifier(
    arguments: Arguments, optimizer: str, rate: float, expected: Expected, *, epochs: int
) -> Target:
    """scikit-learn's `MLPClassifier`, which shuffles the rows itself, anew in each epoch.

    What `fit` does once, before its first step, is spread over many epochs. The agreement is
    checked after one.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.utils import check_random_state, shuffle

    start, x, t, batches = arguments
    order = shuffle(np.arange(len(x)), random_state=check_random_state(0)).reshape(batches.shape)

    def fresh(epochs: int = epochs) -> Any:
        net = MLPClassifier(
            (16, 8), solver=optimizer, alpha=0, momentum=0, batch_size=batches.shape[1],
            learning_rate_init=rate, max_iter=1, tol=0, n_iter_no_change=np.inf,
            warm_start=True, random_state=0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            # The first pass creates the attributes; the start then replaces what it has learned.
            net.fit(x, t)
        net.coefs_ = [start[f"{layer}.weight"].T.copy() for layer in LAYERS]
        net.intercepts_ = [start[f"{layer}.bias"].copy() for layer in LAYERS]
        return (net.set_params(max_iter=epochs),)

    def run(net: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return net.fit(x, t)

    def outputs(net: Any) -> Params:
        weights = {f"{layer}.weight": w.T for layer, w in zip(LAYERS, net.coefs_, strict=True)}
        biases = {f"{layer}.bias": b for layer, b in zip(LAYERS, net.intercepts_, strict=True)}
        return weights | biases

    def check() -> Any:
        return run(*fresh(1))

    def without_losses() -> Params:
        return {name: p for name, p in expected(order).items() if name != "losses"}

    return Target(fresh, run, lambda net: net, outputs, without_losses, check=check)


def trained(column: Column) -> Any:
    """What is compared after training: the parameters, and the losses of the first ten steps."""

    def outputs(result: Any) -> Params:
        params, losses = column.give_out(result)
        return params | {"losses": losses[:10]}

    return outputs


def autograd_line(
    arguments: tuple[Params, np.ndarray, np.ndarray],
    rate: float,
    epochs: int,
    expected: Callable[[], Params],
) -> Target:
    """HIPS autograd: the loss in its NumPy, `value_and_grad`, the update by hand."""
    import autograd
    import autograd.numpy as anp

    start, x, t = arguments

    def loss(params: Any) -> Any:
        return anp.mean((params["w"] * x + params["b"] - t) ** 2)

    step = autograd.value_and_grad(loss)

    def run(params: Any) -> Any:
        losses = []
        for _ in range(epochs):
            value, grads = step(params)
            params = {name: p - rate * grads[name] for name, p in params.items()}
            losses.append(value)
        return params, np.array(losses)

    outputs = trained(Column("numpy_ref"))
    return Target(lambda: (dict(start),), run, lambda result: result, outputs, expected)
