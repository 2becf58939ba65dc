// One policy's chains before and after GRPO, from the same keys.
const POLICIES = ["before", "after"];
const right = (problem, policy) => problem[policy].filter((chain) => chain.right).length;

const body = element("div");
function showProblem(problem) {
  const pair = element("div", { className: "run-columns" });
  function show(i) {
    pair.replaceChildren(...POLICIES.map((policy) => {
      const chain = problem[policy][i];
      return element("div", { className: "run-box" },
        element("p", {}, `${policy[0].toUpperCase()}${policy.slice(1)}: ${verdict(chain.right)}`),
        lines(chain));
    }));
    const [before, after] = POLICIES.map((policy) => (problem[policy][i].right ? "right" : "wrong"));
    return `Chain ${i + 1} of ${problem.before.length}: ${before} before, ${after} after. ` +
      `Of all, ${right(problem, "before")} are right before and ${right(problem, "after")} after.`;
  }
  const { controls, go } = player("Chain", problem.before.length - 1, show);
  body.replaceChildren(
    element("p", {}, element("strong", {}, problem.question), ` The right answer is ${problem.gold}.`),
    controls, pair);
  go(0);
}

// Shares with their 95% intervals.
const range = ({ value, low, high }) => `${percent(value)} [${percent(low)}, ${percent(high)}]`;
const points = (x) => `${x < 0 ? "" : "+"}${(100 * x).toFixed(1)}`;
const { value, low, high } = run.gain;

root.append(
  element("p", {}, `One sampled chain is right in ${range(run.before)} of cases before and ` +
    `${range(run.after)} after: ${points(value)} points [${points(low)}, ${points(high)}], ` +
    `${run.of} problems.`),
  chooser("Problem", run.problems.map((p, i) =>
    `${i + 1}: ${right(p, "before")} right before, ${right(p, "after")} after`),
    (i) => showProblem(run.problems[i])),
  body,
  table("Right chains of each problem", ["problem", "before", "after"], run.problems.map((p, i) =>
    [i + 1, ...POLICIES.map((policy) => bar(right(p, policy) / p[policy].length,
      `${right(p, policy)} of ${p[policy].length}`, policy === "after" ? "right" : "wrong"))])));
showProblem(run.problems[0]);
