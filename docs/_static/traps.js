// The page of traps: show the entries that have every word that is typed. Without this script the
// page reads as it is.
"use strict";

(() => {
  const say = globalThis.triptychSay;
  const field = document.getElementById("tp-find");
  const found = document.getElementById("tp-found");
  if (!field) return;
  const groups = [...document.querySelectorAll('section[id^="group-"]')];
  const entries = groups.flatMap((group) => [...group.querySelectorAll(":scope > section")]);

  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const entry of entries) {
      const text = `${entry.id} ${entry.textContent}`.toLowerCase();
      entry.hidden = !words.every((word) => text.includes(word));
      if (!entry.hidden) count += 1;
    }
    for (const group of groups) {
      group.hidden = !group.querySelector(":scope > section:not([hidden])");
    }
    found.textContent = words.length
      ? say("{n} of {all}", { n: count, all: entries.length })
      : "";
  });
})();
