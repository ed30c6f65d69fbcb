"""A loop in PyTorch that forgets something.

The loop below fits a line by gradient descent. Its first step is right, and every later one is not:
find out why, and mend it.

Hint: `backward` does not write a gradient into `.grad`: it adds to what stands there.
"""

import torch

from torch_impl.linear_regression import loss


def fit(params, x, t, *, learning_rate, steps):
    """w and b after the last step, and the loss before each."""
    params = {name: p.detach().clone().requires_grad_() for name, p in params.items()}
    losses = []
    for _ in range(steps):
        # forward
        value = loss(params, x, t)
        losses.append(value.detach())
        # backward
        value.backward()
        # update
        with torch.no_grad():
            for p in params.values():
                p -= learning_rate * p.grad
    return {name: p.detach() for name, p in params.items()}, torch.stack(losses)


if __name__ == "__main__":
    from torch_impl import linear_regression
    from triptych import data
    from triptych.exercise import case, grade

    grade(
        fit,
        linear_regression.fit,
        case(*data.line(), learning_rate=0.1, steps=1),
        case(*data.line(), learning_rate=0.1, steps=2),
        case(*data.noisy_line(), learning_rate=0.05, steps=20),
    )
