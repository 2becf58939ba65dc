"""The search against a plain Python one and against mctx's trees, and on problems whose answer is
known.
"""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_same_bits

from jaxreason.errors import InputError
from jaxreason.search import mcts, tree_text
from jaxreason.search.mcts import Node, search
from jaxreason.search.toy_mdp import TableMDP, complete_trees, expand_table, table_root

GOLDEN = Path(__file__).parent / "mctx.npz"
STATES = [0, 2, 3, 4, 5, 6]  # with SIMULATIONS in a random_mdp: one compiled program for each rule
SIMULATIONS = 80

action_values = jax.jit(mcts.action_values)
visit_distribution = jax.jit(mcts.visit_distribution, static_argnames="temperature")
roots = jax.jit(table_root)


def random_mdp(seed, num_states=30, num_actions=4, ending=0.15, invalid=0.25):
    """Continuous random values, so that scores do not tie; in state 1 no action exists."""
    rng = np.random.default_rng(seed)
    shape = num_states, num_actions
    exists = (rng.uniform(size=shape) >= invalid) | (np.arange(num_actions) == 0)
    exists[1] = False
    return TableMDP(
        next_states=jnp.asarray(rng.integers(0, num_states, shape), jnp.int32),
        rewards=jnp.asarray(rng.normal(scale=0.2, size=shape), jnp.float32),
        discounts=jnp.asarray(
            np.where(rng.uniform(size=shape) < ending, 0, rng.uniform(0.7, 1, shape)), jnp.float32
        ),
        prior_logits=jnp.asarray(np.where(exists, rng.normal(size=shape), -np.inf), jnp.float32),
        values=jnp.asarray(rng.normal(size=num_states), jnp.float32),
    )


class PlainNode:
    """Monte Carlo tree search of one problem as a text book writes it: objects and recursion."""

    def __init__(self, mdp, state, reward=0.0, discount=1.0):
        logits = np.asarray(mdp.prior_logits[state], float)
        weights = np.where(np.isfinite(logits), np.exp(logits), 0)
        self.priors = weights / max(weights.sum(), 1e-300)
        self.state, self.reward, self.discount = state, reward, discount
        self.raw_value = float(mdp.values[state])
        self.returns, self.children = [], {}
        self.terminal = discount == 0 or not weights.any()

    @property
    def value(self):
        return sum(self.returns) / len(self.returns)

    def q(self, action):
        child = self.children[action]
        return child.reward + child.discount * child.value

    def select(self, rule, c, c_base, q_range):
        actions = [a for a in range(len(self.priors)) if self.priors[a] > 0]
        fresh = [a for a in actions if a not in self.children]
        if rule == "uct" and fresh:
            return max(fresh, key=lambda a: self.priors[a])
        seen = [self.value, *(self.q(a) for a in self.children)]
        low, high = q_range or (min(seen), max(seen))
        visits = len(self.returns)

        def score(a):
            q = (self.q(a) - low) / max(high - low, 1e-8) if a in self.children else 0.0
            n = len(self.children[a].returns) if a in self.children else 0
            if rule == "uct":
                return q + c * math.sqrt(math.log(visits) / n)
            growth = math.log((visits + c_base + 1) / c_base) if c_base else 0.0
            return q + (c + growth) * self.priors[a] * math.sqrt(visits) / (1 + n)

        return max(actions, key=score)

    def simulate(self, mdp, **options):
        """One simulation from here on; the return it found."""
        if not self.returns or self.terminal:
            target = self.raw_value
        else:
            action = self.select(**options)
            if action not in self.children:
                step = self.state, action
                table = mdp.next_states, mdp.rewards, mdp.discounts
                self.children[action] = PlainNode(mdp, *(x[step].item() for x in table))
            child = self.children[action]
            target = child.reward + child.discount * child.simulate(mdp, **options)
        self.returns.append(target)
        return target


def assert_same_tree(plain, tree, problem, node=0):
    """Returns the number of nodes compared."""
    assert len(plain.returns) == tree.visits[problem, node]
    np.testing.assert_allclose(plain.value, tree.values[problem, node], rtol=1e-4, atol=1e-5)
    assert plain.terminal == tree.terminal[problem, node]
    children = {a: i for a, i in enumerate(tree.children[problem, node].tolist()) if i >= 0}
    assert set(children) == set(plain.children)
    for action, i in children.items():
        assert (tree.parents[problem, i], tree.actions[problem, i]) == (node, action)
    return 1 + sum(
        assert_same_tree(plain.children[a], tree, problem, i) for a, i in children.items()
    )


