// The page: what it remembers, and how a click, a key or a slider changes it.
(() => {
  "use strict";
  const sim = globalThis.triptychSim;
  const $ = (id) => document.getElementById(`sim-${id}`);
  const data = JSON.parse($("data").textContent);
  const graphs = data.graphs.map(sim.prepare);
  const PAUSE = 1300; // milliseconds between steps: time to read one
  const RANGE = 5; // of a slider, on both sides of 0

  // Everything else is computed from this. `done` counts the steps of the current round; `past`
  // holds what each round that an update has ended came to.
  const state = { graph: graphs[0], inputs: {}, rate: data.learning_rate, done: 0, past: [] };
  const wrong = new Map(); // fields whose text is no number, and why
  let drawing;
  let timer;

  const derive = () => {
    const values = sim.forward(state.graph, state.inputs);
    return { values, ...sim.backward(state.graph, values) };
  };

  // --- steps

  const last = () => state.graph.steps.length - 1;

  const step = () => {
    if (wrong.size) return false;
    if (state.done < last()) {
      state.done++;
      return true;
    }
    const { values, grads } = derive();
    state.past.push({ inputs: state.inputs, output: values[state.graph.output], grads, rate: state.rate });
    state.inputs = sim.update(state.graph, state.inputs, grads, state.rate);
    state.done = 0;
    for (const name of state.graph.tracked) fill(name);
    return true;
  };

  const back = () => {
    if (state.done > 0) state.done--;
    else if (state.past.length) {
      state.inputs = state.past.pop().inputs;
      state.done = last();
      for (const name of state.graph.inputs) fill(name);
    }
  };

  // through the next update, and forward again, so that the new output is seen
  const update = () => {
    const rounds = state.past.length;
    while (step() && !(state.past.length > rounds && state.done === state.graph.nodes.length));
  };

  const reset = () => {
    state.inputs = { ...state.graph.start };
    Object.assign(state, { rate: data.learning_rate, done: 0, past: [] });
    for (const name of [...state.graph.inputs, ""]) fill(name);
  };

  const play = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(() => (step() ? render() : play(false)), PAUSE) : undefined;
    $("play").setAttribute("aria-pressed", String(on));
    $("play").textContent = on ? "Pause" : "Play";
  };

  // --- inputs: a slider and a field for each, and a field for the learning rate (name "")

  const field = (name) => $(`field-${name}`);
  const label = (name) => name || "learning rate";
  const isClass = (name) => state.graph.nodes.some((n) => n.op === "cross_entropy" && n.args[1] === name);

  /** Writes the number into its field and slider; after an update it may be one that none accepts. */
  const fill = (name) => {
    const value = name ? state.inputs[name] : state.rate;
    field(name).value = sim.format(value, 6);
    field(name).title = sim.full(value);
    check(name);
    if (name) $(`slider-${name}`).value = value;
  };

  /** The number in a field, or undefined after saying why there is none. */
  const check = (name) => {
    const input = field(name);
    const complaint = $(`why-${name}`);
    try {
      const value = sim.parse(input.value, label(name), { positive: !name, label: isClass(name) });
      wrong.delete(name);
      input.removeAttribute("aria-invalid");
      complaint.textContent = "";
      return value;
    } catch (error) {
      wrong.set(name, error.message);
      input.setAttribute("aria-invalid", "true");
      complaint.textContent = error.message;
      return undefined;
    }
  };

  const change = (name) => {
    const value = check(name);
    if (value !== undefined && name) {
      state.inputs = { ...state.inputs, [name]: value };
      state.past = []; // another start, so another curve
      $(`slider-${name}`).value = value;
    } else if (value !== undefined) state.rate = value;
    render();
  };

  const row = (name) => {
    const constant = name && !state.graph.tracked.includes(name);
    const slider = isClass(name) ? `min="0" max="1" step="1"` : `min="${-RANGE}" max="${RANGE}" step="0.05"`;
    const shown = name ? sim.math(sim.mathml.name(name)) : "rate";
    const note = constant ? ` <span class="sim-note">${isClass(name) ? "class" : "constant"}</span>` : "";
    return `<div class="sim-row"><label for="sim-field-${name}">${shown}${note}</label>
      ${name ? `<input type="range" id="sim-slider-${name}" ${slider} aria-label="${name}, slider">` : "<span></span>"}
      <input type="text" inputmode="decimal" autocomplete="off" spellcheck="false" id="sim-field-${name}"
        aria-label="${label(name)}" aria-describedby="sim-why-${name}">
      <p class="sim-why" id="sim-why-${name}"></p></div>`;
  };

  // --- what is seen

  const choose = (graph) => {
    play(false);
    state.graph = graph;
    wrong.clear();
    $("inputs").innerHTML = [...graph.inputs, ""].map(row).join("");
    for (const name of [...graph.inputs, ""]) {
      field(name).addEventListener("input", () => change(name));
      $(`slider-${name}`)?.addEventListener("input", (event) => {
        field(name).value = event.target.value;
        change(name);
      });
    }
    for (const block of document.querySelectorAll("[data-code]")) {
      block.hidden = ![...graph.code, data.update].includes(block.dataset.code);
    }
    redraw();
    reset();
    render();
  };

  const narrow = matchMedia("(max-width: 700px)");
  const redraw = () => {
    drawing = sim.draw(state.graph, narrow.matches);
    $("canvas").replaceChildren(drawing.svg);
  };

  const current = () =>
    state.done ? state.graph.steps[state.done - 1] : state.past.length ? { phase: "update", name: "" } : undefined;

  /** The update of each tracked input: in symbols, and right after it in numbers. */
  const changes = (w) => {
    const before = state.done === 0 && state.past.at(-1);
    return state.graph.tracked.map((name) => {
      const to = w.name(name) + w.op("←");
      if (!before) return to + w.name(name) + w.op("−") + w.word("rate") + w.op("·") + w.d(state.graph.output, name);
      const [old, grad] = [before.inputs[name], before.grads[name]].map((v) => sim.term(v, w));
      return to + old + w.op("−") + w.number(before.rate) + w.op("·") + grad + w.op("=") + w.number(state.inputs[name]);
    });
  };

  const sentence = (now, at) => {
    const { graph } = state;
    if (wrong.size) return [...wrong.values()].join("; ") + ".";
    if (!at) return `Start: ${graph.inputs.map((n) => `${sim.text.name(n)} = ${sim.format(state.inputs[n])}`).join(", ")}. Step forward to compute the nodes.`;
    if (at.phase === "update") {
      const few = changes(sim.text).slice(0, 3).join("; ");
      return `Update ${state.past.length}, rate times gradient off each: ${few}${graph.tracked.length > 3 ? "; and so on" : ""}. Step forward to see the new ${sim.text.name(graph.output)}.`;
    }
    if (at.phase === "forward") {
      return `Forward: ${sim.forwardFormula(graph.nodes.find((n) => n.name === at.name), now.values)}.`;
    }
    const paths = now.paths[at.name];
    const said = `Backward: ${sim.backwardFormula(graph, at.name, paths, now.grads)}`;
    if (!paths.length) return `${said}: the output by itself.`;
    const locals = paths.map((p) => sim.localFormula(graph, at.name, p)).join(", ");
    return `${said}${paths.length > 1 ? `, the sum over ${paths.length} paths` : ""}, where ${locals}.`;
  };

  const formulas = (now, known, derived, at) => {
    const { graph } = state;
    const w = sim.mathml;
    const item = (html, reached, here) =>
      `<li class="${reached ? "" : "sim-todo"}${here ? " sim-here" : ""}">${sim.math(html)}</li>`;
    const is = (phase, name) => at?.phase === phase && at.name === name;
    const forward = graph.nodes.map((node) =>
      item(sim.forwardFormula(node, known.has(node.name) && now.values, w), known.has(node.name), is("forward", node.name)),
    );
    const backward = graph.backward.map((name) =>
      item(sim.backwardFormula(graph, name, now.paths[name], derived.has(name) && now.grads, w), derived.has(name), is("backward", name)),
    );
    const updated = at?.phase === "update";
    const updates = changes(w).map((html) => item(html, updated, updated));
    $("formulas").innerHTML = [["Forward", forward], ["Backward", backward], ["Update", updates]]
      .map(([title, items]) => `<div><h3>${title}</h3><ol tabindex="0" aria-label="${title}">${items.join("")}</ol></div>`)
      .join("");
    for (const list of document.querySelectorAll(".sim-formulas ol")) reveal(list, list.querySelector(".sim-here"));
  };

  // Only the box scrolls, never the page, which is the reader's.
  const reveal = (box, part) => {
    if (!part) return;
    const [outer, inner] = [box.getBoundingClientRect(), part.getBoundingClientRect()];
    if (inner.top >= outer.top && inner.bottom <= outer.bottom) return;
    box.scrollTop += inner.top - outer.top - outer.height / 2 + inner.height / 2;
  };

  const light = (at) => {
    const key = at ? `${at.phase} ${at.name}`.trim() : "start";
    for (const line of document.querySelectorAll(".sim-code .tp-lit")) line.classList.remove("tp-lit");
    for (const [name, columns] of Object.entries(state.graph.lit[key] ?? {})) {
      for (const [column, lines] of Object.entries(columns)) {
        for (const line of lines) {
          const place = `[data-code="${name}"] [data-column="${column}"] [data-line="${line}"]`;
          document.querySelector(place)?.classList.add("tp-lit");
        }
      }
    }
    const seen = [...document.querySelectorAll(".sim-code .tp-lit")].find((line) => line.offsetParent);
    reveal($("code"), seen);
  };

  const returned = (now, known, derived) => {
    const { graph } = state;
    const atStart = graph.inputs.every((name) => state.inputs[name] === graph.start[name]);
    const names = Object.keys(data.columns);
    const first = graph.returned[names[0]];
    const line = (title, kind, name, reached, value) => {
      const cells = names.map((column) => `<td>${sim.full(graph.returned[column][kind][name])}</td>`);
      const own = !atStart ? "inputs changed" : reached ? sim.full(value) : "not yet computed";
      return `<tr data-${kind}="${name}"><th scope="row">${sim.math(title)}</th>${cells.join("")}<td${atStart && reached ? "" : ' class="tp-muted"'}>${own}</td></tr>`;
    };
    const rows = [
      ...Object.keys(first.values).map((n) => line(sim.mathml.name(n), "values", n, known.has(n), now.values[n])),
      ...graph.backward.filter((n) => n in first.grads).map((n) => line(sim.mathml.d(graph.output, n), "grads", n, derived.has(n), now.grads[n])),
    ];
    const heads = [...Object.values(data.columns), "this page"].map((title) => `<th scope="col">${title}</th>`);
    $("returned").innerHTML = `<thead><tr><td></td>${heads.join("")}</tr></thead><tbody>${rows.join("")}</tbody>`;
  };

  const render = () => {
    const { graph, done } = state;
    const now = derive();
    const at = current();
    const reached = graph.steps.slice(0, done);
    const named = (phase) => reached.filter((s) => s.phase === phase).map((s) => s.name);
    const known = new Set([...graph.inputs, ...named("forward")]);
    const derived = new Set(named("backward"));
    const losses = [...state.past.map((p) => p.output), ...(known.has(graph.output) ? [now.values[graph.output]] : [])];
    const output = sim.text.name(graph.output);
    drawing.show({ ...now, known, derived, step: at });
    drawing.svg.setAttribute("aria-label", `${graph.title}. ${derived.size} of ${graph.backward.length} derivatives, ${known.size - graph.inputs.length} of ${graph.nodes.length} values computed.`);
    follow(at);
    formulas(now, known, derived, at);
    light(at);
    returned(now, known, derived);
    sim.plot($("plot"), losses, output);
    $("plot-title").textContent = losses.length > 1
      ? `${output} ${losses.at(-1) < losses[0] ? "falls" : "goes"} from ${sim.format(losses[0])} to ${sim.format(losses.at(-1))}`
      : `${output} after each update`;
    $("say").textContent = sentence(now, at);
    $("say").dataset.phase = wrong.size ? "wrong" : at?.phase ?? "start";
    $("where").textContent = `round ${state.past.length + 1} · step ${done} of ${graph.steps.length}`;
    $("back").disabled = done === 0 && state.past.length === 0;
    for (const id of ["step", "play", "update"]) $(id).disabled = wrong.size > 0;
    if (wrong.size) play(false);
  };

  /** A drawing that is wider than the screen follows the current node. */
  const follow = (at) => {
    const box = $("canvas");
    if (!at?.name || box.scrollWidth <= box.clientWidth) return;
    const [x] = drawing.centre(at.name);
    box.scrollTo({ left: x - box.clientWidth / 2 });
  };

  // --- hands

  const act = { step, back, update, reset };
  for (const [id, action] of Object.entries(act)) {
    $(id).addEventListener("click", () => {
      play(false);
      action();
      render();
    });
  }
  $("play").addEventListener("click", () => play(timer === undefined));
  $("inputs").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("simulator").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, select")) return;
    const key = { ArrowRight: "step", ArrowLeft: "back", u: "update", r: "reset", " ": "play" }[event.key];
    if (!key || (key === "play" && event.target.matches("button"))) return;
    event.preventDefault();
    if (!$(key).disabled) $(key).click();
  });
  $("graph").append(...graphs.map((graph, i) => new Option(`${graph.title} (${graph.source})`, i)));
  $("graph").addEventListener("change", (event) => choose(graphs[event.target.value]));
  narrow.addEventListener("change", () => {
    redraw();
    render();
  });
  choose(state.graph);
})();
