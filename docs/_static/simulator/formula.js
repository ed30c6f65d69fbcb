// Formulas, written twice from one description: as text for the announcements and the drawing, as
// MathML for the eye.
(() => {
  "use strict";
  const sim = (globalThis.triptychSim ??= {});

  const SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉";
  const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  const digits = (text, set) => String(text).replace("_", ",").replace(/\d/g, (d) => set[d]);

  const text = {
    name: (name) => digits(name, SUBSCRIPTS),
    number: (value) => sim.format(value),
    op: (sign) => ` ${sign} `,
    word: (word) => word,
    sup: (base, n) => base + digits(n, SUPERSCRIPTS),
    list: (...items) => `(${items.join(", ")})`,
    d: (of, by) => `d${text.name(of)}/d${text.name(by)}`,
    partial: (of, by) => `∂${text.name(of)}/∂${text.name(by)}`,
  };

  // upright, since a graph may have a node d
  const slope = (sign) => (of, by) =>
    `<mfrac><mrow><mi mathvariant="normal">${sign}</mi>${mathml.name(of)}</mrow>` +
    `<mrow><mi mathvariant="normal">${sign}</mi>${mathml.name(by)}</mrow></mfrac>`;
  const mathml = {
    name: (name) => {
      const [, letter, index] = name.match(/^([^\d_]+)(.*)$/);
      return index ? `<msub><mi>${letter}</mi><mn>${index.replace("_", ",")}</mn></msub>` : `<mi>${letter}</mi>`;
    },
    number: (value) => {
      const shown = sim.format(value);
      return shown.startsWith("-")
        ? `<mrow><mo form="prefix">−</mo><mn>${shown.slice(1)}</mn></mrow>`
        : `<mn>${shown}</mn>`;
    },
    op: (sign) => `<mo>${sign.replace(">", "&gt;")}</mo>`,
    word: (word) => `<mtext>${word}</mtext>`,
    sup: (base, n) => `<msup><mrow>${base}</mrow>${n}</msup>`,
    list: (...items) =>
      `<mo stretchy="false">(</mo>${items.join("<mo>,</mo>")}<mo stretchy="false">)</mo>`,
    d: slope("d"),
    partial: slope("∂"),
  };

  // a negative factor or term stands in brackets
  const term = (value, w) => (value < 0 ? w.list(w.number(value)) : w.number(value));
  const names = (node, w) =>
    node.args.map((a) => (typeof a === "string" ? w.name(a) : w.number(a)));
  const values = (node, known, w) =>
    node.args.map((a) => term(typeof a === "string" ? known[a] : a, w));

  /** The operation of a node in terms of its operands: "x + 2". */
  sim.operation = (node, w = text) => sim.rules[node.op].show(names(node, w), w);

  /** What a node computes: its name and operation; with `known` values also the numbers. */
  sim.forwardFormula = (node, known, w = text) => {
    const parts = [w.name(node.name), sim.operation(node, w)];
    if (known) {
      parts.push(sim.rules[node.op].show(values(node, known, w), w), w.number(known[node.name]));
    }
    return parts.join(w.op("="));
  };

  /** The chain rule at a node: a term for each path, the derivative that comes in times that of the edge; with `known` grads also the numbers. */
  sim.backwardFormula = (graph, name, paths, known, w = text) => {
    const parts = [w.d(graph.output, name)];
    if (name !== graph.output) {
      parts.push(
        paths.map(({ to }) => w.d(graph.output, to) + w.op("·") + w.partial(to, name)).join(w.op("+")),
      );
    }
    if (known) {
      const terms = paths.map(({ up, local }) => term(up, w) + w.op("·") + term(local, w));
      if (terms.length) parts.push(terms.join(w.op("+")));
      parts.push(w.number(known[name]));
    }
    return parts.join(w.op("="));
  };

  /** One local derivative: "dy/da = b = 4". */
  sim.localFormula = (graph, name, { to, index, local }, w = text) => {
    const node = graph.nodes.find((n) => n.name === to);
    const slope = sim.rules[node.op].slope(names(node, w), w, node.args)[index];
    const shown = w.number(local);
    return [w.partial(to, name), ...(slope && slope !== shown ? [slope] : []), shown].join(w.op("="));
  };

  sim.term = term;
  sim.text = text;
  sim.mathml = mathml;
  sim.math = (inner) => `<math>${inner}</math>`;
})();
