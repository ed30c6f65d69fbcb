"""Intermediate values of two models, compared layer by layer: where a difference begins.

The original's layers are its submodules (PyTorch, by hooks) or what bears a name. In a JAX function
every operation is a candidate: its program is run step by step, and the steps that bear a name are
those of `jax.ad_checkpoint.checkpoint_name`, of `jax.named_scope` (Flax's modules name themselves),
those that use a parameter (which bear the name of its layer) and what the function returns as
(output, {name: array}). A NumPy function can only do the last.

All of it is compared in float64, where the layers of a right port are the same but for 1e-12 or so:
a layer's partner is found by its values, if no name tells, and what parts is a mistake.
"""

import contextlib
import functools
import importlib
import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from triptych.port import jaxpr
from triptych.port.sides import Call, Side, is_module, own_copy, run, words, x64
from triptych.port.values import Leaves, fill, is_float, is_torch, to_jax, to_numpy, to_torch, walk
from triptych.port.verdict import Rule, excess

UNROLLED = 64
"""A `scan` of at most so many steps is looked into."""
FAULTS = 8
"""Layers at fault by themselves that are looked for."""
NEAR = 0.3
"""Relative: a value further off is no partner that could be recognised."""


class Tap(NamedTuple):
    """One layer of the original, and its partner in the port."""

    name: str
    partner: str
    """The name of the port's, or the operation and its source line; "" if none was found."""
    how: str
    """How it was found: "given", "value", "name", "nearest", ""."""
    forward: float
    """max|A - B| / max|B| of the values, in float64; NaN without a partner."""
    backward: float
    """The same of the cotangents; NaN where there is none."""
    parts: bool
    """Whether the values part, beyond rounding."""
    parts_back: bool
    """Whether the cotangents do."""
    alone: bool | None
    """Whether it parts where the layers before it give the original's values; None: unknown."""
    first: bool = False
    """Whether this is where it begins."""

    def __str__(self) -> str:
        if not self.how:
            return f"{self.name}: no partner found"
        said = f"{self.name} = {self.partner}: forward {self.forward:.2g}"
        if self.backward == self.backward:
            said += f", backward {self.backward:.2g}"
        if self.parts and self.alone is not None:
            said += "; parts by itself" if self.alone else "; inherits"
        if self.first:
            said += "  <-- here it begins"
        return said


class Spot(NamedTuple):
    """A value on the way, in one run of one function."""

    key: Any
    """Of the framework: a slot of a JAX program, a name."""
    names: tuple[str, ...]
    where: str
    value: np.ndarray
    cotangent: np.ndarray | None = None


Cotangents = dict[str, np.ndarray]


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

        Where a value is forced, what follows is given that one; the one that was made is returned.
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


# Pairing and judging


def compare_taps(
    reference: Source,
    port: Source,
    chosen: Mapping[str, str] | Sequence[str] | bool,
    cotangents: Cotangents | None,
    rule: Rule,
    *,
    agrees: bool,
) -> list[Tap]:
    """Every layer of the original beside its partner.

    Args:
        reference: the original.
        port: the function that is held against it.
        chosen: the original's names, with the port's where they are known; True for all.
        cotangents: of the outputs, in float64; None if there are no gradients.
        rule: as for outputs.
        agrees: whether outputs and gradients agree: then nothing begins anywhere.

    Raises:
        ValueError: a name that does not exist.
    """
    mapping = dict(chosen) if isinstance(chosen, Mapping) else {}
    backward = cotangents if port.derives and reference.derives else None
    narrow = {s.names[0]: s.value for s in reference.spots(rule_low(rule), None, set()) if s.names}
    wide = [s for s in reference.spots("wide", backward, set()) if s.names]
    if not isinstance(chosen, bool):
        known = {s.names[0]: s for s in wide}
        for name in chosen:
            if name not in known:
                raise ValueError(
                    f"assert_agree: taps must name layers of the original, {_some(known)}, "
                    f"got {name!r}"
                )
        wide = [s for s in wide if s.names[0] in chosen]
    sizes = {s.value.size for s in wide}
    free = port.spots("wide", None, sizes)
    pairs = _pairs(wide, narrow, free, mapping, rule)
    alone: set[Any] = set()
    forced: dict[Any, np.ndarray] = {}
    for _ in range(FAULTS if port.derives and not agrees else 0):
        at = _fault(pairs, alone)
        if at is None:
            break
        pair = pairs[at]
        assert pair.spot is not None
        alone.add(pair.original.key)
        # single step: all that comes behind is fed the original's value
        forced[pair.spot.key] = pair.as_port()
        again = port.spots("wide", None, sizes, forced)
        pairs = [*pairs[: at + 1], *_pairs(wide[at + 1 :], narrow, again, mapping, rule)]
    unknown = _fault(pairs, alone) is not None or not port.derives
    cotangent = _backward(reference, port, pairs, backward)
    return _marked(
        pairs, {s.key: s.value for s in free}, alone, unknown, cotangent, narrow, rule, agrees
    )


