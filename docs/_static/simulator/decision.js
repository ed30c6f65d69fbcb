// What a network decides across two of its inputs: a map with the rows of the study on it.
(() => {
  "use strict";
  const sim = (globalThis.triptychSim ??= {});
  const { element } = sim;
  const [WIDTH, HEIGHT, LEFT, BOTTOM] = [300, 232, 24, 22];
  const [ACROSS, UP] = [40, 30]; // cells

  // A class's region, cell by cell: the corners above 0, and where the edges between them cross it.
  const outline = (margin, place) => {
    const [inside, border] = [[], []];
    for (let j = 0; j < UP; j++) {
      for (let i = 0; i < ACROSS; i++) {
        const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
        const [polygon, crossed] = [[], []];
        corners.forEach(([a, b], at) => {
          const [c, d] = corners[(at + 1) % 4];
          const [here, next] = [margin[b][a], margin[d][c]];
          if (here > 0) polygon.push(place(a, b));
          if (here > 0 === next > 0) return;
          const part = here / (here - next);
          crossed.push(place(a + part * (c - a), b + part * (d - b)));
          polygon.push(crossed.at(-1));
        });
        if (polygon.length) inside.push(`M${polygon.join("L")}z`);
        for (let n = 0; n + 1 < crossed.length; n += 2) border.push(`M${crossed[n]}L${crossed[n + 1]}`);
      }
    }
    return [inside.join(""), border.join("")];
  };

  // circles for the first class, squares for one in the middle, crosses for the last
  const SHAPES = {
    circle: ([x, y]) => `M${x - 2.5},${y}a2.5,2.5 0 1 0 5,0a2.5,2.5 0 1 0 -5,0`,
    square: ([x, y]) => `M${x - 2},${y - 2}h4v4h-4z`,
    cross: ([x, y]) => `M${x - 3},${y}h6M${x},${y - 3}v6`,
  };
  const shapesOf = (count) => (count === 2 ? ["circle", "cross"] : ["circle", "square", "cross"]);

  /** Draws the map for these parameters; `row` is the one that the eye follows. */
  sim.decision = (svg, graph, inputs, row) => {
    const { training } = graph;
    const at = training.plane.map((name) => training.inputs.indexOf(name));
    const ranges = at.map((i) => {
      const all = training.rows.x.map((x) => x[i]);
      return [Math.min(...all) - 0.3, Math.max(...all) + 0.3];
    });
    const right = WIDTH - 4;
    const value = ([low, high], part) => low + part * (high - low);
    const place = (i, j) =>
      [LEFT + (i / ACROSS) * (right - LEFT), HEIGHT - BOTTOM - (j / UP) * (HEIGHT - BOTTOM - 4)].map(
        (v) => Number(v.toFixed(1)),
      );
    const point = (x) =>
      place(...at.map((i, axis) => {
        const [low, high] = ranges[axis];
        return ((x[i] - low) / (high - low)) * [ACROSS, UP][axis];
      }));

    // the scores on the corners of the cells; the other inputs are at their mean, 0
    const values = { ...inputs, ...Object.fromEntries(training.inputs.map((name) => [name, 0])) };
    const scores = Array.from({ length: UP + 1 }, (_, j) =>
      Array.from({ length: ACROSS + 1 }, (_, i) => {
        values[training.plane[0]] = value(ranges[0], i / ACROSS);
        values[training.plane[1]] = value(ranges[1], j / UP);
        return sim.scores(graph, sim.compute(graph, values)).scores;
      }),
    );
    // the last class, and the first where a third lies between them
    const last = training.classes.length - 1;
    const regions = (last === 1 ? [last] : [last, 0]).map((k) => {
      const others = (s) => s.filter((_, other) => other !== k);
      const margin = scores.map((line) => line.map((s) => s[k] - Math.max(...others(s))));
      const [inside, border] = outline(margin, place);
      return [
        element("path", { class: `sim-region sim-class-${k}`, d: inside }),
        element("path", { class: `sim-border sim-class-${k}`, d: border, "data-class": k }),
      ];
    });
    const shapes = shapesOf(last + 1);
    const points = shapes.map((shape, k) => {
      const own = training.rows.x.filter((_, i) => training.rows.t[i] === k);
      const d = own.map((x) => SHAPES[shape](point(x))).join("");
      return element("path", { class: `sim-point sim-${shape}`, d });
    });
    const [cx, cy] = point(training.rows.x[row]);
    const label = (i) => training.labels[at[i]];
    const text = (content, x, y, turn = "") =>
      element("text", { x, y, "text-anchor": "middle", transform: turn }, content);
    const middle = (HEIGHT - BOTTOM) / 2;
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    // for whoever reads the page by program: the inputs, and the place, of the two far corners
    svg.dataset.corners = JSON.stringify([ranges, [place(0, 0), place(ACROSS, UP)]]);
    svg.replaceChildren(
      ...regions.flat(),
      ...points,
      element("circle", { class: "sim-eye", cx, cy, r: 6 }),
      element("path", { class: "sim-axis", d: `M${LEFT},4V${HEIGHT - BOTTOM}H${right}` }),
      text(label(0), (LEFT + right) / 2, HEIGHT - 6),
      text(label(1), 14, middle, `rotate(-90 14 ${middle})`),
    );
  };
})();
