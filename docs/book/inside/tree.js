// A Monte Carlo tree search, replayed simulation by simulation. The record says which nodes each
// simulation walked and what it found; visits and means are counted here, as the search does.
const body = element("div");

function showSearch(search) {
  const treeBox = element("div", { className: "run-box" });

  // The tree after t simulations: N and Q of each node, and the lines that were written but not read.
  function after(t) {
    const nodes = [{ text: "the question", parent: null, visits: 1, mean: 0, children: [], unread: [] }];
    for (const sim of search.simulations.slice(0, t)) {
      if (sim.does === "read") {
        const node = { text: sim.line, score: sim.score, parent: sim.walk.at(-2), visits: 0, mean: 0,
          children: [], unread: [], answer: sim.answer, right: sim.right };
        nodes[node.parent].children.push(nodes.length);
        nodes[node.parent].unread = nodes[node.parent].unread.filter(([text]) => text !== sim.line);
        nodes.push(node);
      }
      if (sim.does === "write") nodes[sim.walk.at(-1)].unread.push(...sim.lines);
      for (const id of sim.walk) {
        const node = nodes[id];
        node.mean = (node.mean * node.visits + sim.value) / (node.visits + 1);
        node.visits += 1;
      }
    }
    return nodes;
  }

  function branch(nodes, id, walk, chosen) {
    const node = nodes[id];
    const marks = [];
    if (node.answer) marks.push(verdict(node.right));
    if (walk.includes(id)) marks.push("← on this walk");
    if (id === chosen) marks.push("★ the answer so far");
    const item = element("li", { className: walk.includes(id) ? "walked" : "" },
      element("code", {}, node.text), ` N=${node.visits}`,
      id === 0 ? "" : ` Q=${node.mean.toFixed(2)}`,
      element("span", { className: "run-marks" }, ` ${marks.join(" ")}`));
    const below = [
      ...node.children.map((child) => branch(nodes, child, walk, chosen)),
      ...node.unread.map(([text, p]) => element("li", { className: "unread" },
        element("code", {}, text), ` p=${p.toFixed(2)}, not read yet`)),
    ];
    if (below.length) item.append(element("ul", {}, ...below));
    return item;
  }

  // The leaf with the best mean, as the search would submit it now.
  function best(nodes) {
    let found = -1;
    nodes.forEach((node, id) => {
      if (node.answer && (found < 0 || node.mean > nodes[found].mean)) found = id;
    });
    return found;
  }

  function tell(sim, t) {
    const where = sim.walk.length - (sim.does === "read" ? 2 : 1);
    const depth = where === 0 ? "at the question" : `after ${where} line${where > 1 ? "s" : ""}`;
    if (sim.does === "write") {
      const found = sim.lines.map(([text]) => text).join(" or ") || "no new line";
      return `Simulation ${t} writes ${depth}: ${found}.`;
    }
    if (sim.does === "read") {
      return `Simulation ${t} goes ${depth} and appends ${sim.line}. ` +
        `The lowest score of the lines so far is ${sim.score.toFixed(2)}.`;
    }
    return `Simulation ${t} comes back to a finished chain, worth ${sim.value.toFixed(2)}.`;
  }

  function show(t) {
    const nodes = after(t);
    const sim = search.simulations[t - 1];
    const chosen = best(nodes);
    treeBox.replaceChildren(element("ul", { className: "run-tree" },
      branch(nodes, 0, sim ? sim.walk : [], chosen)));
    const answer = chosen < 0 ? "No chain is finished yet."
      : `The answer so far is ${nodes[chosen].answer}, which is ${nodes[chosen].right ? "right" : "wrong"}.`;
    return sim ? `${tell(sim, t)} ${answer}` : "Before the first simulation there is only the question.";
  }

  const { controls, go } = player("Simulation", search.simulations.length, show);
  body.replaceChildren(
    element("p", {}, element("strong", {}, search.question), ` The right answer is ${search.gold}.`),
    controls, treeBox);
  go(1);
}

root.append(
  chooser("Search", run.searches.map((s, i) => `${i + 1}: ${s.kind}`),
    (i) => showSearch(run.searches[i])),
  body);
showSearch(run.searches[0]);
