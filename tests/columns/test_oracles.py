"""TensorFlow as the documents' other witness: both its ways to a derivative, on every graph.

A 7.1 asks three programs for the derivative of x**2 + 3 x + 1 at 2. PyTorch's is a column here;
these are the other two. TensorFlow 1 builds a graph first and runs it afterwards; TensorFlow 2
records while it runs. `make oracles` installs TensorFlow into an environment of its own.
"""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from support.graphs import FORWARD, GRAPHS, INPUTS

from triptych.column import Column

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # which processor it found is no news
tf: Any = pytest.importorskip("tensorflow", reason="no TensorFlow here: `make oracles` has one")


def by_session(graph: str, inputs: Iterable[Any], dtype: Any, wanted: Iterable[str]) -> Any:
    """TensorFlow 1: build the graph, add a node for each derivative, run it in a session."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        fed = {name: v1.placeholder(dtype, (), name) for name in INPUTS.get(graph, ("x",))}
        values = FORWARD[graph](**fed)
        nodes = fed | values
        grads = v1.gradients(list(values.values())[-1], [nodes[name] for name in wanted])
        numbers = dict(zip(fed.values(), inputs, strict=True))
        found, slopes = session.run([values, grads], feed_dict=numbers)
    return found, dict(zip(wanted, slopes, strict=True))


def by_tape(graph: str, inputs: Iterable[Any], dtype: Any, wanted: Iterable[str]) -> Any:
    """TensorFlow 2: the operations run at once, and a tape records them."""
    names = INPUTS.get(graph, ("x",))
    variables = {n: tf.Variable(x, dtype=dtype) for n, x in zip(names, inputs, strict=True)}
    with tf.GradientTape() as tape:
        values = FORWARD[graph](**variables)
    nodes = variables | values
    grads = tape.gradient(list(values.values())[-1], [nodes[name] for name in wanted])
    found = {name: node.numpy() for name, node in values.items()}
    return found, {n: g.numpy() for n, g in zip(wanted, grads, strict=True)}


def test_quadratic_in_tensorflow_1() -> None:
    """Define-then-run: until the session runs it, no node has a value."""
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32)
        y = x**2 + 3 * x + 1
        grad = v1.gradients(y, x)
        for node in (x, y, *grad):
            assert not hasattr(node, "numpy")
            with pytest.raises(TypeError):
                float(node)
        with v1.Session() as session:
            result = session.run(grad, feed_dict={x: 2.0})
    assert type(result) is list
    assert str([float(value) for value in result]) == "[7.0]"


def test_quadratic_in_tensorflow_2() -> None:
    """Define-by-run: y has its value in the line that computes it."""
    x = tf.Variable(2.0)
    with tf.GradientTape() as tape:
        y = x**2 + 3 * x + 1
        assert y.numpy() == 11
    assert str(float(tape.gradient(y, x).numpy())) == "7.0"


@pytest.mark.parametrize("derive", [by_session, by_tape])
@pytest.mark.parametrize(("graph", "inputs", "values", "grads"), GRAPHS)
def test_the_documents_graphs(
    derive: Any, dtype: np.dtype, graph: str, inputs: Any, values: Any, grads: Any
) -> None:
    """Every value and every derivative: the documents' numbers, and the bits of NumPy's column."""
    found = derive(graph, inputs, dtype, grads)
    by_hand = Column("numpy_ref").call("gradients", graph, *[np.array(x, dtype) for x in inputs])
    for part, literal, reference in zip(found, (values, grads), by_hand, strict=True):
        assert part.keys() == literal.keys() == reference.keys()
        for name, value in literal.items():
            assert part[name].dtype == reference[name].dtype == dtype
            assert part[name] == reference[name] == value, name


def test_momentum_of_keras_weighs_the_old_average() -> None:
    """As `normalization.running_average_flax` says; its running variance divides by n."""
    assert tf.keras.layers.BatchNormalization().momentum == 0.99
    layer = tf.keras.layers.BatchNormalization(momentum=0.7)
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    y = layer(x, training=True)
    numpy, zeros, ones = Column("numpy_ref"), np.zeros(3, np.float32), np.ones(3, np.float32)
    for found, old, new in (
        (layer.moving_mean, zeros, x.mean(axis=0)),
        (layer.moving_variance, ones, x.var(axis=0)),
    ):
        expected = numpy.call("normalization", "running_average_flax", old, new, momentum=0.7)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-7)
    params = {"weight": ones, "bias": zeros}
    buffers = numpy.call("normalization", "start", params)
    settings = {"training": True, "eps": layer.epsilon}
    expected, _ = numpy.call("normalization", "batch_norm", params, buffers, x, **settings)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-4, atol=1e-5)