def _fault(pairs: list["Pair"], known: set[Any]) -> int | None:
    """The first layer that parts and can be replaced."""
    for i, pair in enumerate(pairs):
        if pair.ratio > 1 and pair.original.key not in known and pair.spot is not None:
            sure = pair.how in ("given", "name") or pair.distance < NEAR
            later = any(p.ratio <= 1 for p in pairs[i + 1 :])
            if sure and not (pair.how == "nearest" and later):
                return i
    return None


def rule_low(rule: Rule) -> str:
    """The precision whose rounding is known: float32 where the user's own is float64."""
    return "narrow" if rule.low == 2.0**-23 else "own"


class Pair(NamedTuple):
    """A layer of the original and what was found for it in the port."""

    original: Spot
    spot: Spot | None
    laid: np.ndarray | None
    """The port's value, laid out as the original's."""
    how: str
    ratio: float
    """|A - B| over the limit."""

    @property
    def distance(self) -> float:
        """Relative."""
        return np.nan if self.laid is None else _relative(self.original.value, self.laid)

    def as_port(self) -> np.ndarray:
        """The original's value, laid out as the port's."""
        assert self.spot is not None
        assert self.laid is not None
        return _as_port(self.original.value, self.spot.value, self.laid)


def _pairs(
    wide: list[Spot],
    narrow: dict[str, np.ndarray],
    spots: list[Spot],
    mapping: Mapping[str, str],
    rule: Rule,
) -> list[Pair]:
    pairs: list[Pair] = []
    used: set[Any] = set()
    for s in wide:
        fitting = [
            (spot, laid)
            for spot in spots
            for laid in itertools.islice(_layouts(spot.value, s.value.shape), 6)
        ]
        how, found = "", None
        if s.names[0] in mapping:
            wanted = mapping[s.names[0]]
            found = _named(s, [p for p in fitting if _is_called(p[0], wanted)])
            how = "given"
            if found is None:
                every = [n for spot in spots for n in spot.names]
                raise ValueError(
                    f"assert_agree: taps: {wanted!r} must name a value of the port of shape "
                    f"{s.value.shape}, one of {_some(dict.fromkeys(every))}"
                )
        else:
            same = [p for p in fitting if _same(s.value, p[1], _error(narrow, s), rule)]
            fresh = [p for p in same if p[0].key not in used]
            if same:
                how, found = "value", (fresh or same)[0]
            else:
                named = [p for p in fitting if _is_called(p[0], s.names[0])]
                how, found = "name", _named(s, named)
                if found is None:
                    fresh = [p for p in fitting if p[0].key not in used]
                    how, found = "nearest", _nearest(s, fresh)
        if found is None:
            pairs.append(Pair(s, None, None, "", 0.0))
        else:
            used.add(found[0].key)
            ratio = excess(s.value, found[1], _error(narrow, s), rule)
            pairs.append(Pair(s, found[0], found[1], how, ratio))
    return pairs


def _is_called(spot: Spot, name: str) -> bool:
    asked = words(name)
    return any(w[-len(asked) :] == asked for w in map(words, spot.names)) if asked else False


