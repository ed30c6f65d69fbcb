"""The values on the way to a result, as each framework lets them be seen, and replaced.

Of a PyTorch module they are the outputs of its submodules, by hooks. In a JAX function every
operation is a candidate: its program is run step by step, and the steps that bear a name are those
of `jax.ad_checkpoint.checkpoint_name`, of `jax.named_scope` (Flax's modules name themselves), those
that use a parameter (which bear the name of its layer) and what the function returns as
(output, {name: array}). A NumPy function can only do the last.
"""

import contextlib
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from triptych.port import jaxpr
from triptych.port.run import run
from triptych.port.run_jax import own_copy, x64
from triptych.port.sides import Call, Cotangents, Side, is_module
from triptych.port.values import Leaves, fill, is_float, is_torch, to_jax, to_numpy, to_torch, walk

UNROLLED = 64
"""A `scan` of at most so many steps is looked into."""


class Spot(NamedTuple):
    """A value on the way, in one run of one function."""

    key: Any
    """Of the framework: a slot of a JAX program, a name."""
    names: tuple[str, ...]
    where: str
    value: np.ndarray
    cotangent: np.ndarray | None = None


class Source:
    """A function whose values on the way can be seen."""

    derives = False
    """Whether cotangents can be had, and values be replaced."""

    def __init__(self, side: Side, call: Call) -> None:
        self.side, self.call = side, call

    def spots(
        self,
        precision: str,
        drawn: Cotangents | None,
        sizes: set[int],
        forced: Mapping[Any, np.ndarray] | None = None,
    ) -> list[Spot]:
        """The values of these sizes, in order; of PyTorch with their cotangents.

        Where a value is forced, the code after it gets that one; the computed one is returned.
        """
        raise NotImplementedError

    def back(self, keys: Sequence[Any], cotangents: Cotangents) -> dict[Any, np.ndarray]:
        """The cotangents of some of them, in float64."""
        raise NotImplementedError


def source(side: Side, call: Call) -> Source:
    """What is seen of a function."""
    kinds = {"torch": _Torch, "jax": _Jax, "numpy": _Returned}
    return kinds[side.framework](side, call)


# PyTorch: forward hooks


def modules(side: Side) -> dict[str, Any]:
    """The submodules of a module, or of the modules that a function reads from outside, by name."""
    if is_module(side.function):
        roots = {"": side.function}
    else:
        try:
            read = inspect.getclosurevars(inspect.unwrap(side.function))
        except (TypeError, ValueError):
            return {}
        roots = {n: m for n, m in {**read.globals, **read.nonlocals}.items() if is_module(m)}
    alone = len(roots) == 1
    return {
        (name if alone or not name else f"{prefix}.{name}") or prefix: module
        for prefix, root in roots.items()
        for name, module in root.named_modules()
        if name or (prefix and not alone)
    }


