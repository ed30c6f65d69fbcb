// The chart of the timing page: a bar for each form of a training step, for the device and the batch
// that are chosen. Hover or focus a bar for its quartiles. Without this script the table stands alone.
"use strict";

(() => {
  for (const figure of document.querySelectorAll(".tp-timing")) {
    const { sides, rows, words } = JSON.parse(figure.querySelector("script").textContent);
    const made = (tag, attributes = {}, text = "") => {
      const element = document.createElement(tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      element.textContent = text;
      return element;
    };
    const side = made("select");
    sides.forEach((name, number) => side.append(made("option", { value: number }, name)));
    const slider = made("input", { type: "range", min: 0, step: 1 });
    const bars = made("ol", { class: "tp-bars" });
    const detail = made("p", { class: "tp-detail", "aria-live": "polite" });
    const output = made("output");
    const labelled = (text, ...controls) => {
      const label = made("label", {}, `${text} `);
      label.append(...controls);
      return label;
    };
    const controls = made("div", { class: "tp-timing-controls" });
    controls.append(labelled(words.device, side), labelled(words.batch, slider, output));
    figure.append(controls, bars, detail);

    const here = () => rows.filter((row) => row.side === Number(side.value));
    const batches = () => [...new Set(here().map((row) => row.batch))].sort((a, b) => a - b);

    function draw() {
      const known = batches();
      const batch = known[slider.value];
      const shown = here().filter((row) => row.batch === batch);
      shown.sort((a, b) => a.seconds - b.seconds);
      const fastest = shown[0].seconds;
      const slowest = shown[shown.length - 1].seconds;
      output.textContent = batch.toLocaleString("en");
      slider.setAttribute("aria-valuetext", batch.toLocaleString("en"));
      bars.replaceChildren(...shown.map((row) => bar(row, fastest, slowest)));
      detail.textContent = "";
    }

    function bar(row, fastest, slowest) {
      const times = row.seconds / fastest;
      const digits = times < 9.95 ? times.toFixed(1) : times.toFixed(0);
      const ratio = row.seconds === fastest ? words.fastest : words.times.replace("{}", digits);
      const item = made("li", { tabindex: 0, "data-column": row.column });
      if (row.peer) item.classList.add("tp-peer");
      const length = `inline-size: ${(100 * row.seconds) / slowest}%`;
      item.append(
        made("span", { class: "tp-bar-label", lang: "en" }, row.label),
        made("span", { class: "tp-bar", style: length }),
        made("span", { class: "tp-bar-time" }, `${row.words}, ${ratio}`),
      );
      const tell = () => {
        const parts = [`${row.words} ${words.step} (${words.quartiles} ${row.range})`];
        parts.push(`${row.each} ${words.row}`, ratio);
        detail.textContent = `${row.label}: ${parts.join("; ")}`;
      };
      item.addEventListener("pointerenter", tell);
      item.addEventListener("focus", tell);
      return item;
    }

    function begin() {
      const known = batches();
      slider.max = known.length - 1;
      slider.value = Math.max(0, known.indexOf(32));
      draw();
    }
    side.addEventListener("change", begin);
    slider.addEventListener("input", draw);
    begin();
    figure.hidden = false;
  }
})();
