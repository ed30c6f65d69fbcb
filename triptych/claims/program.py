"""A claim's call, written as the Python that a reader would run in one column."""

import ast
import re
from collections.abc import Sequence
from functools import cache
from inspect import signature

from triptych import data
from triptych.claims.book import PYTORCH, Claim, in_columns
from triptych.source import parse

_PARTS = {
    **dict.fromkeys(("values", "params", "loss", "output", "operations", "left", "program"), 0),
    **dict.fromkeys(("grads", "losses", "tracked"), 1),
}


class AbsentError(Exception):
    """The column has no function or class of that name."""


class ForColumn(ast.NodeTransformer):
    """Turns numbers, lists and data into arrays of the column where a function wants arrays."""

    def __init__(self, claim: Claim, column: str) -> None:
        self.claim = claim
        self.column = column

    def code(self, call: str) -> str:
        """The call as the column wants it."""
        return ast.unparse(self.visit(ast.parse(call, mode="eval")))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Hand arrays of the column to the arguments that are annotated as arrays."""
        path = _dotted(node.func)
        in_column = path[:1] and path[0] in in_columns()
        wanted = self.parameters(path) if in_column else None
        self.generic_visit(node)
        in_float32 = path[:1] == ["data"] and self.claim.dtype == "float32"
        # batches and masks have no dtype to choose
        if in_float32 and "dtype" in signature(getattr(data, path[1])).parameters:
            node.keywords.append(ast.keyword("dtype", ast.Constant("float32")))
        if wanted is None:
            return node
        names = list(wanted)
        for i, argument in enumerate(node.args):
            if isinstance(argument, ast.Starred):
                if not self.native(argument.value):
                    argument.value = _python(f"map(from_numpy, {ast.unparse(argument.value)})")
            elif i >= len(names) or wanted[names[i]]:
                node.args[i] = self.array(argument, wanted[names[i]] if i < len(names) else "Array")
        for keyword in node.keywords:
            if keyword.arg is None or wanted.get(keyword.arg):
                keyword.value = self.array(keyword.value, "Array")
        return node

    def parameters(self, path: Sequence[str]) -> dict[str, str]:
        """The parameters of a function, with what they want: "Array", "ndarray" or ""."""
        concept, name, *further = path
        definition = _definitions(self.column, concept).get(name)
        if definition is None:
            raise AbsentError(f"{self.column}.{concept} has no {name}")
        if further not in ([], ["__wrapped__"]):
            return {}
        return {p.name: _kind(p.annotation) for p in definition.parameters}

    def array(self, node: ast.expr, kind: str) -> ast.expr:
        """An argument as an array of the column, or as NumPy's where the function asks for that."""
        if self.native(node):
            return node
        node = self.numpy(node)
        return node if kind == "ndarray" else _python(f"from_numpy({ast.unparse(node)})")

    def numpy(self, node: ast.expr) -> ast.expr:
        """A number or a list becomes a NumPy array, in a dict too; NumPy data stay as they are."""
        if isinstance(node, ast.Dict):
            node.values = [
                v if k is None else self.numpy(v)
                for k, v in zip(node.keys, node.values, strict=True)
            ]
            return node
        if any(isinstance(n, ast.Name) for n in ast.walk(node)):
            return node
        holds_floats = any(isinstance(getattr(n, "value", None), float) for n in ast.walk(node))
        maker = "float32" if holds_floats and self.claim.dtype == "float32" else "array"
        return _python(f"np.{maker}({ast.unparse(node)})")

    def native(self, node: ast.expr) -> bool:
        """Whether it is made by the column: then it holds the column's arrays already."""
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        if names & {*in_columns(), "from_numpy"}:
            return True
        calls = [self.claim.names[name] for name in names if name in self.claim.names]
        return any(self.native(_python(call)) for call in calls)


@cache
def _definitions(column: str, concept: str) -> dict[str, parse.Definition]:
    return {d.name: d for d in parse.load_column(column, concept).definitions}


def _python(expression: str) -> ast.expr:
    return ast.parse(expression, mode="eval").body


def _dotted(node: ast.expr) -> list[str]:
    """["gradients", "product"] for gradients.product; [] for anything but names and dots."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (path := _dotted(node.value)):
        return [*path, node.attr]
    return []


def _kind(annotation: str) -> str:
    if annotation == "np.ndarray":
        return "ndarray"
    return "Array" if re.search(r"\b(Array|Params|State)\b", annotation) else ""


def statements(at: str) -> list[str | int]:
    """The path into a result, as keys and positions."""
    steps: list[str | int] = [int(word) if word.isdigit() else word for word in at.split()]
    if steps and steps[0] in _PARTS:
        steps[0] = _PARTS[str(steps[0])]
    return steps


def program(claim: Claim, column: str = "torch_impl") -> str:
    """A program that computes what the claim is about, in one column.

    For JAX, where the dtype is float64, inside of `with jax.enable_x64(True):`.
    """
    if claim.program:
        if column != PYTORCH:
            raise AbsentError(f"{column} has no such program")
        return claim.code
    transform = ForColumn(claim, column)
    calls = {name: transform.code(call) for name, call in claim.names.items()}
    call = transform.code(claim.call) + "".join(f"[{step!r}]" for step in statements(claim.at))
    text = "\n".join([*(f"{name} = {code}" for name, code in calls.items()), call])
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    taken = [name for name in ("from_numpy", *in_columns()) if name in used]
    lines = ["import numpy as np"] if "np" in used else []
    lines += ["from triptych import data"] if "data" in used else []
    lines += [f"from {column} import {', '.join(taken)}"] if taken else []
    lines += ['path = "parameters.safetensors"'] if "path" in used else []
    return "\n".join([*lines, *([""] if lines else []), text])
