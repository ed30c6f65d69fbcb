// What the page shows of a state, all of it anew at each step: drawing, formulas, lit lines, table.
(() => {
  "use strict";
  const sim = globalThis.triptychSim;
  const say = globalThis.triptychSay;
  const $ = (id) => document.getElementById(`sim-${id}`);
  const { text, mathml } = sim;
  const narrow = matchMedia("(max-width: 700px)");
  let drawing;
  let decided; // the inputs of the map that is shown: they are new only after an update or a change

  /** Draws the graph anew: after a choice, or when the screen gets narrow or wide. */
  sim.redraw = (graph) => {
    drawing = (graph.layers ? sim.drawNetwork : sim.draw)(graph, narrow.matches);
    sim.digits = graph.layers ? 3 : 5;
    document.getElementById("simulator").classList.toggle("sim-network", Boolean(graph.layers));
    $("canvas").replaceChildren(drawing.svg);
  };
  sim.onNarrow = (react) => narrow.addEventListener("change", react);

  /** Shows `state`; `wrong` are the complaints about fields, by name. */
  sim.show = (state, wrong, data) => {
    const { graph } = state;
    const now = look(state);
    const output = text.name(graph.output);
    drawing.show({ ...now, grads: now.shown, step: now.at });
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
    formulas(state, now);
    light(graph, now.at);
    returned(state, now, data.columns);
    plot(state, now, output);
    if (graph.training && decided !== state.inputs) decision(state);
    decided = state.inputs;
    const address = sim.address(state);
    $("link").href = address;
    document.querySelector(".tp-language").hash = address;
    $("say").textContent = wrong.size
      ? `${[...wrong.values()].join("; ")}.`
      : sim.sentence(state, now);
    $("say").dataset.phase = wrong.size ? "wrong" : (now.at?.phase ?? "start");
    $("where").textContent = say("iteration {iteration} · step {step} of {steps}", {
      ...sim.position(state),
      steps: graph.steps.length,
    });
    $("back").disabled = state.done === 0 && state.past.length === 0;
    for (const id of ["step", "play", "train", "update"]) {
      $(id).disabled = wrong.size > 0 || sim.atEnd(state);
    }
  };

  /** Says what was wrong with an address, until the next step. */
  sim.complain = (why) => {
    $("say").textContent = why;
    $("say").dataset.phase = "wrong";
  };

  /** Every number of a state, the names whose numbers have been reached, and the current step. */
  const look = ({ graph, inputs, done, past }) => {
    const values = sim.forward(graph, inputs);
    const found = sim.backward(graph, values);
    const at = graph.steps[done - 1] ?? (past.length ? graph.steps.at(-1) : undefined);
    const reached = (phase) =>
      graph.steps
        .slice(0, done)
        .filter((step) => step.phase === phase)
        .flatMap((step) => step.names);
    return {
      values,
      ...found,
      // what the drawing shows: the derivatives of the row, at the end the mean of the batch's
      shown:
        at?.phase === "mean"
          ? { ...found.grads, ...sim.meanGrads(graph, inputs, sim.batch(graph, past.length)) }
          : found.grads,
      ...(graph.training ? { chances: sim.scores(graph, values).chances } : {}),
      known: new Set([...graph.inputs, ...reached("forward")]),
      derived: new Set(reached("backward")),
      at,
    };
  };

  const formulas = (state, now) => {
    $("formulas").innerHTML = sim
      .formulas(state, now)
      .map(([title, rows]) => {
        const items = rows.map(({ shown, reached, here }) => {
          const kind = `${reached ? "" : "sim-todo"}${here ? " sim-here" : ""}`;
          return `<li class="${kind}">${shown}</li>`;
        });
        return `<div><h3>${title}</h3><ol tabindex="0" aria-label="${title}">${items.join("")}</ol></div>`;
      })
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
    const centre = drawing.centre(at?.name);
    if (!centre || box.scrollWidth <= box.clientWidth) return;
    const scale = box.scrollWidth / drawing.svg.viewBox.baseVal.width;
    box.scrollTo({ left: centre[0] * scale - box.clientWidth / 2 });
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

  const plot = ({ graph, inputs, past }, now, output) => {
    const { training } = graph;
    const losses = past.map((ended) => ended.output);
    if (training) losses.push(sim.judge(graph, inputs, training.rows).loss);
    else if (now.known.has(graph.output)) losses.push(now.values[graph.output]);
    const shown = training
      ? say("The loss on all {rows} rows", { rows: training.rows.t.length })
      : output;
    sim.plot($("plot"), losses, shown);
    const [first, last] = [losses[0], losses.at(-1)];
    const from = { output: shown, first: sim.format(first), last: sim.format(last) };
    $("plot-title").textContent =
      losses.length < 2
        ? say("{output} after each update", { output: shown })
        : last < first
          ? say("{output} falls from {first} to {last}", from)
          : last <= first || past.length < 2
            ? say("{output} goes from {first} to {last}", from)
            : say("{output} goes from {first} to {last}: the rate is too large", from);
  };

  const decision = ({ graph, inputs, row, past }) => {
    const { classes, rows, held_out, labels, inputs: names, plane } = graph.training;
    sim.decision($("decision"), graph, inputs, sim.batch(graph, past.length)[row - 1]);
    const [seen, unseen] = [rows, held_out].map((set) => sim.judge(graph, inputs, set));
    const [low, middle, high] = classes.length === 3 ? classes : [classes[0], "", classes[1]];
    const said = { right: seen.right, rows: seen.rows, held: unseen.right, unseen: unseen.rows };
    $("decision-title").textContent = say(
      "Right for {right} of {rows} rows, and for {held} of {unseen} that were held out",
      said,
    );
    const ends = { low, middle, high };
    $("decision-legend").textContent = middle
      ? say("○ {low}, □ {middle}, + {high}. Shaded: {high} (solid edge) and {low} (dashed edge), with the other inputs at their mean.", ends)
      : say("○ {low}, + {high}. Shaded: {high}.", ends);
    const [x, y] = plane.map((name) => labels[names.indexOf(name)]);
    $("decision").setAttribute(
      "aria-label",
      say("What is decided by {x} and {y}, with the rows of the study", { x, y }),
    );
  };
})();
