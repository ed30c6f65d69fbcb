// The cheat sheet: show the rows that have every word that is typed. Without this script the page
// reads as it is. A link may bring its words along: cheatsheet.html?q=jnp.take
"use strict";

(() => {
  const say = globalThis.triptychSay;
  const field = document.getElementById("tp-find");
  const found = document.getElementById("tp-found");
  if (!field) return;
  // as the table writes it: people also type jax.numpy.take, F.relu or take()
  const plain = (text) =>
    text
      .toLowerCase()
      .replace(/\(\)?/g, "")
      .replaceAll("jax.numpy.", "jnp.")
      .replace(/\bnumpy\./g, "np.")
      .replace(/\b(torch\.nn\.functional|nn\.functional|f)\./g, "torch.");
  const rows = [...document.querySelectorAll(".tp-cheat tbody tr")].map((row) => {
    const section = row.closest("section");
    const traps = [...row.querySelectorAll("a[title]")].map((link) => link.title);
    const names = [...row.querySelectorAll("td")].slice(0, 3).map((cell) => cell.textContent);
    const subject = section.querySelector("h2").textContent;
    return { row, section, text: plain([subject, ...names, ...traps].join(" ")) };
  });

  const show = () => {
    const words = plain(field.value).split(/\s+/).filter(Boolean);
    let count = 0;
    for (const { row, section } of rows) section.hidden = words.length > 0;
    for (const { row, section, text } of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      if (row.hidden) continue;
      section.hidden = false;
      count += 1;
    }
    found.textContent = words.length ? say("{n} of {all}", { n: count, all: rows.length }) : "";
  };

  field.value = new URLSearchParams(location.search).get("q") ?? "";
  field.addEventListener("input", show);
  show();
})();
