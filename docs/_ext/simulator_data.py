"""What the simulator's page needs to know, read from the project itself.

A graph is written down once, in `numpy_ref.gradients`; its nodes are taken from that source by
`ast`, its starting values from the documents' claims, and the lines that light up at a step from
the names that the three sources bind. The networks are declared in `simulator_networks`: they are
the classifier's code, so they have no function of their own.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import simulator_networks
from simulator_networks import Network

from triptych.claims import book
from triptych.column import Column, precision
from triptych.names import COLUMNS, DISPLAY_NAMES
from triptych.source import parse

SECTION = "Gradients of small graphs"
"""The claims about the documents' graphs; each graph is named by the first two parts of an id."""

LEARNING_RATE = 0.1
"""The documents' own, of A 7.6."""

UPDATE_CODE = "optimizers.sgd_step"

OPERATIONS = {ast.Add: "add", ast.Mult: "mul", ast.Pow: "pow"}
"""How the simulator's rules are called in Python."""

Lines = Mapping[str, set[int]]


def simulator_data() -> dict[str, Any]:
    """The graphs with their starting values, code lines, and what the columns return; as JSON.

    Raises:
        ValueError: the claims name no graph, a source cannot be read as one, or a column is
            missing.
    """
    with precision("float64"):
        graphs = [*_documents_graphs(), *map(_network, simulator_networks.networks())]
    return {
        "columns": DISPLAY_NAMES,
        "update": UPDATE_CODE,
        "graphs": graphs,
    }


# The graphs


def _documents_graphs() -> Iterator[dict[str, Any]]:
    groups: dict[str, list[book.Claim]] = defaultdict(list)
    for claim in book.claims():
        if claim.section == SECTION:
            groups["-".join(claim.id.split("-")[:2])].append(claim)
    if not groups:
        raise ValueError(f"claims.toml has no section {SECTION!r}: no graph to simulate")
    for key, group in groups.items():
        first = group[0]
        call = ast.parse(first.call, mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError(f"{first.id}: {first.call} is no call, so it names no graph")
        concept, function = ast.unparse(call.func).split(".")
        (definition,) = (
            d for d in parse.load_column("numpy_ref", concept).functions if d.name == function
        )
        inputs = [p.name for p in definition.parameters]
        values = [float(ast.literal_eval(a)) for a in call.args]
        start = dict(zip(inputs, values, strict=True))
        # a document differentiates by some inputs and holds the others constant
        asked = {claim.at.removeprefix("grads ") for claim in group}
        yield _graph(
            key,
            title=first.about,
            source=first.source,
            nodes=_nodes(definition.source),
            start=start,
            tracked=[name for name in inputs if name in asked],
            code=(f"{concept}.{function}",),
            returned={
                name: Column(name).call(concept, function, *map(np.array, values))
                for name in COLUMNS
            },
        )


def _network(network: Network) -> dict[str, Any]:
    training = network.training()
    row = training["batches"][0][0]
    start = dict(zip(network.inputs, training["rows"]["x"][row], strict=True))
    start |= {"t": float(training["rows"]["t"][row])} | network.start
    params, x, t = network.arrays(start)
    scores = network.layers[-2]
    returned = {}
    for name in COLUMNS:
        column = Column(name)
        found = column.call("classifier", "logits", params, x)[0, -len(scores) :]
        loss, grads = column.call("classifier", "loss_and_grads", params, x, t)
        # a row for each of the classifier's 243 would be no table to read
        few = network.named(grads) if len(network.parameters) < 20 else {}
        returned[name] = (dict(zip(scores, found, strict=True)) | {"L": loss}, few)
    graph = _graph(
        network.key,
        title=network.title,
        source=network.source,
        nodes=network.nodes,
        start=start,
        tracked=list(network.parameters),
        code=simulator_networks.CODE,
        returned=returned,
        rate=network.rate,
        wanted=_wanted_of(network, start),
    )
    return graph | {"layers": network.layers, "training": training, "steps": network.steps}


def _graph(
    key: str,
    *,
    title: str,
    source: str,
    nodes: list[dict[str, Any]],
    start: Mapping[str, float],
    tracked: list[str],
    code: tuple[str, ...],
    returned: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]],
    rate: float = LEARNING_RATE,
    wanted: Mapping[str, tuple[list[str], ...]] | None = None,
) -> dict[str, Any]:
    known = {*start}
    for node in nodes:
        known.add(node["name"])
        if absent := [a for a in node["args"] if isinstance(a, str) and a not in known]:
            raise ValueError(f"{key}: {node['name']} uses {absent[0]}, which is not there yet")
    return {
        "key": key,
        "title": title,
        "source": source,
        "start": dict(start),
        "tracked": tracked,
        "rate": rate,
        "nodes": [{k: node[k] for k in ("name", "op", "args")} for node in nodes],
        "code": code,
        "lit": _lit(wanted or _wanted(nodes, start), code),
        "returned": {
            column: {
                "values": {name: float(v) for name, v in values.items()},
                "grads": {name: float(grads[name]) for name in grads},
            }
            for column, (values, grads) in returned.items()
        },
    }


