// Lines of a chain, scored by two reward models.
const JUDGES = ["PRM", "ORM"];
let threshold = 0.5;

// Blue for 1, orange for 0, pale between: dark text can be read on all of them.
function shade(score) {
  const [light, hue] = [96 - 34 * Math.abs(2 * score - 1), score < 0.5 ? 28 : 212];
  return `hsl(${hue} 85% ${light}%)`;
}

function scored(score) {
  const box = element("span", { className: "run-score" },
    `${score.toFixed(2)}${score < threshold ? " low" : ""}`);
  box.style.background = shade(score);
  return box;
}

const firstLow = (chain, judge) => chain.scores[judge].findIndex((score) => score < threshold);
const line = (i) => (i === null || i < 0 ? "no line" : `line ${i + 1}`);

let now = 0;
const body = element("div");
function show(i) {
  now = i;
  const chain = run.chains[i];
  body.replaceChildren(
    element("p", {}, element("strong", {}, chain.question), ` The right answer is ${chain.gold}.`),
    table(`Chain ${i + 1}: ${chain.kind}`, ["line", "text", "exact", ...JUDGES],
      chain.steps.map((step, n) => [n + 1, element("code", {}, step),
        step.startsWith("#") ? verdict(chain.right)
          : verdict(chain.first_wrong === null || n < chain.first_wrong),
        ...JUDGES.map((judge) => scored(chain.scores[judge][n]))])),
    element("p", { className: "run-note" }, `${percent(chain.share_of_problems)} of ${run.of} ` +
      `sampled chains are of this kind (at a threshold of 0.50): ${chain.kind}.`));
  return `Chain ${i + 1}. First wrong line: ${line(chain.first_wrong)}. ` +
    JUDGES.map((judge) => `First below ${threshold.toFixed(2)} by the ${judge}: ` +
      `${line(firstLow(chain, judge))}.`).join(" ");
}

const { controls, go } = player("Chain", run.chains.length - 1, show);
const slider = element("input", { type: "range", min: 0, max: 1, step: 0.01, value: threshold });
slider.addEventListener("input", () => {
  threshold = Number(slider.value);
  go(now);
});
root.append(controls,
  element("label", { className: "run-choice" }, "A line is called wrong below the threshold ", slider),
  body);
go(0);