def run(mdp, states, num_simulations, key=0, **options):
    """The tree, on the host."""
    tree = search(
        mdp,
        jax.random.key(key),
        roots(mdp, np.array(states)),
        expand_fn=expand_table,
        num_simulations=num_simulations,
        **options,
    )
    return jax.device_get(tree)


RULES = [
    {"rule": "puct", "c": 1.25, "c_base": None, "q_range": None},
    {"rule": "puct", "c": 2.0, "c_base": 50.0, "q_range": (-3.0, 3.0)},
    {"rule": "uct", "c": 1.4, "c_base": None, "q_range": None},
    {"rule": "uct", "c": 0.7, "c_base": None, "q_range": (-3.0, 3.0)},
]


@pytest.mark.parametrize("options", RULES)
def test_the_tree_is_that_of_plain_python(options):
    for seed in range(3):
        mdp = random_mdp(seed)
        states = [0, 1, 2, 3, 4, 5]
        tree = run(mdp, states, SIMULATIONS, **options)
        plain_mdp = jax.tree.map(np.asarray, mdp)
        for problem, state in enumerate(states):
            plain = PlainNode(plain_mdp, state)
            for _ in range(1 + SIMULATIONS):  # the first evaluates the root
                plain.simulate(plain_mdp, **options)
            compared = assert_same_tree(plain, tree, problem)
            assert compared == (tree.visits[problem] > 0).sum()
        terminal = tree.terminal[:, 1:] & (tree.visits[:, 1:] > 1)
        assert terminal.any()  # some terminal node was come back to


def test_complete_trees_lead_to_their_leaves():
    leaves = np.random.default_rng(0).random((2, 3, 3))
    tables = jax.device_get(complete_trees(leaves, np.zeros(2 + 6 + 18)))
    for tree in range(2):
        for first in range(3):
            state = tables.next_states[tree, first]
            assert (tables.rewards[tree, first], tables.discounts[tree, first]) == (0, 1)
            np.testing.assert_allclose(tables.rewards[state], leaves[tree, first], rtol=1e-6)
            assert (tables.discounts[state] == 0).all()
    reached = tables.next_states[:8].ravel()
    np.testing.assert_array_equal(np.sort(reached), np.arange(2, 26))  # every state but the roots


def noisy_expand(mdp, keys, state, action):
    """Values drawn from each problem's own key."""
    node = expand_table(mdp, keys, state, action)
    return node._replace(value=node.value + jax.vmap(jax.random.normal)(keys))


@pytest.mark.parametrize("options", RULES[::2])
def test_a_batch_is_its_problems_one_by_one(options):
    mdp, keys = random_mdp(7), jax.random.split(jax.random.key(3), 4)

    def go(keys, states):
        tree = search(
            mdp,
            keys,
            roots(mdp, states),
            expand_fn=noisy_expand,
            num_simulations=40,
            **options,
        )
        return jax.device_get(tree)

    together = go(keys, np.arange(4))
    for b in range(4):
        alone = go(keys[b : b + 1], np.array([b]))
        used = alone.visits[0] > 0
        for x, y in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            assert_same_bits(x[b][used], y[0][used])
    other = go(jax.random.key(4), np.arange(4))
    assert (other.values != together.values).any()  # the keys do arrive


