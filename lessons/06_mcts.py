# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 06 Monte Carlo tree search
#
# **Breadth-first search fixes in advance how much of a tree it looks at. Can a search decide after
# every step where to look next, and see through a value that misleads it?**
#
# Yes. Monte Carlo tree search (MCTS) keeps the mean return of every node, and walks to where the
# mean is high or where it has not looked much. On 256 random trees a noisy value alone picks the
# best first action in 46% of them. With 256 simulations the search picks it in 81% (35 points more
# [27, 43]), and all it knows is the same noisy value.
#
# ![best action found against simulations](../docs/results/06_mcts/toy_simulations.png)
#
# At the end of this lesson you can
#
# - write a simulation: select, expand, evaluate, back up;
# - explain the two usual selection rules, UCT and PUCT;
# - read a search that lives in arrays, and say why a compiled one has to.
#
# The tree here is a table. In lesson 06b a language model writes the tree, and in 06c a reward
# model values it.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options("06_mcts", problems=500, model="tiny-24")

# %%
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.course import lesson, viz
from jaxreason.search import mcts, toy_mdp, tree_text

run = lesson.start(GIVEN, cpu_devices=2)

# %% [markdown]
# ## The algorithm in plain code
#
# The tree has two actions and three levels. Its states are numbered level by level: 0 is the root,
# 1 and 2 are its children, and 7 to 14 are the leaves. Only the step into a leaf pays a reward. The
# best leaf, with reward 1, lies after the actions 1, 0, 1. The search is also given a **value** of
# each state, the return to expect from there. It is wrong on purpose: it likes action 0 everywhere.

# %%
leaves = np.array([0.3, 0.2, 0.1, 0.0, 0.2, 1.0, 0.1, 0.0]).reshape(1, 2, 2, 2)
misleading = [0.5] + [0.5, 0.2] + [0.5, 0.5, 0.2, 0.2] + [0.0] * 8  # level by level
toy = toy_mdp.complete_trees(leaves, np.array(misleading))
table = jax.device_get(toy)  # as numpy
print("next state of each action:", table.next_states[:7].tolist())
print("rewards of the last level:", leaves.reshape(4, 2).tolist())

# %% [markdown]
# A node counts its visits $N$ and keeps the mean return $V$. For an action $a$ with a child $s'$,
# $Q(s, a) = r + \gamma V(s')$.


# %%
@dataclasses.dataclass
class PlainNode:
    state: int
    reward: float = 0.0  # of the step into the node
    discount: float = 1.0  # 0 where the episode ends
    visits: int = 0
    value: float = 0.0  # the mean return from here on
    children: dict[int, "PlainNode"] = dataclasses.field(default_factory=dict)  # by action

    def q(self, action: int) -> float:
        child = self.children[action]
        return child.reward + child.discount * child.value


# %% [markdown]
# **Select.** What looks best is a compromise between what is good and what is little known. PUCT
# (AlphaGo Zero) adds a bonus to $Q$:
#
# $$a = \arg\max_a\; Q(s,a) + c\,P(s,a)\frac{\sqrt{N(s)}}{1+N(s,a)}$$
#
# The **prior** $P(s,a)$ says which actions deserve a look. Here both have 1/2; for language models
# it is the probability of a line. An untried action counts as $Q = 0$.


# %%
def select(node: PlainNode, c: float = 1.25, prior: float = 0.5) -> int:
    def score(action):
        if action not in node.children:
            return c * prior * np.sqrt(node.visits)
        bonus = c * prior * np.sqrt(node.visits) / (1 + node.children[action].visits)
        return node.q(action) + bonus

    return max((0, 1), key=score)  # of equal scores the first


# %% [markdown]
# A **simulation** goes down by selection until an action has no child yet. It **expands** the tree
# by that child, and **evaluates** it by the given value. (A rollout, playing on to the end at
# random, is the older way to evaluate.) Then it **backs up** the return $G$ along the path, by
# $G \leftarrow r + \gamma G$ and $V \leftarrow V + (G - V)/(N + 1)$.


