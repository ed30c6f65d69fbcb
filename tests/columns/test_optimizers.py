"""SGD and Adam: by hand, against fractions, and against the frameworks' own."""

from typing import Any

import numpy as np
import pytest

from triptych.agreement.measures import assert_within


def draw(dtype: np.dtype, seed: Any = 0) -> Any:
    rng = np.random.default_rng(seed)
    shapes = {"a": (3, 2), "b": (4,), "c": ()}
    return [
        {name: np.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}
        for _ in range(2)
    ]


def test_sgd_step(column: Any, dtype: np.dtype) -> None:
    params, grads = draw(dtype)
    after = column.call("optimizers", "sgd_step", params, grads, learning_rate=0.5)
    for name in params:
        # a rate of 1/2 and one rounding: exact everywhere
        assert_within(name, after[name], params[name] - grads[name] / 2, 0, "ulp")


def test_adam_start(column: Any, dtype: np.dtype) -> None:
    params, _ = draw(dtype)
    state = column.call("optimizers", "adam_start", params)
    assert state.keys() == {"step", "m", "v"}
    assert state["step"] == 0
    whole = "int32" if column.name == "jax_impl" and dtype == np.float32 else "int64"
    assert state["step"].dtype == whole
    for moment in (state["m"], state["v"]):
        assert {n: (a.shape, a.dtype) for n, a in moment.items()} == {
            n: (a.shape, a.dtype) for n, a in params.items()
        }
        assert not any(a.any() for a in moment.values())


def test_first_adam_step_has_the_size_of_the_rate(column: Any, dtype: np.dtype) -> None:
    params, grads = draw(dtype)
    after, state = column.call(
        "optimizers",
        "adam_step",
        params,
        grads,
        column.call("optimizers", "adam_start", params),
        learning_rate=0.01,
    )
    assert state["step"] == 1
    for name in params:
        expected = params[name] - 0.01 * np.sign(grads[name])
        # eps = 1e-8 beside |g|, and the rounding of the moments
        slack = 0.01 * (1e-8 / np.min(np.abs(grads[name])) + 8 * np.finfo(dtype).eps)
        assert_within(
            name, after[name], expected.astype(dtype), slack + np.finfo(dtype).eps, "absolute"
        )


def adam_in_longdouble(
    params: Any, history: Any, rate: Any, beta1: Any, beta2: Any, eps: Any
) -> Any:
    """Algorithm 1 of the paper, in extended precision."""
    big = np.longdouble
    rate, beta1, beta2, eps = big(rate), big(beta1), big(beta2), big(eps)
    params = {name: p.astype(big) for name, p in params.items()}
    m = {name: 0 * p for name, p in params.items()}
    v = {name: 0 * p for name, p in params.items()}
    for step, grads in enumerate(history, 1):
        for name, g in grads.items():
            g = g.astype(big)
            m[name] = beta1 * m[name] + (1 - beta1) * g
            v[name] = beta2 * v[name] + (1 - beta2) * g * g
            m_hat, v_hat = m[name] / (1 - beta1**step), v[name] / (1 - beta2**step)
            params[name] = params[name] - rate * m_hat / (np.sqrt(v_hat) + eps)
    return params


@pytest.mark.parametrize("steps", [1, 3, 20])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9), (0.0, 0.0)])
def test_adam_against_the_paper(column: Any, dtype: np.dtype, steps: Any, betas: Any) -> None:
    params, _ = draw(dtype)
    history = [draw(dtype, seed)[1] for seed in range(steps)]
    # a large epsilon, so that its place (outside the root, after the bias correction) matters
    settings = {"learning_rate": 0.01, "beta1": betas[0], "beta2": betas[1], "eps": 1e-3}
    after, state = params, column.call("optimizers", "adam_start", params)
    for grads in history:
        after, state = column.call("optimizers", "adam_step", after, grads, state, **settings)
    expected = adam_in_longdouble(params, history, 0.01, betas[0], betas[1], 1e-3)
    for name in params:
        # a step moves a parameter by about 0.01, with some 10 roundings; each new parameter, of
        # order 1, is rounded once
        bound = steps * (0.01 * 10 + 2) * np.finfo(dtype).eps
        assert_within(name, after[name], expected[name].astype(dtype), bound, "absolute")


def test_adam_defaults_are_the_papers(column: Any, dtype: np.dtype) -> None:
    params, grads = draw(dtype)
    # so small that epsilon has its say
    tiny = {name: g * dtype.type(1e-8) for name, g in grads.items()}
    start = column.call("optimizers", "adam_start", params)
    _, state = column.call("optimizers", "adam_step", params, tiny, start, learning_rate=1)
    usual, named = (
        column.call("optimizers", "adam_step", params, tiny, state, learning_rate=1, **settings)
        for settings in ({}, {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8})
    )
    for name in params:
        assert_within(name, usual[0][name], named[0][name], 0, "ulp")


