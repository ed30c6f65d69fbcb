// Values forward, derivatives backward, over any graph of the rules below.
//
// The site is read from the file system too, where browsers load no ES modules (a file has no
// origin that their CORS check would accept). So these are classic scripts, in strict mode, that
// share one global object.
(() => {
  "use strict";
  const sim = (globalThis.triptychSim ??= {});
  const say = globalThis.triptychSay;

  const power = (a, n) => (n === 2 ? a * a : n > 2 ? power(a, n - 1) * a : n === 1 ? a : 1);

  // For the scores [0, s], as the columns do it: with the larger taken off, exp cannot overflow.
  const logP = (s, t) => {
    const largest = Math.max(0, s);
    return (t ? s : 0) - largest - Math.log(Math.exp(-largest) + Math.exp(s - largest));
  };

  // One rule for each operation, with its operands as a list:
  //   value   what it computes
  //   local   its derivative by each operand, as a number
  //   slope   the same as a formula; `w` writes text or MathML, the last argument is the raw operands
  //   show    the operation as a formula
  //   short   what stands in the drawing, if the formula is too long
  sim.rules = {
    add: {
      value: ([a, b]) => a + b,
      local: () => [1, 1],
      slope: () => ["", ""],
      show: ([a, b], w) => a + w.op("+") + b,
    },
    mul: {
      value: ([a, b]) => a * b,
      local: ([a, b]) => [b, a],
      slope: ([a, b]) => [b, a],
      show: ([a, b], w) => a + w.op("·") + b,
    },
    pow: {
      value: ([a, n]) => power(a, n),
      local: ([a, n]) => [n * power(a, n - 1), NaN],
      slope: ([a, n], w, [, k]) => [n + w.op("·") + (k === 2 ? a : w.sup(a, w.number(k - 1))), ""],
      show: ([a, n], w) => w.sup(a, n),
    },
    linear: {
      value: (args) => pairs(args).reduce((sum, [x, w]) => sum + x * w, 0) + args.at(-1),
      local: (args) => [...pairs(args).flatMap(([x, w]) => [w, x]), 1],
      slope: (args) => [...pairs(args).flatMap(([x, w]) => [w, x]), ""],
      show: (args, w) =>
        [...pairs(args).map(([a, b]) => a + w.op("·") + b), args.at(-1)].join(w.op("+")),
      short: "Σ w·x + b",
    },
    relu: {
      value: ([z]) => Math.max(z, 0),
      local: ([z]) => [z > 0 ? 1 : 0],
      slope: ([z], w) => [
        w.list(w.word("1 if ") + z + w.op(">") + w.number(0) + w.word(" else 0")),
      ],
      show: ([z], w) => w.word("max") + w.list(w.number(0), z),
      short: "ReLU",
    },
    cross_entropy: {
      value: ([s, t]) => -logP(s, t),
      local: ([s, t]) => [Math.exp(logP(s, 1)) - t, NaN],
      slope: ([s, t], w) => [w.word("P") + w.list(w.number(1)) + w.op("−") + t, ""],
      show: ([s, t], w) => w.word("−log P") + w.list(t),
      short: "−log P(t)",
    },
  };

  const pairs = (args) => {
    const found = [];
    for (let i = 0; i + 1 < args.length; i += 2) found.push([args[i], args[i + 1]]);
    return found;
  };

  const numbers = (node, values) =>
    node.args.map((arg) => (typeof arg === "string" ? values[arg] : arg));

  /** The value of every node, the inputs included. */
  sim.forward = (graph, inputs) => {
    const values = { ...inputs };
    for (const node of graph.nodes)
      values[node.name] = sim.rules[node.op].value(numbers(node, values));
    return values;
  };

  /**
   * The derivative of the output by every node, and by what paths it came there:
   * {grads: {name: number}, paths: {name: [{to, up, local, part}]}} with part = up * local.
   * As in an engine, what depends on no tracked input gets none.
   */
  sim.backward = (graph, values) => {
    const grads = { [graph.output]: 1 };
    const paths = { [graph.output]: [] };
    for (const name of graph.backward.slice(1)) {
      paths[name] = [];
      for (const node of graph.nodes) {
        const local = sim.rules[node.op].local(numbers(node, values));
        node.args.forEach((arg, i) => {
          if (arg !== name || !(node.name in grads)) return;
          const up = grads[node.name];
          paths[name].push({ to: node.name, index: i, up, local: local[i], part: up * local[i] });
        });
      }
      grads[name] = paths[name].reduce((sum, path) => sum + path.part, 0);
    }
    return { grads, paths };
  };

  /** One step of gradient descent on the tracked inputs. */
  sim.update = (graph, inputs, grads, rate) => {
    const next = { ...inputs };
    for (const name of graph.tracked) next[name] = inputs[name] - rate * grads[name];
    return next;
  };

  /** Completes a graph as it comes from the page's data: output, order of the backward pass, steps. */
  sim.prepare = (graph) => {
    graph.inputs = Object.keys(graph.start);
    graph.output = graph.nodes.at(-1).name;
    const tracked = new Set(graph.tracked);
    for (const node of graph.nodes)
      if (node.args.some((arg) => tracked.has(arg))) tracked.add(node.name);
    const names = [...graph.inputs, ...graph.nodes.map((node) => node.name)];
    // what is computed last is derived first; inputs are ordered by the last node that uses them
    const lastUse = (name) =>
      graph.nodes.findLastIndex((node) => node.name === name || node.args.includes(name));
    const own = (name) => graph.nodes.findIndex((node) => node.name === name);
    const ops = names.filter((n) => tracked.has(n) && own(n) >= 0).sort((a, b) => own(b) - own(a));
    const leaves = graph.inputs.filter((n) => tracked.has(n));
    leaves.sort((a, b) => lastUse(b) - lastUse(a));
    graph.backward = [...ops, ...leaves];
    graph.steps = [
      ...graph.nodes.map((node) => ({ phase: "forward", name: node.name })),
      ...graph.backward.map((name) => ({ phase: "backward", name })),
      { phase: "update", name: "" },
    ];
    return graph;
  };

  /** A number from what someone typed; throws an Error that says why it is none. */
  sim.parse = (text, name, { positive = false, label = false } = {}) => {
    const typed = text.trim();
    const refuse = (expected) => {
      const got = typed || say("nothing");
      throw new Error(say("{name} must be {expected}, got {got}", { name, expected, got }));
    };
    if (/^[+-]?\d+,\d+$/.test(typed)) refuse(say("a number with a point, not a comma"));
    if (/^[+-]?(inf|infinity|nan)$/i.test(typed)) refuse(say("finite"));
    if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(typed)) refuse(say("a number"));
    const value = Number(typed);
    if (!Number.isFinite(value)) refuse(say("finite"));
    if (label && value !== 0 && value !== 1) refuse(say("a class, 0 or 1"));
    if (positive && !(value > 0)) refuse(say("a number above 0"));
    return value;
  };

  /** A number with all its digits. */
  sim.full = (value) => (Number.isFinite(value) ? String(value) : sim.format(value));

  /** A number as it is shown: short, and inf and nan as the columns write them. */
  sim.format = (value, digits = 5) => {
    if (Number.isNaN(value)) return "nan";
    if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
    if (Object.is(value, -0)) return "-0";
    const short = Number(value.toPrecision(digits));
    const size = Math.abs(short);
    const plain = size === 0 || (size >= 1e-4 && size < 1e6);
    return plain ? String(short) : short.toExponential().replace("e+", "e");
  };
})();
