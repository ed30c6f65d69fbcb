// The graph as SVG: a layered layout of its own, and what changes in it from step to step.
(() => {
  "use strict";
  const sim = (globalThis.triptychSim ??= {});
  const say = globalThis.triptychSay;

  const WIDTH = 110;
  const HEIGHT = 68;
  const SMALLEST = 0.85; // smaller than this, the drawing scrolls rather than shrinks

  /**
   * Where the nodes stand, for a graph that flows along one axis:
   * {layers, across, at: {name: {layer, across}}, edges: [{from, to, index, via: [place]}]}.
   * An operation stands one layer behind its last operand, an input right before its first use. A
   * long edge gets a place in each layer that it passes, so that it runs around the nodes there.
   */
  const layout = (graph, gap) => {
    const layer = {};
    for (const { name, args } of graph.nodes) {
      layer[name] = 1 + Math.max(0, ...args.map((arg) => layer[arg] ?? 0));
    }
    for (const name of graph.inputs) {
      const users = graph.nodes.filter((node) => node.args.includes(name));
      layer[name] = Math.min(...users.map((node) => layer[node.name])) - 1;
    }
    const layers = Array.from({ length: layer[graph.output] + 1 }, () => []);
    const place = (l) => {
      const made = { layer: l, across: layers[l].length * gap, beside: [] };
      layers[l].push(made);
      return made;
    };
    const at = {};
    for (const name of [...graph.inputs, ...graph.nodes.map((n) => n.name)])
      at[name] = place(layer[name]);
    const edges = graph.nodes.flatMap(({ name: to, args }) =>
      args.flatMap((from, index) => {
        if (typeof from !== "string") return [];
        const via = [];
        for (let l = layer[from] + 1; l < layer[to]; l++) via.push(place(l));
        const chain = [at[from], ...via, at[to]];
        chain.slice(1).forEach((next, i) => {
          next.beside.push(chain[i]);
          chain[i].beside.push(next);
        });
        return [{ from, to, index, via }];
      }),
    );
    // each place moves to the mean of its neighbours, then the places of a layer make room
    for (const row of layers) {
      const middle = ((row.length - 1) * gap) / 2;
      for (const p of row) p.across -= middle;
    }
    for (let sweep = 0; sweep < 12; sweep++) {
      for (const row of sweep % 2 ? layers.toReversed() : layers) {
        const mean = (p) => p.beside.reduce((sum, q) => sum + q.across, 0) / p.beside.length;
        const wanted = new Map(row.map((p) => [p, mean(p)]));
        row.sort((p, q) => wanted.get(p) - wanted.get(q));
        let before = -Infinity;
        for (const p of row) before = p.across = Math.max(wanted.get(p), before + gap);
        const pushed = row.reduce((sum, p) => sum + p.across - wanted.get(p), 0) / row.length;
        for (const p of row) p.across -= pushed;
      }
    }
    const all = layers.flat();
    const least = Math.min(...all.map((p) => p.across));
    for (const p of all) p.across -= least;
    return { layers: layers.length, across: Math.max(...all.map((p) => p.across)), at, edges };
  };

  const element = (name, attributes, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  sim.element = element;

  /** Draws a graph, left to right or (`down`) top to bottom; `show` brings it to a step. */
  sim.draw = (graph, down) => {
    const large = graph.inputs.length > 6;
    const pitch = down ? HEIGHT + 62 : WIDTH + (large ? 62 : 100);
    const plan = layout(graph, down ? WIDTH + 16 : HEIGHT + (large ? 12 : 24));
    const centre = ({ layer, across }) =>
      down
        ? [across + WIDTH / 2 + 4, layer * pitch + HEIGHT / 2 + 4]
        : [layer * pitch + WIDTH / 2 + 4, across + HEIGHT / 2 + 4];
    const [right, bottom] = centre({ layer: plan.layers - 1, across: plan.across });
    const size = [right + WIDTH / 2 + 4, bottom + HEIGHT / 2 + 4];

    const edges = plan.edges.map((edge) => {
      // the half extents of a node along the flow: where edges leave and arrive
      const out = down ? [0, HEIGHT / 2] : [WIDTH / 2, 0];
      const shift = ([x, y], sign) => [x + sign * out[0], y + sign * out[1]];
      const points = [shift(centre(plan.at[edge.from]), 1)];
      for (const p of edge.via) points.push(shift(centre(p), -0.8), shift(centre(p), 0.8));
      points.push(shift(centre(plan.at[edge.to]), -1));
      let path = `M${points[0]}`;
      for (let i = 1; i < points.length; i++) {
        const [[x, y], [u, v]] = [points[i - 1], points[i]];
        const middle = down
          ? [`${x},${(y + v) / 2}`, `${u},${(y + v) / 2}`]
          : [`${(x + u) / 2},${y}`, `${(x + u) / 2},${v}`];
        path += i % 2 ? `C${middle.join(" ")} ${u},${v}` : `L${u},${v}`;
      }
      // nearer to the operand, where edges that meet at one node are still apart
      const [from, next] = points;
      const label = [
        from[0] + (next[0] - from[0]) * 0.46,
        from[1] + (next[1] - from[1]) * (down ? 0.46 : 0.4),
      ];
      const group = element("g", { class: "sim-edge", "data-edge": `${edge.to}/${edge.from}` });
      const box = element("rect", { rx: 4, class: "sim-label-box" });
      const first = element("text", { x: label[0], y: label[1] });
      const second = element("text", { x: label[0], y: label[1] + 15 });
      group.append(
        element("path", { d: path, "marker-end": "url(#sim-arrow)" }),
        box,
        first,
        second,
      );
      return { ...edge, group, box, first, second, label };
    });

    const nodes = [...graph.inputs, ...graph.nodes.map((n) => n.name)].map((name) => {
      const [x, y] = centre(plan.at[name]);
      const op = graph.nodes.find((n) => n.name === name);
      const kind = op ? "op" : graph.backward.includes(name) ? "input" : "constant";
      const title = op
        ? `${sim.text.name(name)} = ${sim.rules[op.op].short ?? sim.operation(op)}`
        : kind === "constant"
          ? say("{name} (constant)", { name: sim.text.name(name) })
          : sim.text.name(name);
      const group = element("g", { class: `sim-node sim-${kind}`, "data-node": name });
      const value = element("text", { x, y: y + 5, class: "sim-value" });
      const grad = element("text", { x, y: y + 24, class: "sim-grad" });
      const head = element("text", { x, y: y - 15, class: "sim-name" });
      head.append(title);
      group.append(
        element("rect", {
          x: x - WIDTH / 2,
          y: y - HEIGHT / 2,
          width: WIDTH,
          height: HEIGHT,
          rx: kind === "op" ? 8 : 20,
        }),
        head,
        value,
        grad,
      );
      return { name, group, value, grad, centre: [x, y] };
    });

    const arrow = element(
      "marker",
      {
        id: "sim-arrow",
        viewBox: "0 0 8 8",
        refX: 8,
        refY: 4,
        markerWidth: 8,
        markerHeight: 8,
        orient: "auto",
        markerUnits: "userSpaceOnUse",
      },
      element("path", { d: "M0,0.5L8,4L0,7.5z", fill: "context-stroke" }),
    );
    const svg = element(
      "svg",
      {
        viewBox: `0 0 ${size.join(" ")}`,
        role: "img",
        style: `width: ${size[0]}px; min-width: ${size[0] * SMALLEST}px`,
      },
      element("defs", {}, arrow),
      ...edges.map((e) => e.group),
      ...nodes.map((n) => n.group),
    );

    const label = (edge, lines) => {
      edge.first.textContent = lines[0] ?? "";
      edge.second.textContent = lines[1] ?? "";
      const wide = Math.max(0, ...lines.map((line) => line.length)) * 7.3 + 8;
      const high = lines.length * 15 + 4;
      const [x, y] = edge.label;
      const box = {
        x: x - wide / 2,
        y: y - 13,
        width: lines.length ? wide : 0,
        height: lines.length ? high : 0,
      };
      for (const [key, value] of Object.entries(box)) edge.box.setAttribute(key, value);
    };

    /**
     * Brings the drawing to a step.
     *   known    names whose value has been computed
     *   derived  names whose derivative has
     *   step     the current step, or undefined
     */
    const show = ({ values, grads, paths, known, derived, step }) => {
      for (const { name, group, value, grad } of nodes) {
        const has = [known.has(name), derived.has(name)];
        value.textContent = has[0] ? sim.format(values[name]) : "";
        grad.textContent = has[1]
          ? `${sim.text.d(graph.output, name)} = ${sim.format(grads[name], 3)}`
          : "";
        // the full numbers, for whoever reads the page by program
        group.dataset.value = has[0] ? values[name] : "";
        group.dataset.grad = has[1] ? grads[name] : "";
        group.classList.toggle("sim-known", has[0]);
        group.classList.toggle("sim-derived", has[1]);
        group.classList.toggle("sim-current", step?.name === name);
        group.dataset.phase = step?.name === name ? step.phase : "";
      }
      for (const edge of edges) {
        const path =
          derived.has(edge.from) &&
          paths[edge.from].find((p) => p.to === edge.to && p.index === edge.index);
        const back = step?.phase === "backward" && step.name === edge.from;
        const lines = path ? [`×${sim.format(path.local, 3)}`] : [];
        if (path && back) lines.push(`=${sim.format(path.part, 3)}`);
        label(edge, lines);
        edge.group.dataset.local = path ? path.local : "";
        edge.group.dataset.part = path ? path.part : "";
        edge.group.classList.toggle(
          "sim-forward",
          step?.phase === "forward" && step.name === edge.to,
        );
        edge.group.classList.toggle("sim-backward", back);
        edge.group.classList.toggle("sim-passed", Boolean(path) && !back);
      }
    };
    return { svg, show, centre: (name) => nodes.find((n) => n.name === name)?.centre };
  };

  /** The output after each update, as a small curve; what is not finite is left out. */
  sim.plot = (svg, losses, name) => {
    const [width, height, pad, room] = [300, 130, 24, 64];
    const finite = losses.map((y, i) => [i, y]).filter(([, y]) => Number.isFinite(y));
    const [low, high] = [
      Math.min(...finite.map(([, y]) => y)),
      Math.max(...finite.map(([, y]) => y)),
    ];
    const x = (i) => pad + (i / Math.max(losses.length - 1, 5)) * (width - pad - room);
    const y = (v) => height - pad - ((v - low) / (high - low || 1)) * (height - 2 * pad - 6);
    const points = finite.map(([i, v]) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    // of a long curve every few are read out and dotted
    const every = Math.ceil(losses.length / 30);
    const dotted = (_, i, all) => i % every === 0 || i === all.length - 1;
    const read = losses.filter(dotted).map((v) => sim.format(v));
    svg.dataset.values = losses.join(" "); // in full, for whoever reads the page by program
    svg.setAttribute(
      "aria-label",
      say("{name} by number of updates: {losses}", {
        name,
        losses: read.join(", ") || say("none yet"),
      }),
    );
    const note = (content, ax, ay, anchor) =>
      element("text", { x: ax, y: ay, "text-anchor": anchor }, content);
    svg.replaceChildren(
      element("path", { class: "sim-axis", d: `M${pad},8V${height - pad}H${width - 8}` }),
      note(say("updates"), width - 8, height - 8, "end"),
      ...finite.map(([i], at) =>
        at === 0 || at === finite.length - 1 ? note(String(i), x(i), height - 8, "middle") : "",
      ),
      element("polyline", { class: "sim-curve", points: points.join(" ") }),
      ...points.filter(dotted).map((p) => {
        const [cx, cy] = p.split(",");
        return element("circle", { cx, cy, r: 3 });
      }),
      ...(finite.length
        ? [
            note(
              sim.format(finite.at(-1)[1], 4),
              x(finite.at(-1)[0]) + 7,
              y(finite.at(-1)[1]) + 4,
              "start",
            ),
          ]
        : []),
    );
  };
})();