# %%
def simulate(node: PlainNode, path: list) -> float:
    """One simulation from a node on; the return that it found."""
    is_new, is_over = node.visits == 0, node.discount == 0
    if is_new or is_over:
        target = float(table.values[node.state])  # evaluate
    else:
        action = select(node)
        path.append(action)
        if action not in node.children:  # expand
            step = node.state, action
            node.children[action] = PlainNode(
                state=int(table.next_states[step]),
                reward=float(table.rewards[step]),
                discount=float(table.discounts[step]),
            )
        child = node.children[action]
        target = child.reward + child.discount * simulate(child, path)
    node.value += (target - node.value) / (node.visits + 1)  # back up
    node.visits += 1
    return target


# %% [markdown]
# The first simulation only evaluates the root. Watch the next ones: they follow the value down to
# leaves that pay little, and the means of that side sink. Then the other side gets its look.

# %%
root = PlainNode(state=0)
for i in range(65):
    path: list[int] = []
    found = simulate(root, path)
    if i in (*range(1, 17), 64):
        means = {action: round(root.q(action), 2) for action in root.children}
        print(f"simulation {i:2}: actions {path}, return {found:.2f}, Q of the root {means}")


def show(node: PlainNode, name: str, depth: int = 0) -> None:
    print(f"{'    ' * depth}{name}: N = {node.visits}, V = {node.value:.2f}, r = {node.reward:.1f}")
    for action in sorted(node.children):
        show(node.children[action], f"action {action}", depth + 1)


show(root, "root")

# %% [markdown]
# ## The same in arrays
#
# A compiled function cannot make objects, and its loops cannot grow a list. So the library's tree
# is a few arrays of fixed size: simulation $i$ fills row $i$, and a child is the number of a row.
# `jax.lax.while_loop` walks down and back up, `jax.lax.fori_loop` counts simulations, and
# `x.at[i].set(v)` returns an array with one entry changed; inside `jit` it is changed in place. A
# first axis holds many trees. All searches advance together, and one call evaluates the new nodes
# of all of them. With a language model that one large batch is what makes the search quick.
#
# `expand_fn` says what stands behind an action. Here it reads the table.

# %%
search = functools.partial(mcts.search, expand_fn=toy_mdp.expand_table, q_range=(0.0, 1.0))
first_state = toy_mdp.table_root(toy, jnp.array([0]))  # one tree
tree = search(toy, run.key, first_state, num_simulations=64)


def assert_same(node: PlainNode, tree: mcts.SearchResult, row: int = 0) -> None:
    assert node.visits == tree.visits[0, row]
    np.testing.assert_allclose(node.value, tree.values[0, row], atol=1e-5)
    behind = {a: int(i) for a, i in enumerate(tree.children[0, row]) if i >= 0}
    assert behind.keys() == node.children.keys()
    for action, i in behind.items():
        assert_same(node.children[action], tree, i)


assert_same(root, tree)
print(tree_text.format_search(tree))

# %% [markdown]
# In the figure the thick path is the most visited one: it leads to the best leaf.

# %%
best = tree.visits[0, tree_text.principal_variation(tree)[-1]]
title = f"64 simulations: {best} of them end at the best leaf, though the value points elsewhere"
run.figure(viz.simulations(tree, title=title), "toy_tree")

# %% [markdown]
# ## How many simulations does it take?
#
# On 256 random trees (4 actions, 4 levels) we know the best action by dynamic programming: a state
# is worth its best leaf. The search is told these worths with noise. How often is its most visited
# action the best one?

# %%
rng = np.random.default_rng(run.options.seed)
leaves = np.zeros((256, 4, 4, 4, 4))
for level in (1, 2, 3, 4):  # every step on the path adds its part to the leaf
    shape = (256, *[4] * level, *[1] * (4 - level))
    leaves += rng.uniform(0, 0.25, size=shape)

