// 32 chains of a problem, counted one after the other.
function showProblem(problem) {
  const { chains, gold } = problem;
  const chainBox = element("div", { className: "run-box" });
  const voteBox = element("div");

  // [answer, number of votes] of the first n chains, the most frequent answer first.
  function count(n) {
    const votes = new Map();
    for (const { answer } of chains.slice(0, n)) {
      if (answer !== null) votes.set(answer, (votes.get(answer) ?? 0) + 1);
    }
    return [...votes].sort((a, b) => b[1] - a[1]);
  }
  const isRight = (answer) => chains.some((chain) => chain.right && chain.answer === answer);

  function show(n) {
    const votes = count(n);
    voteBox.replaceChildren(table(`Votes of the first ${n} chains`, ["answer", "votes", "verdict"],
      votes.map(([answer, number]) => [answer,
        bar(number / n, `${number} of ${n}`, isRight(answer) ? "right" : "wrong"),
        verdict(isRight(answer))])));
    if (n === 0) {
      chainBox.replaceChildren(element("p", {}, "No chain is counted yet."));
      return `${chains.length} chains wait to be counted. The right answer is ${gold}.`;
    }
    const chain = chains[n - 1];
    chainBox.replaceChildren(element("p", {}, `Chain ${n}: ${verdict(chain.right)}`), lines(chain));
    const tied = votes.length > 1 && votes[0][1] === votes[1][1];
    const lead = tied ? `${votes[0][0]} and ${votes[1][0]} share the lead` : `${votes[0][0]} leads`;
    return `Chain ${n} says ${chain.answer ?? "nothing"}, which is ` +
      `${chain.right ? "right" : "wrong"}. ${lead} with ${votes[0][1]} of ${n} votes.`;
  }

  const { controls, go } = player("Chain", chains.length, show);
  body.replaceChildren(
    element("p", {}, element("strong", {}, problem.question), ` The right answer is ${gold}.`),
    element("p", {}, `Of ${run.of} problems, in ${percent(problem.share_of_problems)} ${problem.kind}.`),
    controls,
    element("div", { className: "run-columns" }, voteBox, chainBox),
    element("details", {}, element("summary", {}, `All ${chains.length} chains`),
      table("All chains", ["chain", "lines", "answer", "verdict"], chains.map((chain, i) =>
        [i + 1, element("code", {}, chain.steps.join("; ")), chain.answer ?? "none",
          verdict(chain.right)]))));
  go(chains.length);
}

const body = element("div");
root.append(
  chooser("Problem", run.problems.map((p, i) => `${i + 1}: ${p.kind}`),
    (i) => showProblem(run.problems[i])),
  body);
showProblem(run.problems[0]);
