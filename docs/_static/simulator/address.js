// The state in the URL: #graph=2-3-1&iteration=31&step=4 is what a teacher can link to.
//
// Only what differs from the start is written: the inputs that were changed before the first
// update, which iterations had which rate (0.1:3,0.5 is three at 0.1, from then on 0.5), the
// iteration, the row of the batch, and the step.
(() => {
  "use strict";
  const sim = (globalThis.triptychSim ??= {});
  const say = globalThis.triptychSay;

  /** How many iterations there can be: a link computes them all, and must open at once. */
  sim.most = 500;

  /** The iteration and the step that a state stands at; an update is the last step of its own. */
  sim.position = ({ graph, done, past }) =>
    done === 0 && past.length
      ? { iteration: past.length, step: graph.steps.length }
      : { iteration: past.length + 1, step: done };

  /** Whether no further iteration can begin. */
  sim.atEnd = ({ past }) => past.length >= sim.most;

  /** The address of a state. */
  sim.address = (state) => {
    const { graph, inputs, rate, row, past } = state;
    const parts = [`graph=${graph.key}`];
    const first = past[0]?.inputs ?? inputs;
    const free = graph.training ? graph.tracked : graph.inputs;
    for (const name of free) {
      if (first[name] !== graph.start[name]) parts.push(`${name}=${first[name]}`);
    }
    const runs = [];
    for (const one of [...past.map((ended) => ended.rate), rate]) {
      if (runs.at(-1)?.rate === one) runs.at(-1).times++;
      else runs.push({ rate: one, times: 1 });
    }
    if (runs.length > 1 || rate !== graph.rate) {
      const text = runs.map((run, i) => run.rate + (i < runs.length - 1 ? `:${run.times}` : ""));
      parts.push(`rate=${text.join(",")}`);
    }
    const { iteration, step } = sim.position(state);
    if (iteration > 1) parts.push(`iteration=${iteration}`);
    if (row !== 1) parts.push(`row=${row}`);
    if (step) parts.push(`step=${step}`);
    return `#${parts.join("&")}`.replaceAll("+", "%2B"); // 1e+21, where a plus is a space
  };

  /** Whether an address names a state, rather than a place on the page. */
  sim.isAddress = (hash) => /^#([^=&]+=[^&]*&)*graph=/.test(hash);

  /**
   * The state that an address names: {graph, inputs, rates, row, updates, done}, with a rate for
   * each update and the last for all that follow. Throws an Error that says what is wrong.
   */
  sim.parseAddress = (hash, graphs) => {
    const given = new Map(new URLSearchParams(hash.slice(1)));
    const take = (name, otherwise) => {
      const text = given.get(name) ?? otherwise;
      given.delete(name);
      return text;
    };
    const key = take("graph");
    const graph = graphs.find((one) => one.key === key);
    if (!graph) {
      const expected = say("one of {names}", { names: graphs.map((one) => one.key).join(", ") });
      throw new Error(say("{name} must be {expected}, got {got}", { name: "graph", expected, got: key }));
    }
    const whole = (name, otherwise, range) =>
      sim.parse(take(name, otherwise), name, { whole: range });
    // older links count the updates before the iteration
    let updates = given.has("update")
      ? whole("update", "0", [0, sim.most - 1])
      : whole("iteration", "1", [1, sim.most]) - 1;
    let done = whole("step", "0", [0, graph.steps.length]);
    if (done === graph.steps.length) [updates, done] = [updates + 1, 0]; // its last step is an update
    const row = whole("row", "1", [1, graph.training ? sim.batch(graph, 0).length : 1]);
    const rates = take("rate", String(graph.rate))
      .split(",")
      .flatMap((run) => {
        const [rate, times = "1"] = run.split(":");
        const count = sim.parse(times, "rate", { whole: [1, sim.most] });
        return Array(count).fill(sim.parse(rate, "rate", { positive: true }));
      });
    const inputs = { ...graph.start };
    const free = graph.training ? graph.tracked : graph.inputs;
    for (const [name, text] of given) {
      if (!free.includes(name)) throw new Error(say("{graph} has no input {name}", { graph: key, name }));
      inputs[name] = sim.parse(text, name);
    }
    return { graph, inputs, rates, row, updates, done };
  };
})();