by_level = [leaves.max(axis=tuple(range(1 + level, 5))).ravel() for level in range(5)]
truth = np.concatenate(by_level)
noise = np.random.default_rng(0).normal(size=len(truth))
many = toy_mdp.complete_trees(leaves, truth + 0.2 * noise)
best_action = leaves.max((2, 3, 4)).argmax(-1)  # [256]

# %% [markdown]
# UCT (Kocsis & Szepesvari 2006) has no prior. It treats every node as a bandit, whose bonus shrinks
# as an action is tried: $Q(s,a) + c\sqrt{\ln N(s) / N(s,a)}$. Its constant was the best of a small
# sweep on these very trees, and PUCT's is the default. So this is no contest between the two.

# %%
SIZES = (4, 16, 64, 256)
roots = toy_mdp.table_root(many, jnp.arange(256))
hits = {}
for rule, c in (("puct", 1.25), ("uct", 0.5)):
    for n in SIZES:
        trees = search(many, run.key, roots, num_simulations=n, rule=rule, c=c)
        hits[rule, n] = np.asarray(mcts.action_values(trees).visits.argmax(-1) == best_action)
by_value = np.asarray(many.values[many.next_states[:256]].argmax(-1) == best_action)

run.measure("toy/best action by the value alone", by_value)
for rule in ("puct", "uct"):
    run.measure(f"toy/best action, {rule}, 256 simulations", hits[rule, 256])
run.claim_better(
    "on random trees the search finds the best action more often than the value it is given",
    hits["puct", 256],
    by_value,
)

# %% [markdown]
# Few simulations are worse than the value alone: they spread over four actions, and none of these
# is known well.

# %%
run.curves(
    "toy_simulations",
    SIZES,
    {
        "PUCT, flat prior": [hits["puct", n] for n in SIZES],
        "UCT": [hits["uct", n] for n in SIZES],
        "the value alone": [by_value] * len(SIZES),
    },
    title=f"A noisy value alone picks the best action of {by_value.mean():.0%} of the trees,\n"
    f"256 simulations with it of {hits['puct', 256].mean():.0%} (PUCT) "
    f"and {hits['uct', 256].mean():.0%} (UCT)",
    xlabel="simulations",
    ylabel="best action found (95% interval, n = 256)",
    log2=True,
)

# %% [markdown]
# ## What surprised us
#
# - A short search is worse than none. With 4 simulations the most visited action is the best one in
#   27% of the trees, where guessing gives 25% and the value alone 46%.
# - The tuned UCT beats PUCT with a flat prior at every larger size. PUCT is made for good priors.
# - With the same priors and values the search visits the same nodes as DeepMind's
#   [mctx](https://github.com/google-deepmind/mctx), and it is 6 to 38 times as fast
#   ([benchmarks](../docs/benchmarks.md), `tests/parity/test_mctx_live.py`).
#
# ## When it does not work
#
# Look at these, in this order:
#
# - **visits of the root's actions**: if all are equal, $c$ is too large, and the search only
#   explores. If one has them all from the start, $c$ is too small or the prior too sharp.
# - **the range of Q**: the bonus is on the scale of returns in 0 to 1. Give `q_range`.
# - **the sign of the value**: with a negated value the search works hard for the worst leaf.
# - **terminal nodes**: their discount is 0. If it is not, the search adds a value behind the end.
#
# ## Exercises
#
# `jaxreason check 06` writes `exercises_06.py` for you to fill in, and checks your answers:
#
# 1. `puct_scores`: the scores of all actions of a node.
# 2. `back_up`: the new visits and means along a path.
# 3. `bandit`: a whole search of a tree with one level.
# 4. `WORSE`: predict how many simulations go to a bad action.
# 5. `EXPLORATION`: break it. Choose a constant with which the search misses the best leaf.

# %%
run.finish()
