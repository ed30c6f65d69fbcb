// The page: what it remembers, and how a click, a key or a slider changes it.
(() => {
  "use strict";
  const sim = globalThis.triptychSim;
  const say = globalThis.triptychSay;
  const $ = (id) => document.getElementById(`sim-${id}`);
  const data = JSON.parse($("data").textContent);
  const graphs = data.graphs.map(sim.prepare);
  const PAUSE = 1300; // milliseconds between steps: time to read one
  const RANGE = 5; // of a slider, on both sides of 0

  // All that is shown is computed from this. `done` counts the steps of the current round; `past`
  // holds what each round that an update has ended came to.
  const state = { graph: graphs[0], inputs: {}, rate: data.learning_rate, done: 0, past: [] };
  const wrong = new Map(); // fields whose text is no number, and why
  let timer;

  const render = () => {
    sim.show(state, wrong, data);
    if (wrong.size) play(false);
  };

  // --- steps

  const last = () => state.graph.steps.length - 1;

  const step = () => {
    if (wrong.size) return false;
    if (state.done < last()) {
      state.done++;
      return true;
    }
    const { graph, inputs, rate } = state;
    const values = sim.forward(graph, inputs);
    const { grads } = sim.backward(graph, values);
    state.past.push({ inputs, rate, grads, output: values[graph.output] });
    state.inputs = sim.update(graph, inputs, grads, rate);
    state.done = 0;
    graph.tracked.forEach(fill);
    return true;
  };

  const back = () => {
    if (state.done > 0) state.done--;
    else if (state.past.length) {
      state.inputs = state.past.pop().inputs;
      state.done = last();
      state.graph.inputs.forEach(fill);
    }
  };

  // through the next update, and forward again, so that the new output is seen
  const update = () => {
    const rounds = state.past.length;
    const over = () => state.past.length > rounds && state.done === state.graph.nodes.length;
    while (step() && !over());
  };

  const reset = () => {
    const inputs = { ...state.graph.start };
    Object.assign(state, { inputs, rate: data.learning_rate, done: 0, past: [] });
    fields().forEach(fill);
  };

  const play = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(() => (step() ? render() : play(false)), PAUSE) : undefined;
    $("play").setAttribute("aria-pressed", String(on));
    $("play").textContent = on ? say("Pause") : say("Play");
  };

  // --- inputs: a slider and a field for each, and a field for the learning rate (named "")

  const fields = () => [...state.graph.inputs, ""];
  const field = (name) => $(`field-${name}`);
  const slider = (name) => $(`slider-${name}`);
  const isClass = (name) =>
    state.graph.nodes.some((node) => node.op === "cross_entropy" && node.args[1] === name);

  /** Writes a number into its field and slider; after an update it may be one that none accepts. */
  const fill = (name) => {
    const value = name ? state.inputs[name] : state.rate;
    field(name).value = sim.format(value, 6);
    field(name).title = sim.full(value);
    if (name) slider(name).value = value;
    check(name);
  };

  /** The number in a field, or undefined after saying why there is none. */
  const check = (name) => {
    const complain = (why) => {
      field(name).setAttribute("aria-invalid", String(Boolean(why)));
      $(`why-${name}`).textContent = why;
      if (why) wrong.set(name, why);
      else wrong.delete(name);
    };
    try {
      const rules = { positive: !name, label: isClass(name) };
      const value = sim.parse(field(name).value, name || say("learning rate"), rules);
      complain("");
      return value;
    } catch (error) {
      complain(error.message);
      return undefined;
    }
  };

  const change = (name) => {
    const value = check(name);
    if (value !== undefined && name) {
      state.inputs = { ...state.inputs, [name]: value };
      state.past = []; // another start, so another curve
      slider(name).value = value;
    } else if (value !== undefined) state.rate = value;
    render();
  };

  const row = (name) => {
    const constant = name && !state.graph.tracked.includes(name);
    const note = isClass(name) ? say("class") : constant ? say("constant") : "";
    const sliderLabel = say("{name}, slider", { name });
    const [min, max, by] = isClass(name) ? [0, 1, 1] : [-RANGE, RANGE, 0.05];
    return `<div class="sim-row">
      <label for="sim-field-${name}">${name ? sim.math(sim.mathml.name(name)) : say("rate")}
        <span class="sim-note">${note}</span></label>
      <input type="range" id="sim-slider-${name}" aria-label="${sliderLabel}"
        min="${min}" max="${max}" step="${by}" ${name ? "" : "hidden"}>
      <input type="text" id="sim-field-${name}" aria-label="${name || say("learning rate")}"
        inputmode="decimal" autocomplete="off" spellcheck="false" aria-describedby="sim-why-${name}">
      <p class="sim-why" id="sim-why-${name}"></p></div>`;
  };

  const choose = (graph) => {
    play(false);
    wrong.clear();
    state.graph = graph;
    $("inputs").innerHTML = fields().map(row).join("");
    for (const name of fields()) {
      field(name).addEventListener("input", () => change(name));
      slider(name).addEventListener("input", () => {
        field(name).value = slider(name).value;
        change(name);
      });
    }
    for (const block of document.querySelectorAll("[data-code]")) {
      block.hidden = ![...graph.code, data.update].includes(block.dataset.code);
    }
    sim.redraw(graph);
    reset();
    render();
  };

  // --- hands

  for (const [id, action] of Object.entries({ step, back, update, reset })) {
    $(id).addEventListener("click", () => {
      play(false);
      action();
      render();
    });
  }
  $("play").addEventListener("click", () => play(timer === undefined));
  $("inputs").addEventListener("submit", (event) => event.preventDefault());
  $("graph").append(...graphs.map(({ title, source }, i) => new Option(`${title} (${source})`, i)));
  $("graph").addEventListener("change", (event) => choose(graphs[event.target.value]));
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (target.matches("input, select, textarea")) return;
    const id = { ArrowRight: "step", ArrowLeft: "back", u: "update", r: "reset", " ": "play" }[key];
    if (!id || (id === "play" && target.matches("button, a, summary"))) return; // they have a use for space
    event.preventDefault();
    $(id).click();
  });
  sim.onNarrow(() => {
    sim.redraw(state.graph);
    render();
  });
  choose(state.graph);
})();
