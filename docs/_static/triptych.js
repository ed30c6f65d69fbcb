// The columns: dim what is the same, light up partners, copy, and one column at a time where
// there is no room for three. Without this script the pages read as they are.
"use strict";

(() => {
  const say = globalThis.triptychSay;
  const page = document.documentElement;

  // The other language opens at the same place; the simulator sets the link by itself.
  const other = document.querySelector(".tp-language");
  const carry = () => { if (other) other.hash = location.hash; };
  addEventListener("hashchange", carry);
  carry();

  const tabs = [...document.querySelectorAll(".tp-tab")];
  const columns = [...document.querySelectorAll(".tp-col")];
  if (columns.length === 0) return;

  // A browser may forbid storage to pages from the file system.
  const remembered = {
    get(name) {
      try { return localStorage.getItem(`triptych-${name}`); } catch { return null; }
    },
    set(name, value) {
      try { localStorage.setItem(`triptych-${name}`, value); } catch { /* forgotten, then */ }
    },
  };

  // The row that the reader looks at, and how far below the bar it stands.
  function place() {
    const bar = document.querySelector(".tp-sticky");
    const top = bar ? bar.getBoundingClientRect().bottom : 0;
    for (const line of document.querySelectorAll(".tp-chosen .tp-line[data-line]")) {
      const box = line.getBoundingClientRect();
      if (box.top + box.height / 2 > top) {
        // above the first line of code or below the last one there is no row to keep
        return box.top < innerHeight ? { line, offset: box.top } : null;
      }
    }
    return null;
  }

  // The line of another column in the same row, or the next one that it has.
  function partner(line, column) {
    const grid = line.closest(".tp-columns");
    const cells = grid.querySelectorAll(`[data-column="${column}"] .tp-line[data-line]`);
    const row = Number(line.dataset.row);
    const found = [...cells].find((cell) => Number(cell.dataset.row) >= row);
    return found ?? cells[cells.length - 1] ?? grid;
  }

  function choose(column) {
    const before = place();
    for (const one of columns) one.classList.toggle("tp-chosen", one.dataset.column === column);
    for (const tab of tabs) tab.setAttribute("aria-pressed", String(tab.dataset.column === column));
    remembered.set("column", column);
    if (before) {
      const now = partner(before.line, column).getBoundingClientRect().top;
      scrollBy({ top: now - before.offset, behavior: "instant" });
    }
  }

  function dim(on) {
    page.classList.toggle("tp-dim", on);
    for (const one of document.querySelectorAll(".tp-dim-switch")) {
      one.setAttribute("aria-pressed", String(on));
    }
    remembered.set("dim", on ? "yes" : "no");
  }

  let near = [];
  function light(line) {
    for (const one of near) one.classList.remove("tp-near");
    near = line
      ? [...line.closest(".tp-columns").querySelectorAll(`.tp-line[data-row="${line.dataset.row}"]`)]
      : [];
    for (const one of near) one.classList.add("tp-near");
  }

  async function copy(button) {
    const text = button.dataset.code + "\n";
    const said = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = say("Copied");
    } catch {
      button.textContent = say("Not allowed");
    }
    setTimeout(() => { button.textContent = said; }, 1500);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".tp-tab, .tp-dim-switch, .tp-copy");
    if (!button) return;
    if (button.matches(".tp-tab")) choose(button.dataset.column);
    else if (button.matches(".tp-copy")) copy(button);
    else dim(!page.classList.contains("tp-dim"));
  });

  // A line of a derivation and the lines of code that compute it: each lights up the other, and
  // in NumPy, where each has a line of its own, the line leads back.
  const steps = [...document.querySelectorAll(".tp-step")].map((step) => {
    const grid = document.getElementById(step.dataset.function);
    const lines = Object.entries(JSON.parse(step.dataset.lines)).flatMap(([column, numbers]) =>
      numbers.map((number) =>
        grid.querySelector(`[data-column="${column}"] .tp-line[data-line="${number}"]`)));
    return { step, lines: lines.filter(Boolean) };
  });
  for (const { step, lines } of steps) {
    const name = step.querySelector("code").textContent;
    const first = lines.find((line) => line.closest('[data-column="numpy_ref"]'));
    if (!first || first.querySelector(".tp-back")) continue;
    const back = document.createElement("a");
    back.className = "tp-back";
    back.href = `#${step.id}`;
    back.textContent = "↑";
    back.title = say("How {name} is derived", { name });
    back.setAttribute("aria-label", back.title);
    first.lastChild.before(back);
  }
  function join(target) {
    if (!steps.length) return;
    const own = target.closest(".tp-step");
    const line = target.closest(".tp-columns .tp-line");
    for (const { step, lines } of steps) for (const one of [step, ...lines]) one.classList.remove("tp-lit");
    for (const { step, lines } of steps) {
      if (step === own || lines.includes(line)) {
        for (const one of [step, ...lines]) one.classList.add("tp-lit");
      }
    }
  }

  document.addEventListener("mouseover", (event) => {
    light(event.target.closest(".tp-columns .tp-line"));
    join(event.target);
  });
  document.addEventListener("focusin", (event) => join(event.target));

  // What is folded opens for the address that points into it, in browsers that do not do so.
  function unfold() {
    if (!location.hash) return;
    let target;
    try { target = document.getElementById(decodeURIComponent(location.hash.slice(1))); } catch { /* no name */ }
    for (let at = target?.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
    target?.scrollIntoView();
  }
  addEventListener("hashchange", unfold);

  const known = columns.map((one) => one.dataset.column);
  const last = remembered.get("column");
  choose(known.includes(last) ? last : known[0]);
  dim(remembered.get("dim") === "yes");
  // without tabs a column that is hidden could not be had back
  if (tabs.length) page.classList.add("tp-js");
  // the page has just become shorter: go once more to where its address points
  unfold();
})();