def _nodes(source: str) -> list[dict[str, Any]]:
    """The operations of the forward lines, in order; what has no name gets a letter.

    Each has a name, an operation, its operands (names, or numbers for constants), and the
    assignment that it belongs to.
    """
    tree = ast.parse(source)
    assignments = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Assign) and not ast.unparse(n.targets[0]).startswith("d_")
    ]
    taken = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    letters = (letter for letter in "uvrs" if letter not in taken)
    nodes: list[dict[str, Any]] = []

    def operand(expression: ast.expr, owner: str) -> str | float:
        if isinstance(expression, ast.Name):
            return expression.id
        if isinstance(expression, ast.Constant):
            return float(ast.literal_eval(expression))
        return operation(expression, "", owner)

    def operation(e: ast.expr, name: str, owner: str) -> str:
        called = ast.unparse(e.func) if isinstance(e, ast.Call) else ""
        if isinstance(e, ast.BinOp) and type(e.op) in OPERATIONS:
            op, args = OPERATIONS[type(e.op)], [operand(x, owner) for x in (e.left, e.right)]
        elif isinstance(e, ast.Call) and called == "np.square":
            op, args = "pow", [operand(e.args[0], owner), 2.0]
        else:
            raise ValueError(f"the simulator has no rule for {ast.unparse(e)!r}")
        name = name or next(letters)
        nodes.append({"name": name, "op": op, "args": args, "owner": owner})
        return name

    for assignment in assignments:
        name = ast.unparse(assignment.targets[0])
        operation(assignment.value, name, name)
    return nodes


# The lines that light up


def _lit(
    wanted: Mapping[str, tuple[list[str], ...]], code: tuple[str, ...]
) -> dict[str, dict[str, dict[str, list[int]]]]:
    """For each step the lines of each function in each column: {step: {function: {column: []}}}."""
    lit: dict[str, dict[str, dict[str, list[int]]]] = {}
    for step, (forward, backward) in wanted.items():
        lit[step] = defaultdict(dict)
        for column in COLUMNS:
            bound = {function: bindings(column, function) for function in code}
            own = [v for v in backward if any(f"d_{v}" in b for b in bound.values())]
            # a column that derives by hand has a line for each; an engine is asked once
            names = [*forward, *(f"d_{v}" for v in own), *(f"{v}.retain_grad" for v in backward)]
            names += ["backward"] if backward and not own else []
            for function in code:
                if lines := set().union(*(bound[function].get(n, set()) for n in names)):
                    lit[step][function][column] = sorted(lines)
            if forward and not any(column in found for found in lit[step].values()):
                # PyTorch's logits calls a network that is written elsewhere, in one line
                called = bound[code[0]][code[0].split(".")[1]]
                lit[step][code[0]][column] = sorted(called)
    lit["update"] = {
        UPDATE_CODE: {c: sorted(bindings(c, UPDATE_CODE)["learning_rate"]) for c in COLUMNS}
    }
    return lit