def test_adam_step_works_under_jit(columns: Any, dtype: np.dtype) -> None:
    import jax

    jax_impl = columns[2]
    params, grads = (jax_impl.from_numpy(d) for d in draw(dtype))
    state = jax_impl.optimizers.adam_start(params)

    def step(p: Any, g: Any, s: Any) -> Any:
        return jax_impl.optimizers.adam_step(p, g, s, learning_rate=0.01)

    plain, traced = step(params, grads, state), jax.jit(step)(params, grads, state)
    for name in params:
        assert_within(name, np.asarray(traced[0][name]), np.asarray(plain[0][name]), 4, "eps")
    assert traced[1]["step"] == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_by_hand_equals_torch_optim(columns: Any, dtype: np.dtype, optimizer: Any) -> None:
    import torch

    torch_impl = columns[1]
    params, _ = draw(dtype)
    leaves = {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}
    algorithm: Any = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    theirs = algorithm(leaves.values(), lr=0.01)
    ours = torch_impl.from_numpy(params)
    state = torch_impl.optimizers.adam_start(ours)
    for seed in range(20):
        grads = torch_impl.from_numpy(draw(dtype, seed)[1])
        for name, leaf in leaves.items():
            leaf.grad = grads[name]
        theirs.step()
        if optimizer == "sgd":
            ours = torch_impl.optimizers.sgd_step(ours, grads, learning_rate=0.01)
        else:
            ours, state = torch_impl.optimizers.adam_step(ours, grads, state, learning_rate=0.01)
    for name in params:
        # 20 updates of about 0.01 each, as above, in each of the two
        bound = 2 * 20 * (0.01 * 10 + 2) * np.finfo(dtype).eps
        assert_within(name, leaves[name].detach().numpy(), ours[name].numpy(), bound, "absolute")


# PyTorch's objects, used as a network uses them


def trained(optimizer: Any, layer: Any, x: Any, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        (layer(x) ** 2).mean().backward()
        optimizer.step()


def layer_and_rows() -> Any:
    import torch

    layer = torch.nn.Linear(3, 2)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rng.normal(size=(2, 3))))
        layer.bias.copy_(torch.tensor(rng.normal(size=2)))
    return layer, torch.tensor(rng.normal(size=(8, 3)), dtype=torch.float32)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_the_object_trains_a_network_as_the_stock_one_does(columns: Any, name: str) -> None:
    import torch

    (ours, x), (theirs, _) = layer_and_rows(), layer_and_rows()
    trained(getattr(columns[1].optimizers, name)(ours.parameters(), lr=0.01), ours, x, 20)
    trained(getattr(torch.optim, name)(theirs.parameters(), lr=0.01), theirs, x, 20)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        bound = 2 * 20 * (0.01 * 10 + 2) * float(np.finfo(np.float32).eps)
        assert_within(name, p.detach().numpy(), q.detach().numpy(), bound, "absolute")


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_the_object_stays_out_of_the_graph(columns: Any, name: str) -> None:
    layer, x = layer_and_rows()
    before = list(layer.parameters())
    trained(getattr(columns[1].optimizers, name)(layer.parameters(), lr=0.01), layer, x, 3)
    for p, same in zip(layer.parameters(), before, strict=True):
        assert p is same  # in place
        assert p.is_leaf
        assert p.grad_fn is None


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_the_object_leaves_alone_what_has_no_gradient(columns: Any, name: str) -> None:
    import torch

    used, frozen = (torch.ones(2, requires_grad=True) for _ in range(2))
    optimizer = getattr(columns[1].optimizers, name)([frozen, used], 0.1)
    used.sum().backward()
    optimizer.step()
    assert torch.equal(frozen, torch.ones(2))
    assert torch.all(used < 1)


def test_the_object_goes_on_from_its_state(columns: Any) -> None:
    adam = columns[1].optimizers.Adam
    (whole, x), (cut, _) = layer_and_rows(), layer_and_rows()
    trained(adam(whole.parameters(), lr=0.01), whole, x, 6)
    first = adam(cut.parameters(), lr=0.01)
    trained(first, cut, x, 3)
    second = adam(cut.parameters(), lr=1)  # the rate comes back with the state
    second.load_state_dict(first.state_dict())
    trained(second, cut, x, 3)
    for p, q in zip(whole.parameters(), cut.parameters(), strict=True):
        assert_within("Adam", p.detach().numpy(), q.detach().numpy(), 0, "ulp")


def test_the_objects_defaults_are_the_papers(columns: Any) -> None:
    import torch

    adam = columns[1].optimizers.Adam([torch.zeros(1, requires_grad=True)], lr=0.1)
    (group,) = adam.param_groups
    assert (group["betas"], group["eps"]) == ((0.9, 0.999), 1e-8)


def test_the_object_has_groups(columns: Any) -> None:
    layer, x = layer_and_rows()
    bias = layer.bias.detach().clone()
    groups = [{"params": [layer.weight]}, {"params": [layer.bias], "lr": 0.0}]
    trained(columns[1].optimizers.SGD(groups, lr=0.1), layer, x, 2)
    assert (layer.bias == bias).all()


def test_live_parameters_give_plain_arrays(columns: Any) -> None:
    """A step on tracked tensors must not grow a graph from step to step."""
    import torch

    params = {"w": torch.ones(2, requires_grad=True)}
    grads = {"w": torch.ones(2, requires_grad=True)}
    optimizers = columns[1].optimizers
    after = optimizers.sgd_step(params, grads, learning_rate=0.5)
    adam, _ = optimizers.adam_step(params, grads, optimizers.adam_start(params), learning_rate=0.5)
    for found in (after, adam):
        assert found["w"].grad_fn is None
        assert not found["w"].requires_grad
    assert params["w"].grad is None
    assert (params["w"] == 1).all()
