// What the page says of a state: the sentence that is read out, and the formulas of every step.
(() => {
  "use strict";
  const sim = (globalThis.triptychSim ??= {});
  const say = globalThis.triptychSay;
  const { text, mathml } = sim;

  // of a large network a step is a formula of vectors, which the graph brings
  const large = (graph) => Boolean(graph.steps[0].text);
  const MEAN = ["W", "b"].map((p) => `${say("mean")} dL/d${p}`).join(",  ");
  const UPDATE = ["W", "b"]
    .map((p) => `${p} ← ${p} − ${say("rate")} · ${say("mean")} dL/d${p}`)
    .join(",  ");

  const mean = (w) => w.word(`${say("mean")}\u00a0`);

  /** The update of each tracked input: in symbols, and right after it in numbers. */
  const changes = ({ graph, inputs, done, past }, w) => {
    const before = done === 0 && past.at(-1);
    return graph.tracked.map((name) => {
      const slope = w.d(graph.output, name);
      const [old, rate, by, after] = before
        ? [
            sim.term(before.inputs[name], w),
            w.number(before.rate),
            sim.term(before.grads[name], w),
            w.op("=") + w.number(inputs[name]),
          ]
        : [w.name(name), w.word(say("rate")), graph.training ? mean(w) + slope : slope, ""];
      return w.name(name) + w.op("←") + old + w.op("−") + rate + w.op("·") + by + after;
    });
  };

  /** The mean of each derivative over the batch: in symbols and, once there, in numbers. */
  const means = ({ graph }, now, w) =>
    graph.tracked.map((name) => {
      const symbol = mean(w) + w.d(graph.output, name);
      return now.at?.phase === "mean" ? symbol + w.op("=") + w.number(now.shown[name]) : symbol;
    });

  /** A value, or a derivative by the chain rule: with its numbers once it has been reached. */
  const forward = ({ graph }, now, name, w) => {
    const node = graph.nodes.find((one) => one.name === name);
    return sim.forwardFormula(node, now.known.has(name) && now.values, w);
  };
  const backward = ({ graph }, now, name, w) =>
    sim.backwardFormula(graph, name, now.paths[name], now.derived.has(name) && now.grads, w);

  // three of many are read out
  const few = (all) => {
    const changes = all.slice(0, 3).join("; ");
    return all.length > 3 ? say("{changes}; and so on", { changes }) : changes;
  };

  /** What happens now, in a sentence. */
  sim.sentence = (state, now) => {
    const { graph, past } = state;
    if (!now.at) return start(state);
    const { phase, names, text: formulas } = now.at;
    if (phase === "update") {
      const changed = large(graph) ? UPDATE : few(changes(state, text));
      const next = sim.atEnd(state)
        ? say("Iteration {iteration} is the last one here: go back, or reset.", { iteration: past.length })
        : say("The next step begins another iteration.");
      return say("Update, each less rate times derivative: {changed}. {next}", { changed, next });
    }
    if (phase === "mean") {
      const rows = sim.batch(graph, past.length).length;
      const found = large(graph) ? MEAN : few(means(state, now, text));
      return say("The update takes the mean over the {rows} rows of the batch: {found}.", { rows, found });
    }
    if (phase === "forward") {
      const formula = formulas || few(names.map((name) => forward(state, now, name, text)));
      return say("Forward: {formula}.", { formula });
    }
    if (formulas) return say("Backward: {formula}.", { formula: formulas });
    const formula = few(names.map((name) => backward(state, now, name, text)));
    // the local derivatives; of several names those of the first
    const paths = now.paths[names[0]];
    if (!paths.length) return say("Backward: {formula}: the output by itself.", { formula });
    const where = paths.map((path) => sim.localFormula(graph, names[0], path)).join(", ");
    if (paths.length === 1) return say("Backward: {formula}, where {where}.", { formula, where });
    const n = paths.length;
    return say("Backward: {formula}, the sum over {n} paths, where {where}.", { formula, n, where });
  };

  const start = ({ graph, inputs, row }) => {
    const { training } = graph;
    if (training) {
      return say(
        "Start: the first batch has {rows} rows. The drawing follows row {row}, whose class is {class}. The next step begins the forward pass.",
        { rows: sim.batch(graph, 0).length, row, class: training.classes[inputs.t] },
      );
    }
    const given = graph.inputs.map((name) => `${text.name(name)} = ${sim.format(inputs[name])}`);
    return say("Start: {inputs}. The next step begins the forward pass.", { inputs: given.join(", ") });
  };

  /**
   * The formulas by phase, as [title, [{shown, reached, here}]]: whether a formula has been reached,
   * and whether it is that of the current step.
   */
  sim.formulas = (state, now) => {
    const { graph, done } = state;
    const phase = now.at?.phase;
    const lines = (formulas) => formulas.replaceAll(",  ", "<br>");
    const steps = (wanted) =>
      graph.steps.flatMap((step, i) =>
        step.phase === wanted
          ? [{ shown: lines(step.text), reached: i < done, here: step === now.at }]
          : [],
      );
    const one = (shown, wanted) => ({ shown, reached: phase === wanted, here: phase === wanted });
    const each = (formulas, wanted) => formulas.map((formula) => one(sim.math(formula), wanted));
    const named = (formula, reached, wanted) =>
      graph.steps.flatMap((step) =>
        (step.phase === wanted ? step.names : []).map((name) => ({
          shown: sim.math(formula(state, now, name, mathml)),
          reached: reached.has(name),
          here: step === now.at,
        })),
      );
    const rows = large(graph)
      ? [steps("forward"), steps("backward"), [one(lines(MEAN), "mean")], [one(lines(UPDATE), "update")]]
      : [
          named(forward, now.known, "forward"),
          named(backward, now.derived, "backward"),
          graph.training ? each(means(state, now, mathml), "mean") : [],
          each(changes(state, mathml), "update"),
        ];
    return [say("Forward"), say("Backward"), say("Mean"), say("Update")]
      .map((title, i) => [title, rows[i]])
      .filter(([, formulas]) => formulas.length);
  };
})();