def _wanted(nodes: list[dict[str, Any]], start: Iterable[str]) -> dict[str, tuple[list[str], ...]]:
    """For each step the names of the code that it computes, and those that it derives by.

    A graph of the documents has a step for each name, in each phase.
    """

    def inner(name: str) -> list[str]:
        """The named operands of a node, through nodes that the source does not name."""
        args = next(n["args"] for n in nodes if n["name"] == name)
        names = [a for a in args if isinstance(a, str)]
        return [m for a in names for m in (inner(a) if a in unnamed else [a])]

    owners = {n["name"]: n["owner"] for n in nodes}
    unnamed = {name for name, owner in owners.items() if name != owner}
    return {
        "start": ([*start], []),
        **{f"forward {name}": ([owner], []) for name, owner in owners.items()},
        **{
            f"backward {name}": ([], inner(name) if name in unnamed else [name])
            for name in [*owners, *start]
        },
    }


def _wanted_of(network: Network, start: Iterable[str]) -> dict[str, tuple[list[str], ...]]:
    """The same for a network, whose steps are declared."""

    def known_as(names: Iterable[str]) -> list[str]:
        stems = (name.split("_")[0] for name in names)
        found = (network.variables.get(stem) or network.variables[stem[0]] for stem in stems)
        return list(dict.fromkeys(variable for variables in found for variable in variables))

    wanted: dict[str, tuple[list[str], ...]] = {"start": (known_as(start), [])}
    for step in network.steps:
        names = known_as(step["names"])
        forward = step["phase"] == "forward"
        wanted[f"{step['phase']} {step['name']}"] = (names, []) if forward else ([], names)
    # the mean over the rows enters where the loss is derived by the scores
    return wanted | {"mean": ([], ["z3"])}


def bindings(column: str, function: str) -> Lines:
    """The lines of a function that bind each name.

    A name is bound by an assignment, and the function's own name by its `return`; a parameter is
    bound where it stands in the `def` line, `learning_rate` where it is used. A call of a method
    as a statement is found under "a.retain_grad", everything that asks an engine for derivatives,
    a pullback too, under "backward". A statement brings with it the results of the local functions
    that it names.

    Args:
        column: the package.
        function: with its concept, "gradients.chain".
    """
    concept, name = function.split(".")
    module = parse.load_column(column, concept)
    tree = ast.parse("\n".join(module.lines))
    body = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
    local = {n.name: n for n in body.body if isinstance(n, ast.FunctionDef)}
    bound: dict[str, set[int]] = defaultdict(set)
    for argument in body.args.args:
        bound[argument.arg].add(argument.lineno)
    for statement in body.body:
        if isinstance(statement, ast.FunctionDef):
            continue
        lines = set(_span(statement))
        for part in ast.walk(statement):
            if isinstance(part, ast.Name) and part.id in local:
                returns = (n for n in ast.walk(local[part.id]) if isinstance(n, ast.Return))
                lines.update(line for r in returns for line in _span(r))
        for bound_name in _bound_by(statement, name):
            bound[bound_name] |= lines
    return bound


def _bound_by(statement: ast.stmt, function: str) -> Iterator[str]:
    if isinstance(statement, ast.Return):
        yield function
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AugAssign | ast.AnnAssign):
        targets = [statement.target]
    for target in targets:
        if isinstance(target, ast.Subscript):
            target = target.value
        yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))
    for part in ast.walk(statement):
        if isinstance(part, ast.Name) and part.id == "learning_rate":
            yield part.id
        if isinstance(part, ast.Call):
            called = ast.unparse(part.func)
            if re.search(r"^pull_|\.(backward|grad|value_and_grad)$", called):
                yield "backward"
            if isinstance(statement, ast.Expr):
                yield called


def _span(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


# The code


def code_section(function: str) -> tuple[parse.Section, tuple[parse.Module, ...]]:
    """A function in the three columns, without its docstring: beside a step only code is read."""
    concept, name = function.split(".")
    modules = parse.load(concept)
    section = parse.find(modules, name)[0]
    blocks = []
    for module, block in zip(modules, section.blocks, strict=True):
        tree = ast.parse("\n".join(module.lines))
        docs = {
            line
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name == name
            for line in (_span(node.body[0]) if ast.get_docstring(node) else ())
        }
        if block is not None:
            block = block._replace(cells=tuple(c for c in block.cells if c.line not in docs))
        blocks.append(block)
    return section._replace(blocks=tuple(blocks)), modules