def test_jit_equals_eager():
    """Eight problems, actions and nodes: few shapes, for each is compiled by itself."""
    mdp = random_mdp(8, num_actions=8)
    compiled = run(mdp, np.arange(8), 7)
    with jax.disable_jit():
        eager = run(mdp, np.arange(8), 7)
    assert (compiled.parents > 0).any()
    for x, y in zip(jax.tree.leaves(compiled), jax.tree.leaves(eager), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def searched():
    """A search in which no action is missing and nothing ends."""
    return run(random_mdp(9, ending=0.0, invalid=0.0), STATES, SIMULATIONS)


def test_counts_add_up(searched):
    tree = searched
    np.testing.assert_array_equal(tree.visits[:, 0], SIMULATIONS + 1)
    visits, _ = jax.device_get(action_values(tree))
    np.testing.assert_array_equal(visits.sum(-1), SIMULATIONS)
    for b in range(len(STATES)):
        for node in range(SIMULATIONS + 1):
            children = tree.children[b, node][tree.children[b, node] >= 0]
            if tree.terminal[b, node] or not tree.visits[b, node]:
                assert children.size == 0
            else:
                assert tree.visits[b, node] == 1 + tree.visits[b, children].sum()
            assert all(child > node for child in children)
            if node and tree.visits[b, node]:
                assert tree.children[b, tree.parents[b, node], tree.actions[b, node]] == node


def test_unused_nodes_are_blank():
    tree = run(random_mdp(5, ending=0.5), STATES, SIMULATIONS)
    unused = tree.visits == 0
    assert unused.any()
    for field, blank in (
        ("parents", -1),
        ("actions", -1),
        ("children", -1),
        ("priors", -1),
        ("values", 0),
    ):
        assert (getattr(tree, field)[unused] == blank).all(), field


MEANS = np.array([0.2, 0.8, 0.4, 0.3])


def draw(means, keys, arm, action):
    """Behind each arm is a chain, and every node of it is valued by a new draw of the arm: one pull
    a simulation.
    """
    arm = jnp.where(arm < 0, action, arm)
    logits = jnp.where(jnp.arange(len(MEANS)) == 0, jnp.zeros((arm.shape[0], 1)), -jnp.inf)
    return Node(arm, logits, jax.vmap(jax.random.bernoulli)(keys, means[arm]).astype(jnp.float32))


@pytest.mark.parametrize("rule, c", [("puct", 1.25), ("uct", math.sqrt(2))])
def test_pulls_of_a_bandit_concentrate_on_the_best_arm(rule, c):
    root = Node(np.full(8, -1), np.zeros((8, 4), np.float32), np.full(8, 0.5, np.float32))
    n = 500
    tree = search(
        jnp.asarray(MEANS),
        jax.random.key(0),
        root,
        expand_fn=draw,
        num_simulations=n,
        rule=rule,
        c=c,
        q_range=(0.0, 1.0),
    )
    visits, q = jax.device_get(action_values(tree))
    np.testing.assert_array_equal(visits.sum(-1), n)
    arms = np.asarray(tree.embedding)[:, 1:]  # the pulls, in their order
    np.testing.assert_array_equal(visits[:, 1], (arms == 1).sum(-1))
    share = np.asarray(visit_distribution(tree))[:, 1].mean()
    assert (visits.argmax(-1) == 1).all()
    assert share > max(0.6, (arms[:, :50] == 1).mean())
    np.testing.assert_allclose(q[:, 1], 0.8, atol=0.1)
    if (
        rule == "uct"
    ):  # Auer et al. 2002, theorem 1: pulls of a worse arm, of which UCT inherits the bound
        gap = 0.8 - np.delete(MEANS, 1)
        bound = 8 * math.log(n) / gap**2 + 1 + math.pi**2 / 3
        assert (np.delete(visits, 1, axis=1).mean(0) < bound).all()
        assert (visits >= 1).all()


def complete_tree(depth=3, num_actions=3, winner=(2, 0, 1)):
    """States are paths; only one leaf pays, values and priors know nothing of it."""
    paths = [()]
    for path in paths:
        if len(path) < depth:
            paths += [(*path, a) for a in range(num_actions)]
    number = {path: i for i, path in enumerate(paths)}
    shape = len(paths), num_actions
    after = np.array(
        [[number.get((*path, a), 0) for a in range(num_actions)] for path in paths], np.int32
    )
    leaf = np.array([[len(path) == depth - 1] * num_actions for path in paths])
    rewards = np.zeros(shape, np.float32)
    rewards[number[winner[:-1]], winner[-1]] = 1
    tables = (
        after,
        rewards,
        np.where(leaf, 0.0, 1.0).astype(np.float32),
        np.zeros(shape, np.float32),
    )
    return TableMDP(*map(jnp.asarray, tables), np.zeros(len(paths), np.float32))


@pytest.mark.parametrize("rule", mcts.RULES)
def test_the_one_winning_leaf_is_found(rule):
    tree = run(complete_tree(), [0], 200, rule=rule, c=0.5, q_range=(0.0, 1.0))
    path = tree_text.principal_variation(tree)
    assert [int(tree.actions[0, i]) for i in path[1:]] == [2, 0, 1]
    assert tree.rewards[0, path[-1]] == 1 and tree.terminal[0, path[-1]]
    assert np.asarray(visit_distribution(tree))[0].argmax() == 2


def two_states(**tables):
    """One action, which leads from either to the other."""
    arrays = {name: np.array(table, np.float32) for name, table in tables.items()}
    return TableMDP(next_states=np.array([[1], [0]]), **arrays)


def test_a_terminal_node_is_backed_up_again_and_never_expanded():
    """One step that ends the episode: every simulation takes it, its reward is its Q, what lies
    behind does not count.
    """
    mdp = two_states(
        rewards=[[0.25], [9.0]],
        discounts=[[0.0], [1.0]],
        prior_logits=[[0.0], [0.0]],
        values=[0.5, 7.0],
    )
    tree = run(mdp, [0, 0], 10)
    assert (tree.visits > 0).sum(-1).tolist() == [2, 2] and tree.visits[0, 1] == 10
    assert tree.values[0, 1] == 7.0  # its own, not mixed with anything behind it
    np.testing.assert_allclose(action_values(tree)[1], [[0.25]] * 2)
    np.testing.assert_allclose(tree.values[0, 0], (0.5 + 10 * 0.25) / 11, rtol=1e-6)
    assert (tree.children[0, 1] == -1).all()


def test_a_dead_end_keeps_its_value():
    """A node without actions is terminal as well, but its value counts: the discount is not 0."""
    mdp = two_states(
        rewards=[[0.0], [0.0]],
        discounts=[[1.0], [1.0]],
        prior_logits=[[0.0], [-np.inf]],
        values=[0.0, 3.0],
    )
    tree = run(mdp, [0, 1], 10)
    np.testing.assert_array_equal(tree.visits[0, :3], [11, 10, 0])
    np.testing.assert_allclose(action_values(tree)[1][0], [3.0])
    # and a problem whose root is one keeps its root alone, next to one that goes on
    np.testing.assert_array_equal(tree.visits[1], [11] + 10 * [0])
    assert tree.values[1, 0] == 3.0 and tree.terminal[1, 0]
    np.testing.assert_array_equal(visit_distribution(tree), [[1.0], [0.0]])


@pytest.mark.parametrize("rule", mcts.RULES)
def test_invalid_actions_are_never_visited(rule):
    mdp = random_mdp(11, invalid=0.6, ending=0.0)
    tree = run(mdp, STATES, SIMULATIONS, rule=rule)
    used = tree.visits > 0
    invalid = ~np.isfinite(mdp.prior_logits)[tree.embedding]
    assert invalid[used].mean() > 0.3
    assert (tree.children[used][invalid[used]] == -1).all()
    np.testing.assert_array_equal(tree.priors[used] == -1, invalid[used])
    # where there is more than one simulation per action, every valid root action of UCT has been
    # tried
    tried = tree.children[:, 0] >= 0
    assert rule == "puct" or (tried == ~invalid[:, 0]).all()


@pytest.mark.parametrize(
    "mask", [-1e9, -1e8, -1e10, -1e4, -65504.0, float(jnp.finfo(jnp.float32).min), -np.inf, np.nan]
)
@pytest.mark.parametrize("options", RULES[::2])
def test_a_mask_of_large_negative_logits_is_that_of_minus_infinity(options, mask):
    """Where nothing can be done in a state its node is terminal, too, if the mask is no possible
    log-probability.
    """
    mdp = random_mdp(13, invalid=0.6)
    logits = np.array(mdp.prior_logits)
    if mask > mcts.NEVER:  # a state all masked cannot be told from one with equal actions
        logits[1, 0] = 0.0
    masked = np.where(logits == -np.inf, np.float32(mask), logits)
    ours, theirs = (
        run(mdp._replace(prior_logits=x), STATES, SIMULATIONS, **options) for x in (masked, logits)
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_uct_gives_no_visit_to_an_invalid_action():
    """Of four actions two are masked with -1e9: all visits go to the two others."""
    mdp = random_mdp(12, ending=0.0, invalid=0.0)
    logits = np.array(mdp.prior_logits)
    logits[:, 1:3] = -1e9
    tree = run(mdp._replace(prior_logits=logits), STATES, SIMULATIONS, rule="uct")
    visits, _ = jax.device_get(action_values(tree))
    assert (visits[:, 1:3] == 0).all() and (visits.sum(-1) == SIMULATIONS).all()


def test_visit_distribution_by_hand(searched):
    visits = np.asarray(action_values(searched)[0], float)
    np.testing.assert_allclose(visit_distribution(searched), visits / SIMULATIONS, rtol=1e-5)
    np.testing.assert_allclose(
        visit_distribution(searched, temperature=0.5),
        visits**2 / (visits**2).sum(-1, keepdims=True),
        rtol=1e-4,
    )
    first = jax.tree.map(lambda x: x[:1], searched)
    assert np.asarray(visit_distribution(first, temperature=1e-3)).max() == 1


def test_format_tree_shows_what_was_found():
    tree = run(complete_tree(), [0], 200, c=0.5, q_range=(0.0, 1.0))
    lines = tree_text.format_search(tree, max_depth=3).splitlines()
    assert lines[0].startswith("root  N=201 V=")
    assert lines[1].startswith("├─ action 2  N=") and "P=0.333" in lines[1]
    assert lines[2].startswith("│  ├─ action 0  N=")
    assert (
        lines[3].startswith("│  │  ├─ action 1  N=")
        and "Q=1.000" in lines[3]
        and lines[3].endswith("*")
    )
    assert len(lines) == int((tree.visits > 0).sum())
    short = tree_text.format_search(tree, max_depth=1, label=lambda i: f"node {i}").splitlines()
    assert [line.split("  ")[0] for line in short[:2]] == [
        "node 0",
        f"├─ node {tree_text.principal_variation(tree)[1]}",
    ]
    assert sum("… 3 more" in line for line in short) == 3 and len(short) == 7
    top = tree_text.format_search(tree, min_visits=50)
    assert "… 2 more" in top and "action 2" in top


@pytest.mark.parametrize("num_simulations", [0, -3, 2.5, True, None])
def test_no_simulations_is_one_clear_line(num_simulations):
    with pytest.raises(
        InputError, match=r"^num_simulations is .*: expected a whole number, at least 1$"
    ):
        run(random_mdp(0), [0], num_simulations)


@pytest.mark.parametrize(
    "message, options",
    [
        ("selection rule is 'ucb': expected one of puct, uct", {"rule": "ucb"}),
        (
            "q_range is (1.0, 1.0): expected the smallest and the largest Q, in this order",
            {"q_range": (1.0, 1.0)},
        ),
        ("c is nan: expected a finite number, 0 or more", {"c": math.nan}),
        ("c is inf: expected a finite number, 0 or more", {"c": math.inf}),
        ("c is -1.0: expected a finite number, 0 or more", {"c": -1.0, "rule": "uct"}),
        ("c_base is 0: expected a finite number, above 0", {"c_base": 0}),
        ("c_base is -2.0: expected a finite number, above 0", {"c_base": -2.0}),
        ("c_base is nan: expected a finite number, above 0", {"c_base": math.nan}),
        ("c_base is inf: expected a finite number, above 0", {"c_base": math.inf}),
        (
            "keys have shape (3,): expected one key, or one for each of the 2 problems",
            {"key": (3,)},
        ),
        ("value of root has shape (3,): expected (2,)", {"value": jnp.zeros(3)}),
        (
            "embedding of root has a leaf of shape (5,): expected (2, ...)",
            {"embedding": jnp.zeros(5, jnp.int32)},
        ),
        (
            "prior logits of the root have shape (4,): expected [B, A]",
            {"prior_logits": jnp.zeros(4)},
        ),
        (
            "prior logits of expand_fn have shape (2, 4): expected (2, 3)",
            {"prior_logits": jnp.zeros((2, 3))},
        ),
    ],
)
def test_bad_input_is_one_clear_line(searched, message, options):
    mdp = random_mdp(0)
    root = roots(mdp, np.arange(2))
    key = jax.random.key(0)
    if "key" in options:
        key = jax.random.split(key, options.pop("key"))
    fields = {name: value for name, value in options.items() if name in Node._fields}
    options = {name: value for name, value in options.items() if name not in fields}
    with pytest.raises(InputError) as error:
        search(
            mdp, key, root._replace(**fields), expand_fn=expand_table, num_simulations=4, **options
        )
    assert str(error.value) == message
    with pytest.raises(InputError, match="^temperature is 0: expected a positive number$"):
        mcts.visit_distribution(searched, temperature=0)


@pytest.mark.optimised
def test_the_tree_is_that_of_mctx():
    """The fixture is of tests/parity/make_mcts_golden.py; mctx goes on below terminal nodes, where
    we create none.
    """
    with np.load(GOLDEN) as file:
        golden = dict(file)
    mdp = TableMDP(**{name: jnp.asarray(golden[f"mdp/{name}"]) for name in TableMDP._fields})
    tree = run(mdp, golden["states"], 96, c=1.25, c_base=19652.0)
    np.testing.assert_array_equal(action_values(tree)[0], golden["root_visits"])
    used = np.asarray(tree.visits) > 0
    assert 0.5 < used.mean() < 1
    for field in ("visits", "parents", "actions"):
        np.testing.assert_array_equal(getattr(tree, field)[used], golden[field][used])
    inner = used & ~tree.terminal
    np.testing.assert_allclose(tree.values[inner], golden["values"][inner], rtol=1e-5, atol=1e-6)
