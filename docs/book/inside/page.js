// What the four pages share: the recorded run, and controls to step through it.
"use strict";

const run = JSON.parse(document.getElementById("run-data").textContent);
const root = document.getElementById("run");

// element("p", {className: "x"}, "text", otherElement)
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const percent = (share) => `${(100 * share).toFixed(0)}%`;

// A labelled <select>; calls choose(index).
function chooser(label, options, choose) {
  const select = element("select", {}, ...options.map((text) => element("option", {}, text)));
  select.addEventListener("change", () => choose(select.selectedIndex));
  return element("label", { className: "run-choice" }, `${label} `, select);
}

// Buttons, a slider and the arrow keys for moments 0..last. show(moment) draws one and returns a
// sentence that says what is to be seen; screen readers speak it.
function player(name, last, show) {
  let now = 0;
  const slider = element("input", { type: "range", min: 0, max: last, ariaLabel: name });
  const said = element("p", { className: "run-said" });
  said.setAttribute("aria-live", "polite");

  function go(moment) {
    now = Math.max(0, Math.min(last, moment));
    slider.value = now;
    said.textContent = show(now);
    slider.setAttribute("aria-valuetext", `${name} ${now} of ${last}`);
    // Not disabled, which would take the focus away from a keyboard.
    for (const [button, target] of buttons) {
      button.setAttribute("aria-disabled", String(target(now) === now));
    }
  }
  const clamp = (moment) => Math.max(0, Math.min(last, moment));
  const buttons = [
    ["First", () => 0],
    ["Back", (n) => clamp(n - 1)],
    ["Next", (n) => clamp(n + 1)],
    ["Last", () => last],
  ].map(([text, target]) => {
    const button = element("button", { type: "button" }, text);
    button.addEventListener("click", () => go(target(now)));
    return [button, target];
  });
  slider.addEventListener("input", () => go(Number(slider.value)));
  const controls = element("div", { className: "run-controls" },
    ...buttons.map(([button]) => button), slider);
  controls.setAttribute("role", "group");
  controls.setAttribute("aria-label", `${name}: first, back, next, last`);
  // The slider has arrow keys of its own; these are for the buttons.
  controls.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && event.target !== slider) {
      event.preventDefault();
      go(now + by);
    }
  });
  return { controls: element("div", {}, controls, said), go };
}

// A table with a caption; a cell may be text, a number or an element.
function table(caption, head, rows) {
  const cells = (tag, row) => row.map((cell) => element(tag, {}, cell));
  const made = element("table", {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...cells("th", head))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells("td", row)))));
  for (const th of made.querySelectorAll("th")) th.scope = "col";
  const box = element("div", { className: "run-table", tabIndex: 0, role: "region" }, made);
  box.setAttribute("aria-label", caption);
  return box;
}

// A bar of a share, with its number beside it.
function bar(share, text, kind) {
  const fill = element("span", { className: `run-fill ${kind}` });
  fill.style.width = percent(share);
  return element("span", { className: "run-bar" },
    element("span", { className: "run-track", ariaHidden: "true" }, fill), ` ${text}`);
}

// The lines of a chain; the first wrong one is marked in words.
function lines(chain) {
  return element("ol", { className: "run-lines" }, ...chain.steps.map((step, i) =>
    i === chain.first_wrong
      ? element("li", { className: "wrong" }, element("code", {}, step), " the first wrong line")
      : element("li", {}, element("code", {}, step))));
}

const verdict = (right) => (right ? "✓ right" : "✗ wrong");
