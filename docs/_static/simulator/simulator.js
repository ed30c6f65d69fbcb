// The page: what it remembers, and how a click, a key or a slider changes it.
(() => {
  "use strict";
  const sim = globalThis.triptychSim;
  const say = globalThis.triptychSay;
  const $ = (id) => document.getElementById(`sim-${id}`);
  const data = JSON.parse($("data").textContent);
  const graphs = data.graphs.map(sim.prepare);
  // milliseconds at speed 1: time to read a step, and to see what an update has changed
  const PAUSE = { play: 1300, train: 400 };
  const RANGE = 5; // of a slider, on both sides of 0
  const ROOM = 20; // inputs that fields are offered for

  // All that is shown is computed from this. `done` counts the steps of the current iteration; `past`
  // holds what each iteration that its update has ended came to. `row` is the row of the batch that a
  // network is drawn for, counted from 1.
  const state = { graph: graphs[0], inputs: {}, rate: 0, row: 1, done: 0, past: [] };
  const wrong = new Map(); // fields whose text is no number, and why
  let running; // {id, timer} of the button that plays
  let writing; // the timer of what writes the address
  let named = false; // whether the address says more than the name of the page

  const render = () => {
    sim.show(state, wrong, data);
    if (wrong.size || sim.atEnd(state)) stop();
  };

  const write = () => {
    clearTimeout(writing);
    writing = undefined;
    history.replaceState(null, "", sim.address(state));
  };

  /** Shows what somebody has done, and writes it into the address. */
  const changed = () => {
    named = true;
    render();
    // a slider changes more often than browsers let an address change
    writing ??= setTimeout(write, 300);
  };

  // --- steps

  const last = () => state.graph.steps.length - 1;

  /** Puts the row that is followed into the inputs of a network. */
  const seat = () => {
    const { graph, inputs, row, past } = state;
    if (!graph.training) return;
    const { rows } = graph.training;
    state.inputs = sim.seat(graph, { ...inputs }, rows, sim.batch(graph, past.length)[row - 1]);
  };

  /** Ends an iteration: takes a step against the derivatives, those of a batch where there is one. */
  const descend = () => {
    const { graph, inputs, rate, past } = state;
    const { training } = graph;
    const values = sim.forward(graph, inputs);
    const [grads, output] = training
      ? [
          sim.meanGrads(graph, inputs, sim.batch(graph, past.length)),
          sim.judge(graph, inputs, training.rows).loss,
        ]
      : [sim.backward(graph, values).grads, values[graph.output]];
    past.push({ inputs, rate, grads, output });
    state.inputs = sim.update(graph, inputs, grads, rate);
    state.done = 0;
    seat();
    refill();
  };

  const step = () => {
    if (wrong.size || sim.atEnd(state)) return false;
    if (state.done < last()) state.done++;
    else descend();
    return true;
  };

  const back = () => {
    if (state.done > 0) state.done--;
    else if (state.past.length) {
      state.inputs = state.past.pop().inputs;
      state.done = last();
      seat();
      refill();
    }
  };

  // through the next update, and forward again, so that the new output is seen
  const update = () => {
    if (wrong.size || sim.atEnd(state)) return false;
    descend();
    if (wrong.size) return false;
    if (sim.atEnd(state)) return true;
    state.done = state.graph.steps.filter(({ phase }) => phase === "forward").length;
    return true;
  };

  const reset = () => begin({ graph: state.graph });

  /** Starts a graph anew, or comes to where an address says. */
  const begin = (chosen) => {
    const { graph, inputs = chosen.graph.start, rates = [chosen.graph.rate] } = chosen;
    const { row = 1, updates = 0, done = 0 } = chosen;
    Object.assign(state, { graph, inputs: { ...inputs }, row, past: [], done: 0 });
    const rateOf = (iteration) => rates[Math.min(iteration, rates.length - 1)];
    state.rate = rateOf(0);
    seat();
    refill();
    while (state.past.length < updates && !wrong.size) {
      descend();
      state.rate = rateOf(state.past.length);
    }
    fill("");
    if (!wrong.size) state.done = done;
  };

  const labels = { play: [say("Play"), say("Pause")], train: [say("Train"), say("Pause")] };

  const stop = () => {
    if (!running) return;
    clearInterval(running.timer);
    const { id } = running;
    running = undefined;
    $("say").setAttribute("aria-live", "polite");
    $(id).setAttribute("aria-pressed", "false");
    $(id).textContent = labels[id][0];
  };

  /** Plays steps (`play`) or whole updates (`train`) until it is stopped. */
  const run = (id) => {
    stop();
    const action = { play: step, train: update }[id];
    const tick = () => {
      if (!action()) stop();
      changed();
    };
    running = { id, timer: setInterval(tick, PAUSE[id] / Number($("speed").value)) };
    // updates come faster than anybody can listen
    if (id === "train") $("say").setAttribute("aria-live", "off");
    $(id).setAttribute("aria-pressed", "true");
    $(id).textContent = labels[id][1];
  };

  // --- inputs: a slider and a field for each; for the learning rate (named "") a field; and for the
  // row of a batch

  const fields = () => {
    const { training, tracked, inputs } = state.graph;
    if (!training) return [...inputs, ""];
    return ["", "row", ...(tracked.length <= ROOM ? tracked : [])];
  };
  const field = (name) => $(`field-${name}`);
  const slider = (name) => $(`slider-${name}`);
  const valueOf = (name) =>
    name === "" ? state.rate : name === "row" ? state.row : state.inputs[name];
  const nameOf = (name) =>
    name === "" ? say("learning rate") : name === "row" ? say("row of the batch") : name;
  const rows = () => sim.batch(state.graph, 0).length;

  /** Writes a number into its field and slider; after an update it may be one that none accepts. */
  const fill = (name) => {
    const value = valueOf(name);
    field(name).value = sim.format(value, 6);
    field(name).title = sim.full(value);
    if (name) slider(name).value = value;
    check(name);
  };
  const refill = () => {
    fields().filter(Boolean).forEach(fill);
    // what has no field may diverge, too
    if (state.graph.tracked.every((name) => Number.isFinite(state.inputs[name]))) wrong.delete("*");
    else if (wrong.size === 0) wrong.set("*", say("the rate is too large: a weight is not finite any more"));
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
      const rules = { positive: !name, whole: name === "row" ? [1, rows()] : undefined };
      const value = sim.parse(field(name).value, nameOf(name), rules);
      complain("");
      return value;
    } catch (error) {
      complain(error.message);
      return undefined;
    }
  };

  const change = (name) => {
    const value = check(name);
    if (value !== undefined && name) slider(name).value = value;
    if (value !== undefined && name === "row") {
      state.row = value;
      seat();
    } else if (value !== undefined && name) {
      state.inputs = { ...state.inputs, [name]: value };
      state.past = []; // another start, so another curve
      seat();
    } else if (value !== undefined) state.rate = value;
    changed();
  };

  const row = (name) => {
    const constant = name && name !== "row" && !state.graph.tracked.includes(name);
    const note = constant ? say("constant") : name === "row" ? say("of the batch") : "";
    const [min, max, by] = name === "row" ? [1, rows(), 1] : [-RANGE, RANGE, 0.05];
    const label = say("{name}, slider", { name: nameOf(name) });
    const shown =
      name === "" ? say("rate") : name === "row" ? say("row") : sim.math(sim.mathml.name(name));
    return `<div class="sim-row">
      <label for="sim-field-${name}">${shown}
        <span class="sim-note">${note}</span></label>
      <input type="range" id="sim-slider-${name}" aria-label="${label}"
        min="${min}" max="${max}" step="${by}" ${name ? "" : "hidden"}>
      <input type="text" id="sim-field-${name}" aria-label="${nameOf(name)}"
        inputmode="decimal" autocomplete="off" spellcheck="false" aria-describedby="sim-why-${name}">
      <p class="sim-why" id="sim-why-${name}"></p></div>`;
  };

  /** Shows a graph from the start, or the state that an address names. */
  const choose = (chosen) => {
    stop();
    wrong.clear();
    const { graph } = chosen;
    state.graph = graph;
    $("graph").value = graphs.indexOf(graph);
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
    begin(chosen);
    render();
  };

  /** Goes where the address leads; says so if it leads nowhere. */
  const arrive = () => {
    // a link stays as it was given until somebody does something
    clearTimeout(writing);
    writing = undefined;
    named = sim.isAddress(location.hash);
    if (!named) return choose({ graph: graphs[0] });
    let [chosen, why] = [{ graph: graphs[0] }, ""];
    const given = location.hash;
    try {
      chosen = sim.parseAddress(given, graphs);
    } catch (error) {
      why = error.message;
    }
    choose(chosen);
    if (why) sim.complain(say("The address {given} leads nowhere: {why}.", { given, why }));
  };

  // --- hands

  for (const [id, action] of Object.entries({ step, back, update, reset })) {
    $(id).addEventListener("click", () => {
      stop();
      action();
      changed();
    });
  }
  for (const id of ["play", "train"]) {
    $(id).addEventListener("click", () => {
      if (running?.id !== id) return run(id);
      stop();
      changed();
    });
  }
  $("speed").addEventListener("change", () => running && run(running.id));
  $("inputs").addEventListener("submit", (event) => event.preventDefault());
  $("graph").append(...graphs.map(({ title, source }, i) => new Option(`${i + 1}. ${title} (${source})`, i)));
  $("graph").addEventListener("change", (event) => {
    choose({ graph: graphs[event.target.value] });
    changed();
  });
  addEventListener("hashchange", () => {
    if (sim.isAddress(location.hash)) return arrive();
    // a place on the page has been scrolled to; the state comes back into the address
    if (named) write();
    render();
  });
  const link = $("link");
  const offered = link.textContent;
  link.addEventListener("click", async (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // another tab or window
    event.preventDefault();
    write();
    try {
      await navigator.clipboard.writeText(link.href);
      link.textContent = say("Copied");
    } catch {
      link.textContent = say("See the address bar");
    }
    setTimeout(() => { link.textContent = offered; }, 1500);
  });
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (target.matches("input, select, textarea")) return;
    // arrows scroll a box that is wider than its place; the drawing scrolls by itself
    const box = target.matches('[tabindex="0"]:not(#sim-canvas)') && target.scrollWidth > target.clientWidth;
    if (box && key.startsWith("Arrow")) return;
    const id = { ArrowRight: "step", ArrowLeft: "back", u: "update", t: "train", r: "reset", " ": "play" }[key];
    if (!id || (id === "play" && target.matches("button, a, summary"))) return; // they have a use for space
    event.preventDefault();
    $(id).click();
  });
  sim.onNarrow(() => {
    sim.redraw(state.graph);
    render();
  });
  arrive();
})();
