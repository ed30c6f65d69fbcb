// A network as circles and lines: a unit is a circle; a weight is a line, as thick as it is large,
// and dashed below 0.
(() => {
  "use strict";
  const sim = (globalThis.triptychSim ??= {});
  const { element, text: write } = sim;

  const number = (value) => sim.format(value, 3).replace("-", "−");
  // what a text says of a value and a derivative that may not have been reached
  const valued = (name) => (value) =>
    value === undefined ? "" : `${write.name(name)} ${number(value)}`;
  const value = (v) => (v === undefined ? "" : number(v));
  const derivative = (_, grad) => (grad === undefined ? "" : `∂ ${number(grad)}`);

  /** Draws a network, left to right or (`down`) top to bottom; `show` brings it to a step. */
  sim.drawNetwork = (graph, down) => {
    const plan = sim.planNetwork(graph, down);
    const { says, radius } = plan;
    const { classes, labels } = graph.training;

    const marks = []; // what has the numbers of a name, and, if it is a text, what it says of them
    const mark = (name, shape, tell) => {
      shape.dataset.node = name;
      marks.push({ name, shape, tell });
      return shape;
    };
    const text = (kind, [x, y, anchor = "middle"], content = "") =>
      element("text", { x, y, class: kind, "text-anchor": anchor }, content);
    const both = (name, x, y) => [
      mark(name, text("sim-weight", [x, y]), valued(name)),
      mark(name, text("sim-grad", [x, y + 13]), derivative),
    ];

    const lines = plan.lines.map((one) => {
      const path = element("path", { d: one.d, class: "sim-line" });
      const flow = element("path", { d: one.d, class: "sim-flow" });
      const edge = { class: "sim-wire", "data-edge": `${one.to}/${one.from}` };
      const group = element("g", edge, path, flow);
      const [x, y] = one.text;
      if (one.weight && !says) mark(one.weight, path);
      return { ...one, group, path, flow, texts: one.weight && says ? both(one.weight, x, y - 3) : [] };
    });

    // --- units, and what is written in them, above them and below them

    const written = (unit, node, [x, y], isLoss) => {
      const bias = node?.op === "linear" && node.args.at(-1);
      const below = y + radius + 15;
      return [
        text("sim-name", [x, y - 13], write.name(unit)),
        mark(unit, text("sim-value", [x, y + 4]), value),
        ...(node ? [mark(unit, text("sim-grad sim-within", [x, y + 18]), derivative)] : []),
        ...(bias ? both(bias, x, y - radius - 18) : []),
        ...(node && node.name !== unit ? both(node.name, x, below) : []),
        ...(isLoss
          ? [mark("t", text("sim-weight", [x, below]), (t) => `t = ${t}: ${classes[t]}`)]
          : []),
      ];
    };
    // what has no place of its own in a large network is in the group of its unit
    const hidden = (unit, node, [x, y], isLoss, group) => {
      const names = [node.name, ...(node.op === "linear" ? [node.args.at(-1)] : ["t"])];
      for (const name of names) if (name !== unit) group.append(mark(name, element("g", {})));
      const loss = (v) => valued(unit)(v) || write.name(unit);
      return isLoss ? [mark(unit, text("sim-weight", [x, y + radius + 15]), loss)] : [];
    };
    const outside = ([x, y], first) => {
      if (says) return [x, down && first ? y - radius - 6 : y + radius + 15];
      if (down) return [x, first ? y - 14 : y + 22];
      return first ? [x - 14, y + 4, "end"] : [x + 13, y - 8, "start"];
    };
    const units = graph.layers.flatMap((layer, l) =>
      layer.map((name, i) => {
        const [x, y] = plan.at[name];
        const [isScore, isLoss] = [2, 1].map((from) => l === graph.layers.length - from);
        const node = sim.linearOf(graph, name);
        const disc = element("circle", { cx: x, cy: y, r: 0, class: "sim-disc" });
        const circle = element("circle", { cx: x, cy: y, r: radius });
        const group = element("g", { class: "sim-unit", "data-unit": name }, circle, disc);
        if (!says) mark(name, group);
        const texts = says
          ? written(name, node, [x, y], isLoss)
          : node ? hidden(name, node, [x, y], isLoss, group) : [];
        if (l === 0) texts.push(text("sim-label", outside([x, y], true), labels[i]));
        const chance = isScore && text("sim-label", outside([x, y], false));
        if (chance) texts.push(chance);
        return { name, layer, node, group, disc, texts, chance, k: classes.length === 2 ? 1 : i };
      }),
    );

    const svg = element(
      "svg",
      {
        viewBox: `0 0 ${plan.size.join(" ")}`,
        role: "img",
        style: `width: ${plan.size[0] * plan.zoom}px`,
      },
      ...[...lines, ...units].map((one) => one.group),
      ...[...lines, ...units].flatMap((one) => one.texts), // above all lines
    );

    // --- steps

    // the size of a number among others, from 0 to 1
    const sizeAmong = (names, of) => {
      const sizes = names.map((name) => Math.abs(of[name])).filter(Number.isFinite);
      const most = Math.max(...sizes, Number.MIN_VALUE);
      return (name) => (Number.isFinite(of[name]) ? Math.abs(of[name]) / most : 0);
    };

    const showLines = ({ values, grads, step }, names, whole) => {
      const weights = lines.flatMap((one) => one.weight ?? []);
      const [size, steepness] = [sizeAmong(weights, values), sizeAmong(weights, grads)];
      for (const { from, node, weight, group, path, flow } of lines) {
        const thickness = 0.6 + (plan.thick - 0.6) * (weight ? size(weight) : 0.1);
        path.style.strokeWidth = thickness.toFixed(2);
        group.classList.toggle("sim-negative", values[weight] < 0);
        group.classList.toggle("sim-positive", values[weight] > 0);
        const backward = step?.phase === "backward" && (names.has(weight) || names.has(from));
        group.classList.toggle("sim-forward", step?.phase === "forward" && names.has(node));
        group.classList.toggle("sim-backward", backward || whole);
        // where weights are derived, what flows is as thick as the derivative
        const part = names.has(weight) ? steepness(weight) : 0.5;
        flow.style.strokeWidth = (2 + plan.thick * part).toFixed(2);
      }
    };

    const showUnits = ({ values, known, derived, step, chances }, names, whole) => {
      for (const { name, layer, node, group, disc, chance, k } of units) {
        const here = !whole && (names.has(name) || names.has(node?.name));
        group.classList.toggle("sim-known", known.has(name));
        group.classList.toggle("sim-derived", derived.has(name));
        group.classList.toggle("sim-current", here);
        group.dataset.phase = here ? step.phase : "";
        const size = known.has(name) && !says ? sizeAmong(layer, values)(name) : 0;
        disc.setAttribute("r", ((radius - 1.5) * Math.sqrt(size)).toFixed(2));
        disc.classList.toggle("sim-below", values[name] < 0);
        if (!chance) continue;
        chance.dataset.chance = known.has(name) ? chances[k] : "";
        chance.textContent = known.has(name)
          ? `P(${classes[k]}) = ${(100 * chances[k]).toFixed(0)}%`
          : says ? "" : classes[k];
      }
    };

    /**
     * Brings the drawing to a step.
     *   known    names whose value has been computed
     *   derived  names whose derivative has
     *   step     the current step, or undefined
     */
    const show = (now) => {
      for (const { name, shape, tell } of marks) {
        const reached = [
          now.known.has(name) ? now.values[name] : undefined,
          now.derived.has(name) ? now.grads[name] : undefined,
        ];
        // the full numbers, for whoever reads the page by program
        [shape.dataset.value, shape.dataset.grad] = reached.map((v) => v ?? "");
        if (tell) shape.textContent = tell(...reached);
      }
      const names = new Set(now.step?.names);
      const whole = ["mean", "update"].includes(now.step?.phase);
      showLines(now, names, whole);
      showUnits(now, names, whole);
    };
    return { svg, show, centre: (name) => plan.at[name] };
  };
})();
