// Training on the rows of a study: what a graph that has `training` does beyond a single row.
(() => {
  "use strict";
  const sim = (globalThis.triptychSim ??= {});

  /** The row numbers that an iteration sees, counted from 0; after the last batch the first comes again. */
  sim.batch = ({ training: { batches } }, iteration) => batches[iteration % batches.length];

  /** Puts a row of a set into `inputs`. */
  sim.seat = ({ training }, inputs, set, row) => {
    training.inputs.forEach((name, i) => (inputs[name] = set.x[row][i]));
    inputs.t = set.t[row];
    return inputs;
  };

  /** The mean of the derivatives over a batch, for every tracked input. */
  sim.meanGrads = (graph, inputs, rows) => {
    const sums = Object.fromEntries(graph.tracked.map((name) => [name, 0]));
    const values = { ...inputs }; // for all rows: a copy costs more than a row
    for (const row of rows) {
      sim.compute(graph, sim.seat(graph, values, graph.training.rows, row));
      const { grads } = sim.backward(graph, values);
      for (const name of graph.tracked) sums[name] += grads[name];
    }
    for (const name of graph.tracked) sums[name] /= rows.length;
    return sums;
  };

  // by inputs, then by set: a step computes nothing anew that only an update changes
  const judged = new WeakMap();

  /** How the network does on a whole set: its mean loss, and how many rows it gets right. */
  sim.judge = (graph, inputs, set) => {
    if (!judged.has(inputs)) judged.set(inputs, new Map());
    const known = judged.get(inputs);
    if (!known.has(set)) known.set(set, judge(graph, { ...inputs }, set));
    return known.get(set);
  };

  const judge = (graph, values, set) => {
    let [loss, right] = [0, 0];
    set.t.forEach((t, row) => {
      sim.compute(graph, sim.seat(graph, values, set, row));
      loss += values[graph.output];
      const { scores } = sim.scores(graph, values);
      if (scores.indexOf(Math.max(...scores)) === t) right++;
    });
    return { loss: loss / set.t.length, right, rows: set.t.length };
  };
})();