def _layouts(value: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The ways in which an array has that shape: as it is, with its axes in another order, flat."""
    if value.size != np.prod(shape, dtype=int):
        return
    if value.ndim != len(shape):
        yield value.reshape(shape)
        return
    if value.shape == shape:
        yield value
    for axes in itertools.permutations(range(value.ndim)) if value.ndim < 5 else ():
        if axes != (*range(value.ndim),) and tuple(value.shape[a] for a in axes) == shape:
            yield value.transpose(axes)


def _as_port(original: np.ndarray, ported: np.ndarray, laid: np.ndarray) -> np.ndarray:
    """The original's value in the port's layout."""
    numbers = np.arange(ported.size).reshape(ported.shape)
    for laid_numbers, layout in zip(
        _layouts(numbers, original.shape), _layouts(ported, original.shape), strict=True
    ):
        if layout.strides == laid.strides:
            flat = np.empty(ported.size, original.dtype)
            flat[laid_numbers.ravel()] = original.ravel()
            return flat.reshape(ported.shape)
    return original.reshape(ported.shape)


def _same(a: np.ndarray, b: np.ndarray, error: float, rule: Rule) -> bool:
    sizes = np.sum(np.abs(a)), np.sum(np.abs(b))  # the same in every layout: most are out at once
    if not np.isclose(*sizes, rtol=1e-6, equal_nan=True):
        return False
    return excess(a, b, error, rule) <= 1


def _named(s: Spot, fitting: list[Any]) -> Any:
    """Of several of that name the one that is near, else the last: a layer ends with it."""
    near = _nearest(s, fitting)
    return near if near is None or _relative(s.value, near[1]) < NEAR else fitting[-1]


def _nearest(s: Spot, fitting: list[Any]) -> Any:
    return min(fitting, key=lambda p: _relative(s.value, p[1]), default=None)


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    """max|a - b| / max|a|, over what is finite in both."""
    with np.errstate(all="ignore"):
        apart = np.abs(a - b)
    apart = apart[np.isfinite(apart)]
    size = np.max(np.abs(a), where=np.isfinite(a), initial=0)
    furthest = float(np.max(apart, initial=0))
    return furthest / float(size) if size else furthest


def _error(narrow: dict[str, np.ndarray], s: Spot) -> float:
    """Of the original's own value, which float64 tells."""
    own = narrow.get(s.names[0])
    if own is None or own.shape != s.value.shape:
        return 0.0
    return _furthest(own, s.value)


def _furthest(a: np.ndarray, b: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        apart = np.abs(a.astype(b.dtype) - b)
    return float(np.max(apart, where=np.isfinite(apart), initial=0))


def _backward(
    reference: Source, port: Source, pairs: list[Pair], cotangents: Cotangents | None
) -> dict[Any, tuple[np.ndarray, np.ndarray]]:
    """Both cotangents of each layer."""
    if not cotangents:
        return {}
    first: dict[Any, Spot] = {}
    for pair in pairs:
        if pair.spot is not None:
            first.setdefault(pair.spot.key, pair.original)
    theirs = port.back(list(first), cotangents)
    ours = {pair.original.key: pair.original.cotangent for pair in pairs}
    if all(c is None for c in ours.values()):
        ours.update(reference.back(list(ours), cotangents))
    found = {}
    for pair in pairs:
        s, spot, laid = pair.original, pair.spot, pair.laid
        mine = ours.get(s.key)
        if spot is None or laid is None or mine is None or first[spot.key] is not s:
            continue
        if spot.key in theirs:
            found[s.key] = _as_port(mine, spot.value, laid), theirs[spot.key]
    return found


def _marked(
    pairs: list[Pair],
    free: dict[Any, np.ndarray],
    alone: set[Any],
    unknown: bool,
    cotangents: dict[Any, tuple[np.ndarray, np.ndarray]],
    narrow: dict[str, np.ndarray],
    rule: Rule,
    agrees: bool,
) -> list[Tap]:
    taps = []
    for i, pair in enumerate(pairs):
        s, spot = pair.original, pair.spot
        name = s.names[0]
        # a layer that the port does not have as such: nothing is near, or what follows agrees
        missing = pair.how == "nearest" and pair.ratio > 1 and s.key not in alone
        missing = missing and (
            agrees or pair.distance >= NEAR or any(p.ratio <= 1 for p in pairs[i + 1 :])
        )
        if spot is None or missing:
            taps.append(Tap(name, "", "", np.nan, np.nan, False, False, None))
            continue
        mine = pair.as_port()
        made = free[spot.key]  # not fed by the original
        parts = excess(mine, made, _error(narrow, s), rule) > 1
        own = None if unknown and s.key not in alone else s.key in alone
        back, parts_back = np.nan, False
        if s.key in cotangents:
            ours, theirs = cotangents[s.key]
            back = _relative(ours, theirs)
            scale = float(np.max(np.abs(ours), initial=0))
            parts_back = excess(ours, theirs, rule.low * scale, rule) > 1
        partner = next(iter(spot.names), "")
        if spot.where not in spot.names:
            partner = f"{partner} ({spot.where})" if partner else spot.where
        taps.append(
            Tap(
                name,
                partner,
                pair.how,
                _relative(mine, made),
                back,
                parts,
                parts_back,
                own if parts else None,
            )
        )
    if not agrees:
        begins = next((i for i, t in enumerate(taps) if t.parts), None)
        if begins is None:
            begins = next((i for i in reversed(range(len(taps))) if taps[i].parts_back), None)
        if begins is not None:
            taps[begins] = taps[begins]._replace(first=True)
    return taps


def _some(names: Any) -> str:
    found = [str(n) for n in names]
    return ", ".join(found[:12]) + (" ..." if len(found) > 12 else "")
