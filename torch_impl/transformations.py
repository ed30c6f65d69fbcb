"""Derivatives beyond the gradient: for each example, of vectors, second ones, one's own, checks.

PyTorch: `grad`, `vmap`, `jacrev` and `jacfwd` of `torch.func` take a function and return one, so
they combine. Autograd's own way to a second derivative is a backward pass that is recorded.

The model is linear: logits z = x W^T + b, probabilities P = softmax(z), the loss the mean
cross-entropy. params holds weight W and bias b, x one row for each sample, t the class of each row.
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor as Array
from torch.autograd import Function
from torch.nn.functional import one_hot

from torch_impl import Below, Like, Positive, checked

Params = Annotated[dict[str, Array], {"weight": "classes features", "bias": "classes"}]


@checked
def loss(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> Float[Array, ""]:
    """Cross-entropy: the mean over the rows of -log P_t = log(sum_j exp(z_j)) - z_t.

    Complex parameters go through `logsumexp`; `cross_entropy` would refuse them.
    """
    z = x @ params["weight"].T + params["bias"]
    return torch.mean(torch.logsumexp(z, dim=1) - z[torch.arange(len(t), device=t.device), t])


@checked
def probabilities(params: Params, x: Float[Array, " features"]) -> Float[Array, " classes"]:
    """P_i = exp(z_i) / sum_j exp(z_j) of one sample, without the axis of rows."""
    return torch.softmax(params["weight"] @ x + params["bias"], dim=0)


@checked
def per_example_grads(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> dict[str, Array]:
    """The gradient of each row's own loss: dW_n = (P_n - onehot_n) x_n^T, db_n = P_n - onehot_n.

    `grad` of the loss of one row, and `vmap` over the rows; `.backward()` has only their sum.

    Returns:
        The gradients under the names of the parameters, with the rows as one more axis in front.
    """
    # forward, backward
    return torch.func.vmap(torch.func.grad(_loss_of_one), in_dims=(None, 0, 0))(params, x, t)


@checked
def jacobian_by_rows(
    params: Params, x: Float[Array, " features"]
) -> Float[Array, "classes features"]:
    """J_ij = dP_i/dx_j = P_i (W_ij - sum_k P_k W_kj) of one sample, in reverse mode.

    `jacrev`: one pull-back for each output, of a row of the unit matrix, all at once by `vmap`.
    """
    return torch.func.jacrev(probabilities, argnums=1)(params, x)


@checked
def jacobian_by_columns(
    params: Params, x: Float[Array, " features"]
) -> Float[Array, "classes features"]:
    """The same J_ij = dP_i/dx_j, in forward mode.

    `jacfwd`: one push-forward for each input, of a column of the unit matrix, by `vmap`.
    """
    return torch.func.jacfwd(probabilities, argnums=1)(params, x)


@checked
def hessian_vector_product(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    direction: Like[Params, " params"],
) -> Params:
    """H v, the derivative of the gradient along v: forward mode over reverse; H is never built.

    `jvp` of `grad`. The labels fall out: this loss curves the same whatever they are.

    Args:
        direction: v, an array for each parameter.

    Source: Pearlmutter, "Fast exact multiplication by the Hessian", 1994.
    """
    gradient = torch.func.grad(lambda params: loss(params, x, t))
    return torch.func.jvp(gradient, (params,), (direction,))[1]


@checked
def second_derivative(x: Float[Array, ""]) -> dict[str, Array]:
    """y = x**3, dy/dx = 3 x**2 and d2y/dx2 = 6 x.

    `create_graph` records the backward pass, so that it can be differentiated; without it the
    second call raises.
    """
    x = x.detach().requires_grad_()
    y = x**3
    (d_x,) = torch.autograd.grad(y, x, create_graph=True)
    (d_xx,) = torch.autograd.grad(d_x, x)
    return {"y": y.detach(), "dy/dx": d_x.detach(), "d2y/dx2": d_xx}


class _CrossEntropy(Function):
    """The mean cross-entropy of logits (n, classes), with (P - onehot) / n for its derivative."""

    @staticmethod
    def forward(z: Array, t: Array) -> Array:
        """The value."""
        return torch.mean(torch.logsumexp(z, dim=1) - z[torch.arange(len(t), device=t.device), t])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Array, Array], _output: Array) -> None:
        """What `backward` needs."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, d_value: Array) -> tuple[Array, None]:
        """The cotangent of the logits; the labels have none."""
        z, t = ctx.saved_tensors
        onehot = one_hot(t.long(), z.shape[1])
        return d_value * (torch.softmax(z, dim=1) - onehot) / len(t), None


_cross_entropy: Any = _CrossEntropy.apply


@checked
def own_derivative(
    logits: Float[Array, "n classes"], t: Below[Int[Array, " n"], " classes"]
) -> tuple[Float[Array, ""], Float[Array, "n classes"]]:
    """The mean cross-entropy, and (P - onehot) / n by the logits: a backward pass of one's own.

    A `torch.autograd.Function`. It saves its inputs, of which `backward` makes what can be
    differentiated again; a P saved by the forward pass would be a constant to that.

    Args:
        logits: one score for each class.
    """
    logits = logits.detach().requires_grad_()
    # forward
    value = _cross_entropy(logits, t)
    # backward
    value.backward()
    return value.detach(), logits.grad


@checked
def central_differences(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    *,
    step: Positive,
) -> Params:
    """(loss(p + h) - loss(p - h)) / 2h for each entry p of the parameters, to check a gradient.

    Args:
        step: h. The formula errs by h**2 times a sixth of the third derivative, rounding by about
            eps / h: the cube root of eps is about right.

    `torch.autograd.gradcheck` compares with it, and raises where a derivative is wrong.
    """

    def slope(direction: Params) -> Array:
        above = loss(_moved(params, step, direction), x, t)
        below = loss(_moved(params, -step, direction), x, t)
        return (above - below) / (2 * step)

    return _for_each_entry(slope, params)


@checked
def complex_step(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    *,
    step: Positive,
) -> Params:
    """Im loss(p + ih) / h for each entry p of the parameters: nothing is subtracted.

    It needs a loss that is analytic, in floating point too: `abs` would lose the imaginary part.

    Args:
        step: h, as small as one likes, such as 1e-20.

    Source: Squire and Trapp, "Using complex variables to estimate derivatives of real functions",
    1998.
    """

    def slope(direction: Params) -> Array:
        # x is made complex as well: a matrix product promotes nothing
        return loss(_moved(params, 1j * step, direction), x + 0j, t).imag / step

    return _for_each_entry(slope, params)


def _loss_of_one(params: Params, x: Array, t: Array) -> Array:
    return loss(params, x[None], t[None])


def _moved(params: Params, step: complex, direction: Params) -> Params:
    return {name: p + step * direction[name] for name, p in params.items()}


def _for_each_entry(slope: Callable[[Params], Array], params: Params) -> Params:
    """The slope along each entry of the parameters: along 1 there and 0 everywhere else."""
    zeros = {name: torch.zeros_like(p) for name, p in params.items()}
    slopes = {}
    for name, p in params.items():
        units = torch.eye(p.numel(), dtype=p.dtype, device=p.device).reshape(-1, *p.shape)
        along = [slope(zeros | {name: unit}) for unit in units]
        slopes[name] = torch.stack(along).reshape(p.shape)
    return slopes


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
