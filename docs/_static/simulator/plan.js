// Where everything stands in the drawing of a network: units, lines, and the texts beside them.
(() => {
  "use strict";
  const sim = (globalThis.triptychSim ??= {});

  // A small network says every number; in a large one a disc shows how large a value is.
  //   radius  of a unit
  //   across  from unit to unit in the widest layer; `along`, from layer to layer
  //   ends    room for the names of inputs and classes
  //   thick   the thickest line
  //   closer  how much the loss stands closer to the scores, where nothing is written on its lines
  const STYLES = {
    small: {
      right: { radius: 33, across: 134, along: 270, ends: 50, thick: 7, closer: 0.4, zoom: 1 },
      down: { radius: 33, across: 112, along: 230, ends: 50, thick: 7, closer: 0.4, zoom: 1 },
    },
    large: {
      right: { radius: 9, across: 25, along: 150, ends: 96, thick: 4, closer: 0, zoom: 1.15 },
      down: { radius: 9, across: 25, along: 105, ends: 28, thick: 4, closer: 0, zoom: 1.15 },
    },
  };
  const ROOM = 20; // parameters whose numbers can be written beside their lines

  /** The linear node of a unit: its own, or the one below its ReLU; an input has none. */
  sim.linearOf = (graph, unit) => {
    const node = graph.nodes.find((one) => one.name === unit);
    return node?.op === "relu" ? graph.nodes.find((one) => one.name === node.args[0]) : node;
  };

  /** The lines of a network: {from, to, node, weight}; into the loss they have no weight. */
  const linesOf = (graph) =>
    graph.layers.slice(1).flatMap((layer) =>
      layer.flatMap((to) => {
        const { name: node, op, args } = sim.linearOf(graph, to);
        if (op !== "linear") return args.slice(0, -1).map((from) => ({ from, to, node }));
        return args.flatMap((arg, i) =>
          i % 2 ? [{ from: args[i - 1], to, node, weight: arg }] : [],
        );
      }),
    );

  /**
   * The plan of a network, left to right or (`down`) top to bottom:
   * {says, radius, thick, zoom, size, at: {unit: [x, y]}, lines}, each line with its ends and the
   * place of its text; `says` whether there is room for every number.
   */
  sim.planNetwork = (graph, down) => {
    const says = graph.tracked.length < ROOM;
    const style = STYLES[says ? "small" : "large"][down ? "down" : "right"];
    const { radius, across, along, ends, closer } = style;
    const last = graph.layers.length - 1;
    const wide = Math.max(...graph.layers.map((layer) => layer.length)) * across;
    const turned = (far, side) => (down ? [side, far] : [far, side]);
    const at = {};
    graph.layers.forEach((layer, l) =>
      layer.forEach((name, i) => {
        const far = ends + (l === last ? l - closer : l) * along;
        at[name] = turned(far, ((i + 0.5) * wide) / layer.length);
      }),
    );
    const size = turned(2 * ends + (last - closer) * along, wide);

    // how far along a line its text stands: where lines that meet are still apart, and, where texts
    // would stand beside each other, down like stairs
    const placeOf = ({ from, to }) => {
      if (!down) return 0.32;
      const [here, next] = [from, to].map((one) => graph.layers.find((layer) => layer.includes(one)));
      return next.length > 1
        ? 0.25 + 0.125 * next.indexOf(to)
        : 0.42 + 0.13 * (here.indexOf(from) % 2);
    };
    const lines = linesOf(graph).map((one) => {
      const [[x, y], [u, v]] = [at[one.from], at[one.to]];
      const far = Math.hypot(u - x, v - y);
      const [dx, dy] = [((u - x) / far) * radius, ((v - y) / far) * radius];
      const part = placeOf(one);
      return {
        ...one,
        d: `M${x + dx},${y + dy}L${u - dx},${v - dy}`,
        text: [x + part * (u - x), y + part * (v - y)],
      };
    });
    return { ...style, says, size, at, lines };
  };
})();
