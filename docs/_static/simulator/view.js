// What the page shows of a state, all of it anew at each step: drawing, formulas, lit lines, table.
(() => {
  "use strict";
  const sim = globalThis.triptychSim;
  const say = globalThis.triptychSay;
  const $ = (id) => document.getElementById(`sim-${id}`);
  const { text, mathml } = sim;
  const narrow = matchMedia("(max-width: 700px)");
  let drawing;

  /** Draws the graph anew: after a choice, or when the screen gets narrow or wide. */
  sim.redraw = (graph) => {
    drawing = sim.draw(graph, narrow.matches);
    $("canvas").replaceChildren(drawing.svg);
  };
  sim.onNarrow = (react) => narrow.addEventListener("change", react);

  /** Shows `state`; `wrong` are the complaints about fields, by name. */
  sim.show = (state, wrong, data) => {
    const { graph, done } = state;
    const now = look(state);
    const updated = now.at?.phase === "update";
    const output = text.name(graph.output);
    drawing.show({ ...now, step: now.at });
    drawing.svg.setAttribute(
      "aria-label",
      say("{title}. Computed: {known} of {values} values, {derived} of {all} derivatives.", {
        title: graph.title,
        known: now.known.size - graph.inputs.length,
        values: graph.nodes.length,
        derived: now.derived.size,
        all: graph.backward.length,
      }),
    );
    follow(now.at);
    formulas(state, now, updated);
    light(graph, now.at);
    returned(state, now, data.columns);
    plot(state, now, output);
    $("say").textContent = wrong.size
      ? `${[...wrong.values()].join("; ")}.`
      : sentence(state, now, output);
    $("say").dataset.phase = wrong.size ? "wrong" : (now.at?.phase ?? "start");
    $("where").textContent =
      say("round {round} · step {done} of {steps}", {
        round: state.past.length + 1,
        done,
        steps: graph.steps.length,
      });
    $("back").disabled = done === 0 && state.past.length === 0;
    for (const id of ["step", "play", "update"]) $(id).disabled = wrong.size > 0;
  };

  /** Every number of a state, the names whose numbers have been reached, and the current step. */
  const look = ({ graph, inputs, done, past }) => {
    const values = sim.forward(graph, inputs);
    const reached = (phase) =>
      graph.steps
        .slice(0, done)
        .filter((step) => step.phase === phase)
        .map((step) => step.name);
    return {
      values,
      ...sim.backward(graph, values),
      known: new Set([...graph.inputs, ...reached("forward")]),
      derived: new Set(reached("backward")),
      at: graph.steps[done - 1] ?? (past.length ? graph.steps.at(-1) : undefined),
    };
  };

  /** The update of each tracked input: in symbols, and right after it in numbers. */
  const changes = ({ graph, inputs, done, past }, w) => {
    const before = done === 0 && past.at(-1);
    return graph.tracked.map((name) => {
      const [old, rate, slope, after] = before
        ? [
            sim.term(before.inputs[name], w),
            w.number(before.rate),
            sim.term(before.grads[name], w),
            w.op("=") + w.number(inputs[name]),
          ]
        : [w.name(name), w.word(say("rate")), w.d(graph.output, name), ""];
      return w.name(name) + w.op("←") + old + w.op("−") + rate + w.op("·") + slope + after;
    });
  };

  const sentence = (state, now, output) => {
    const { graph } = state;
    if (!now.at) {
      const inputs = graph.inputs.map((n) => `${text.name(n)} = ${sim.format(state.inputs[n])}`);
      return say("Start: {inputs}. Step forward to compute the nodes.", {
        inputs: inputs.join(", "),
      });
    }
    const { phase, name } = now.at;
    if (phase === "update") {
      const all = changes(state, text);
      const few = all.slice(0, 3).join("; ");
      const changed = all.length > 3 ? say("{changes}; and so on", { changes: few }) : few;
      return say(
        "Update, each less rate times derivative: {changed}. Step forward to see the new {output}.",
        { changed, output },
      );
    }
    if (phase === "forward") {
      const node = graph.nodes.find((n) => n.name === name);
      return say("Forward: {formula}.", { formula: sim.forwardFormula(node, now.values) });
    }
    const paths = now.paths[name];
    const formula = sim.backwardFormula(graph, name, paths, now.grads);
    if (!paths.length) return say("Backward: {formula}: the output by itself.", { formula });
    const where = paths.map((p) => sim.localFormula(graph, name, p)).join(", ");
    if (paths.length === 1) return say("Backward: {formula}, where {where}.", { formula, where });
    const n = paths.length;
    return say("Backward: {formula}, the sum over {n} paths, where {where}.", { formula, n, where });
  };

  const formulas = (state, now, updated) => {
    const { graph } = state;
    const row = (formula, reached, here) =>
      `<li class="${reached ? "" : "sim-todo"}${here ? " sim-here" : ""}">${sim.math(formula)}</li>`;
    const is = (phase, name) => now.at?.phase === phase && now.at.name === name;
    const forward = graph.nodes.map((node) => {
      const reached = now.known.has(node.name);
      const formula = sim.forwardFormula(node, reached && now.values, mathml);
      return row(formula, reached, is("forward", node.name));
    });
    const backward = graph.backward.map((name) => {
      const reached = now.derived.has(name);
      const grads = reached && now.grads;
      const formula = sim.backwardFormula(graph, name, now.paths[name], grads, mathml);
      return row(formula, reached, is("backward", name));
    });
    const update = changes(state, mathml).map((formula) => row(formula, updated, updated));
    const lists = {
      [say("Forward")]: forward,
      [say("Backward")]: backward,
      [say("Update")]: update,
    };
    $("formulas").innerHTML = Object.entries(lists)
      .map(
        ([title, rows]) =>
          `<div><h3>${title}</h3><ol tabindex="0" aria-label="${title}">${rows.join("")}</ol></div>`,
      )
      .join("");
    for (const list of $("formulas").querySelectorAll("ol")) {
      reveal(list, list.querySelector(".sim-here"));
    }
  };

  const light = (graph, at) => {
    for (const line of document.querySelectorAll(".sim-code .tp-lit")) {
      line.classList.remove("tp-lit");
    }
    const step = at ? `${at.phase} ${at.name}`.trim() : "start";
    const lit = [];
    for (const [name, columns] of Object.entries(graph.lit[step])) {
      for (const [column, lines] of Object.entries(columns)) {
        const place = `[data-code="${name}"] [data-column="${column}"]`;
        lit.push(...lines.map((n) => document.querySelector(`${place} [data-line="${n}"]`)));
      }
    }
    for (const line of lit) line.classList.add("tp-lit");
    // a column that a narrow screen hides has no place to scroll to
    reveal(
      $("code"),
      lit.find((line) => line.offsetParent),
    );
  };

  // Only the box scrolls, never the page, which is the reader's.
  const reveal = (box, part) => {
    if (!part) return;
    const [outer, inner] = [box.getBoundingClientRect(), part.getBoundingClientRect()];
    if (inner.top >= outer.top && inner.bottom <= outer.bottom) return;
    box.scrollTop += inner.top - outer.top - outer.height / 2 + inner.height / 2;
  };

  /** A drawing that is wider than the screen follows the current node. */
  const follow = (at) => {
    const box = $("canvas");
    if (!at?.name || box.scrollWidth <= box.clientWidth) return;
    const scale = box.scrollWidth / drawing.svg.viewBox.baseVal.width;
    box.scrollTo({ left: drawing.centre(at.name)[0] * scale - box.clientWidth / 2 });
  };

  const returned = ({ graph, inputs }, now, columns) => {
    const first = Object.values(graph.returned)[0];
    const moved = graph.inputs.some((name) => inputs[name] !== graph.start[name]);
    const row = (kind, name, title, reached, value) => {
      const cells = Object.keys(columns).map(
        (column) => `<td>${sim.full(graph.returned[column][kind][name])}</td>`,
      );
      const own = moved
        ? say("inputs changed")
        : reached
          ? sim.full(value)
          : say("not yet computed");
      const muted = moved || !reached ? ' class="tp-muted"' : "";
      return (
        `<tr data-${kind}="${name}"><th scope="row">${sim.math(title)}</th>` +
        `${cells.join("")}<td${muted}>${own}</td></tr>`
      );
    };
    const rows = [
      ...Object.keys(first.values).map((n) =>
        row("values", n, mathml.name(n), now.known.has(n), now.values[n]),
      ),
      ...graph.backward
        .filter((n) => n in first.grads)
        .map((n) => row("grads", n, mathml.d(graph.output, n), now.derived.has(n), now.grads[n])),
    ];
    const heads = [...Object.values(columns), say("this page")].map((t) => `<th scope="col">${t}</th>`);
    $("returned").innerHTML =
      `<thead><tr><td></td>${heads.join("")}</tr></thead><tbody>${rows.join("")}</tbody>`;
  };

  const plot = ({ graph, past }, now, output) => {
    const losses = past.map((round) => round.output);
    if (now.known.has(graph.output)) losses.push(now.values[graph.output]);
    sim.plot($("plot"), losses, output);
    const [first, last] = [losses[0], losses.at(-1)];
    const from = { output, first: sim.format(first), last: sim.format(last) };
    $("plot-title").textContent =
      losses.length < 2
        ? say("{output} after each update", { output })
        : last < first
          ? say("{output} falls from {first} to {last}", from)
          : last > first && past.length > 1
            ? say("{output} goes from {first} to {last}: the rate is too large", from)
            : say("{output} goes from {first} to {last}", from);
  };
})();
