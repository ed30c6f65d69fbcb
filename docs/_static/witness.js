// A fourth witness: the training run of `reproducible`, in the reader's own browser.
//
// The same arithmetic as the three columns (numpy_ref/rounding.py says why it works) in JavaScript's
// doubles, written by hand: 24 bits between operations, whole numbers in every sum. The page brings
// the data, the tables of exp and log, and the digests that the columns found.
"use strict";

(() => {
  const say = globalThis.triptychSay;
  const BITS = 19, SCALE = 2 ** BITS, SMALLEST = 2 ** -126;
  const box = document.getElementById("witness");
  const { tables, runs, data } = JSON.parse(document.getElementById("witness-data").textContent);

  // Numbers

  const rounded = (x) => (Math.abs(x) < SMALLEST ? 0 : Math.fround(x));
  // added to a number below 2^51, it pushes out the fraction: ties go to the even one
  const MAGIC = 1.5 * 2 ** 52;
  const nearest = (x) => x + MAGIC - MAGIC;
  const view = new DataView(new ArrayBuffer(8));
  const exponentOf = (x) => { // |x| < 2^exponent, as frexp has it
    view.setFloat64(0, x);
    return x === 0 ? 0 : ((view.getUint32(0) >>> 20) & 0x7ff) - 1022;
  };
  const twoTo = (n) => {
    view.setUint32(0, (n + 1023) << 20);
    view.setUint32(4, 0);
    return view.getFloat64(0);
  };
  const exp = (x) => {
    x = Math.min(-x, 88);
    const i = Math.floor(x);
    x = (x - i) * 2 ** 10;
    const j = Math.floor(x);
    x = (x - j) * 2 ** 10;
    const k = Math.floor(x);
    const t = (x - k) / 2 ** 20;
    const { whole, coarse, fine } = tables.exp;
    return rounded(whole[i] * coarse[j] * fine[k] * (1 + ((t * t) / 2 - t)));
  };
  const log = (x) => {
    const i = exponentOf(x) - 1;
    x /= twoTo(i);
    const j = Math.floor((x - 1) * 2 ** 10);
    const c = 1 + j / 2 ** 10;
    const q = rounded((x - c) / c);
    const rest = q - rounded(q * q) * rounded(0.5 - q * Math.fround(1 / 3));
    return rounded(tables.log.power[i] + (tables.log.coarse[j] + rest));
  };

  // Matrices: lists of rows

  const turned = (a) => a[0].map((_, j) => a.map((row) => row[j]));
  const each = (f, ...arrays) =>
    Array.isArray(arrays[0])
      ? arrays[0].map((_, i) => each(f, ...arrays.map((a) => a[i])))
      : f(...arrays);
  const cut = (row) => { // row = (high + low / 2^19) unit
    const unit = twoTo(exponentOf(Math.max(...row.map(Math.abs))) - BITS);
    const high = row.map((x) => nearest(x / unit));
    const low = row.map((x, i) => nearest((x / unit - high[i]) * SCALE));
    return { high, low, unit };
  };
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0); // of whole numbers
  const product = (a, b) => { // a b^T: both are cut along their rows
    const columns = b.map(cut);
    return a.map(cut).map((r) =>
      columns.map((c) => {
        const parts = dot(r.high, c.low) + dot(r.low, c.high);
        return rounded((dot(r.high, c.high) + parts / SCALE) * (r.unit * c.unit));
      }));
  };
  const sum = (x) => x.reduce((a, b) => a + b, 0);
  const total = (a) => turned(a).map((column) => { // over the rows
    const { high, low, unit } = cut(column);
    return rounded((sum(high) + sum(low) / SCALE) * unit);
  });

  // The network

  const linear = (x, w, b) => product(x, w).map((row) => row.map((y, j) => rounded(y + b[j])));
  const relu = (z) => each((v) => Math.max(v, 0), z);
  const passed = (d, z) => each((g, v) => (v > 0 ? g : 0), d, z);

  const lossAndGrads = (p, x, t) => {
    const n = t.length;
    // forward
    const z1 = linear(x, p["fc1.weight"], p["fc1.bias"]), h1 = relu(z1);
    const z2 = linear(h1, p["fc2.weight"], p["fc2.bias"]), h2 = relu(z2);
    const z3 = linear(h2, p["output.weight"], p["output.bias"]);
    const shifted = z3.map((row) => row.map((z) => rounded(z - Math.max(...row))));
    const exps = each(exp, shifted), sums = total(turned(exps));
    const losses = sums.map((s, i) => [rounded(log(s) - shifted[i][t[i]])]);
    const value = rounded(total(losses)[0] / n);
    // backward
    const d3 = exps.map((row, i) =>
      row.map((e, k) => rounded(rounded(rounded(e / sums[i]) - (k === t[i] ? 1 : 0)) / n)));
    const d2 = passed(product(d3, turned(p["output.weight"])), z2);
    const d1 = passed(product(d2, turned(p["fc2.weight"])), z1);
    const weight = (d, h) => product(turned(d), turned(h));
    return [value, {
      "fc1.weight": weight(d1, x), "fc1.bias": total(d1),
      "fc2.weight": weight(d2, h1), "fc2.bias": total(d2),
      "output.weight": weight(d3, h2), "output.bias": total(d3),
    }];
  };

  const named = (f, ...dicts) =>
    Object.fromEntries(Object.keys(dicts[0]).map((k) => [k, each(f, ...dicts.map((d) => d[k]))]));

  const optimizers = {
    sgd: (rate) => (p, g) => named((v, d) => rounded(v - rate * d), p, g),
    adam: (rate) => {
      const [b1, b2, eps] = [0.9, 0.999, 1e-8].map(Math.fround);
      let m, v, power1 = 1, power2 = 1;
      return (p, g) => {
        m ??= named(() => 0, p);
        v ??= m;
        power1 = rounded(power1 * b1);
        power2 = rounded(power2 * b2);
        const seen1 = rounded(1 - power1), seen2 = rounded(1 - power2);
        m = named((a, d) => rounded(b1 * a + rounded((1 - b1) * d)), m, g);
        v = named((a, d) => rounded(b2 * a + rounded((1 - b2) * rounded(d * d))), v, g);
        return named((w, a, s) => {
          const root = rounded(Math.sqrt(rounded(s / seen2)));
          return rounded(w - rate * rounded(rounded(a / seen1) / rounded(root + eps)));
        }, p, m, v);
      };
    },
  };

  const train = ({ optimizer, rate }) => {
    const update = optimizers[optimizer](Math.fround(rate));
    let params = data.start;
    const losses = data.batches.map((rows) => {
      const [value, grads] = lossAndGrads(params, rows.map((i) => data.x[i]), rows.map((i) => data.t[i]));
      params = update(params, grads);
      return value;
    });
    return [params, losses];
  };

  // The digest: name, shape and bytes of each array, as triptych/agreement/digests.py takes it

  const digest = async (params, losses) => {
    const bytes = [];
    for (const [name, value] of [...Object.entries(params).sort(), ["losses", losses]]) {
      const shape = Array.isArray(value[0]) ? `(${value.length}, ${value[0].length})` : `(${value.length},)`;
      bytes.push(...new TextEncoder().encode(name + shape));
      for (const x of value.flat()) {
        view.setFloat32(0, x, true);
        for (let i = 0; i < 4; i++) bytes.push(view.getUint8(i));
      }
    }
    const hash = await crypto.subtle.digest("SHA-256", new Uint8Array(bytes));
    return [...new Uint8Array(hash)].slice(0, 8).map((b) => b.toString(16).padStart(2, "0")).join("");
  };

  const button = box.querySelector("button"), said = box.querySelector("output");
  button.disabled = !globalThis.crypto?.subtle; // an old browser, or a page that came over plain http
  if (button.disabled) said.textContent = say("This browser has no SHA-256 for this page.");
  button.addEventListener("click", async () => {
    const lines = [];
    for (const run of runs) {
      const found = await digest(...train(run));
      const verdict = found === run.digest
        ? say("{steps} steps of {optimizer}: {found}, the same as the columns'", { ...run, found })
        : say("{steps} steps of {optimizer}: {found}, the columns have {digest}", { ...run, found });
      lines.push(verdict);
    }
    said.textContent = lines.join("\n");
  });
})();
