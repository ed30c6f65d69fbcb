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

  // A single score is that of class 1, where class 0 has the score 0.
  const scoresOf = (args) => (args.length === 2 ? [0, args[0]] : args.slice(0, -1));

  // As the columns do it: with the largest taken off, exp cannot overflow.
  const logP = (scores) => {
    const largest = Math.max(...scores);
    const sum = scores.reduce((total, s) => total + Math.exp(s - largest), 0);
    return scores.map((s) => s - largest - Math.log(sum));
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
      value: (args) => {
        let sum = 0;
        for (let i = 0; i + 1 < args.length; i += 2) sum += args[i] * args[i + 1];
        return sum + args.at(-1);
      },
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
      value: (args) => -logP(scoresOf(args))[args.at(-1)],
      local: (args) => {
        const slopes = logP(scoresOf(args)).map((p, k) => Math.exp(p) - (k === args.at(-1) ? 1 : 0));
        return [...slopes.slice(1 - args.length), NaN];
      },
      slope: (args, w) => [w.word("P") + w.list(w.number(1)) + w.op("−") + args.at(-1), ""],
      show: (args, w) => w.word("−log P") + w.list(args.at(-1)),
      short: "−log P(t)",
    },
  };

  /** The scores of all classes, and their probabilities. */
  sim.scores = (graph, values) => {
    const scores = scoresOf(numbers(graph.nodes.at(-1), values));
    return { scores, chances: logP(scores).map(Math.exp) };
  };

  const pairs = (args) => {
    const found = [];
    for (let i = 0; i + 1 < args.length; i += 2) found.push([args[i], args[i + 1]]);
    return found;
  };

  const numbers = (node, values) =>
    node.args.map((arg) => (typeof arg === "string" ? values[arg] : arg));

  /** Computes every node into `values`, which holds the inputs. */
  sim.compute = (graph, values) => {
    for (const node of graph.nodes)
      values[node.name] = sim.rules[node.op].value(numbers(node, values));
    return values;
  };

  /** The value of every node, the inputs included. */
  sim.forward = (graph, inputs) => sim.compute(graph, { ...inputs });

  /**
   * The derivative of the output by every node, and by what paths it came there:
   * {grads: {name: number}, paths: {name: [{to, up, local, part}]}} with part = up * local.
   * As in an engine, what depends on no tracked input gets none.
   */
  sim.backward = (graph, values) => {
    const [grads, paths, locals] = [{}, {}, new Map()];
    for (const name of graph.backward) {
      let sum = name === graph.output ? 1 : 0;
      // what uses a name has been derived before it
      paths[name] = graph.users.get(name).map(({ node, index }) => {
        if (!locals.has(node)) locals.set(node, sim.rules[node.op].local(numbers(node, values)));
        const [up, local] = [grads[node.name], locals.get(node)[index]];
        sum += up * local;
        return { to: node.name, index, up, local, part: up * local };
      });
      grads[name] = sum;
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
    graph.users = new Map(graph.backward.map((name) => [name, []]));
    for (const node of graph.nodes) {
      if (!tracked.has(node.name)) continue;
      node.args.forEach((arg, index) => graph.users.get(arg)?.push({ node, index }));
    }
    const one = (phase) => (name) => ({ phase, name, names: [name] });
    graph.steps = [
      ...(graph.steps ?? [
        ...graph.nodes.map((node) => node.name).map(one("forward")),
        ...graph.backward.map(one("backward")),
      ]),
      ...(graph.training ? [{ phase: "mean", name: "", names: graph.tracked }] : []),
      { phase: "update", name: "", names: graph.tracked },
    ];
    return graph;
  };

  /** A number from what someone typed; throws an Error that says why it is none. */
  sim.parse = (text, name, { positive = false, whole } = {}) => {
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
    if (whole && !(Number.isInteger(value) && value >= whole[0] && value <= whole[1])) {
      refuse(say("a whole number from {least} to {most}", { least: whole[0], most: whole[1] }));
    }
    if (positive && !(value > 0)) refuse(say("a number above 0"));
    return value;
  };

  /** How many digits are shown; a formula of a network holds many numbers. */
  sim.digits = 5;

  /** A number with all its digits. */
  sim.full = (value) => (Number.isFinite(value) ? String(value) : sim.format(value));

  /** A number as it is shown: short, and inf and nan as the columns write them. */
  sim.format = (value, digits = sim.digits) => {
    if (Number.isNaN(value)) return "nan";
    if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
    if (Object.is(value, -0)) return "-0";
    const short = Number(value.toPrecision(digits));
    const size = Math.abs(short);
    const plain = size === 0 || (size >= 1e-4 && size < 1e6);
    return plain ? String(short) : short.toExponential().replace("e+", "e");
  };
})();