class _Torch(Source):
    derives = True

    @contextlib.contextmanager
    def _hooked(self, see: Callable[[str, Any], Any]) -> Iterator[None]:
        """`see` is given each layer's first tensor, and may return another in its place."""
        counts: dict[str, int] = {}

        def hook(name: str, *seen: Any) -> Any:
            output = seen[-1]
            counts[name] = counts.get(name, 0) + 1
            numbered = name if counts[name] == 1 else f"{name} ({counts[name]})"
            found = dict(walk(output, ""))
            first = next((n for n, x in found.items() if is_torch(x)), None)
            if first is None or not found[first].is_floating_point():
                return None
            other = see(numbered, found[first])
            return None if other is None else fill(output, "", {first: other})

        handles = [
            module.register_forward_hook(functools.partial(hook, name))
            for name, module in modules(self.side).items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def spots(
        self,
        precision: str,
        drawn: Cotangents | None,
        sizes: set[int],
        forced: Mapping[Any, np.ndarray] | None = None,
    ) -> list[Spot]:
        values: dict[str, np.ndarray] = {}
        back: dict[str, np.ndarray] = {}
        forced = forced or {}

        def see(name: str, x: Any) -> Any:
            if sizes and x.numel() not in sizes:
                return None
            values[name] = to_numpy(x).copy()
            if drawn and x.requires_grad:
                x.register_hook(lambda d: back.__setitem__(name, to_numpy(d).copy()))
            return to_torch(forced[name].reshape(x.shape)) if name in forced else None

        with self._hooked(see):
            ran = run(self.side, self.call, precision, bool(drawn))
        if drawn and ran.pull:
            ran.pull(drawn)
        return [Spot(n, (n,), n, value, back.get(n)) for n, value in values.items()]

    def back(self, keys: Sequence[Any], cotangents: Cotangents) -> dict[Any, np.ndarray]:
        found = self.spots("wide", cotangents, set())
        return {s.key: s.cotangent for s in found if s.key in keys and s.cotangent is not None}


# JAX: the program, step by step


class _Jax(Source):
    derives = True

    def __init__(self, side: Side, call: Call) -> None:
        super().__init__(side, call)
        self.traced: dict[str, tuple[Any, jaxpr.Program, dict[int, list[str]]]] = {}

    def _program(self, precision: str) -> tuple[Any, jaxpr.Program, dict[int, list[str]]]:
        """The function's leaves, its program, and the names of slots."""
        if precision not in self.traced:
            jax: Any = importlib.import_module("jax")
            with x64(precision == "wide" or self._double()):
                leaves = self.call.leaves(precision, to_jax)
                returned: list[str] = []
                called = own_copy(self.side.function, precision)

                def function(given: Leaves) -> Any:
                    positional, keywords = self.call.filled(given)
                    result = called(*positional, **keywords)
                    output, taps = self.call.tapped(result)
                    output = self.call.parted(output)[0]
                    named = {n: x for n, x in walk(output, "output") if is_float(x)}
                    returned[:] = [*named, *taps]
                    return [*named.values(), *taps.values()]

                closed, _ = jaxpr.trace(function, leaves)
            found = jaxpr.program(closed, UNROLLED)
            order = jax.tree_util.tree_leaves({name: name for name in leaves})
            names = self._names(found, order)
            for slot, name in zip(found.results, returned, strict=True):
                names.setdefault(slot, []).append(name)
            self.traced[precision] = leaves, found, names
            self.outputs = [n for n in returned if n.startswith("output")]
        return self.traced[precision]

    def _double(self) -> bool:
        return any(a.dtype.name in ("float64", "complex128") for a in self.call.given.values())

    def _names(self, found: jaxpr.Program, order: list[str]) -> dict[int, list[str]]:
        module = self.call.names[:1] if self._nested() else ()
        layer = {
            slot: {_layer(name)} if name.startswith(module) else None
            for slot, name in zip(found.arguments, order, strict=True)
        }
        # None: made of data; a set: of the parameters of these layers alone, empty for a constant
        layer.update({slot: set() for slot in found.constants})
        names: dict[int, list[str]] = {}
        scopes: dict[str, int] = {}
        for step in found.steps:
            given = [layer.get(slot) for slot in step.ins]
            used = set().union(*(g for g in given if g))
            of_data = any(g is None for g in given)
            for slot in step.outs:
                layer[slot] = None if of_data else used
                if of_data and len(used - {""}) == 1:
                    names.setdefault(slot, []).extend(used - {""})
            for depth in range(1, len(parts := step.scope.split("/")) + 1):
                if step.scope and step.outs:
                    scopes["/".join(parts[:depth])] = step.outs[0]
            if step.equation is not None and str(step.equation.primitive) == "name":
                for slot in step.outs:
                    names.setdefault(slot, []).append(step.equation.params["name"])
        for scope, slot in scopes.items():
            names.setdefault(slot, []).append(scope)
        return names

    def _nested(self) -> bool:
        arguments = self.call.arguments
        return bool(arguments) and self.call.names[0] not in self.call.given

    def _evaluate(
        self, precision: str, visit: Callable[[int, Any], Any], leaves: Leaves | None = None
    ) -> list[Any]:
        jax: Any = importlib.import_module("jax")
        given, found, _ = self._program(precision)
        dtypes = ("float32", "complex64") if precision == "wide" else ()
        flat = jax.tree_util.tree_leaves(given if leaves is None else leaves)
        return jaxpr.evaluate(found, flat, visit=visit, widened=dtypes)

    def spots(
        self,
        precision: str,
        _: Cotangents | None,
        sizes: set[int],
        forced: Mapping[Any, np.ndarray] | None = None,
    ) -> list[Spot]:
        jax: Any = importlib.import_module("jax")
        given, found, names = self._program(precision)

        def all_values(given: Leaves, forced: dict[int, Any]) -> dict[int, Any]:
            seen: dict[int, Any] = {}

            def visit(slot: int, value: Any) -> Any:
                if is_float(value) and (not sizes or value.size in sizes):
                    seen[slot] = value
                return forced[slot].reshape(value.shape) if slot in forced else value

            self._evaluate(precision, visit, given)
            return seen

        with x64(precision == "wide" or self._double()):
            made = jax.jit(all_values)(given, dict(forced or {}))
            values = {slot: to_numpy(x) for slot, x in made.items()}
        spots = []
        for step in found.steps:
            for slot in step.outs:
                if slot in values:
                    operation = (
                        "" if step.equation is None else jaxpr.place(step.equation).operation
                    )
                    where = " at ".join(filter(None, (operation, step.line)))
                    spots.append(Spot(slot, tuple(names.get(slot, ())), where, values[slot]))
        return spots

    def back(self, keys: Sequence[Any], cotangents: Cotangents) -> dict[Any, np.ndarray]:
        jax: Any = importlib.import_module("jax")
        given, _, _ = self._program("wide")

        def of_probes(given: Leaves, probes: dict[int, Any]) -> dict[str, Any]:
            def visit(slot: int, value: Any) -> Any:
                return value + probes[slot] if slot in probes else value

            made = self._evaluate("wide", visit, given)
            return {n: x for n, x in zip(self.outputs, made, strict=False) if n in cotangents}

        def pulled(given: Leaves, drawn: Any, probes: Any) -> Any:
            _, vjp = jax.vjp(functools.partial(of_probes, given), probes)
            return vjp(drawn)[0]

        with x64(True):
            shapes = jax.eval_shape(lambda g: self._shapes(keys, g), given)
            probes = {slot: np.zeros(x.shape, x.dtype) for slot, x in shapes.items()}
            outputs = jax.eval_shape(of_probes, given, probes)
            drawn = {
                n: np.conj(cotangents[n]).astype(x.dtype).reshape(x.shape)
                for n, x in outputs.items()
            }
            found = jax.jit(pulled)(given, drawn, probes)
        return {slot: np.conj(to_numpy(x)) for slot, x in found.items()}

    def _shapes(self, keys: Sequence[Any], given: Leaves) -> dict[int, Any]:
        seen: dict[int, Any] = {}

        def visit(slot: int, value: Any) -> Any:
            if slot in keys:
                seen[slot] = value
            return value

        self._evaluate("wide", visit, given)
        return seen


def _layer(name: str) -> str:
    """Of "params['encoder.0.weight']" and "m.layers[0].weight": "encoder.0", "layers.0"."""
    words = re.findall(r"[A-Za-z0-9_]+", name)[1:]
    return ".".join(w for w in words[:-1] if w not in ("params", "value"))


# NumPy: what it returns


class _Returned(Source):
    def spots(self, precision: str, *_: Any) -> list[Spot]:
        leaves = self.call.leaves(precision, np.array)
        positional, keywords = self.call.filled(leaves)
        _, taps = self.call.tapped(self.side.function(*positional, **keywords))
        return [
            Spot(name, (name,), name, np.asarray(value))
            for name, value in taps.items()
            if is_float(np.asarray(value))
        ]
