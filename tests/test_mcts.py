"""The search against a plain Python one and against mctx's trees, and on problems whose answer is known."""

import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason import mcts
from jaxreason.errors import InputError
from jaxreason.mcts import Node, TableMDP, action_values, expand_table, search, table_root

GOLDEN = Path(__file__).parent / "golden" / "mctx.npz"


def random_mdp(seed, num_states=30, num_actions=4, ending=0.15, invalid=0.25):
    """Continuous random values, so that scores do not tie; in state 1 no action exists."""
    rng = np.random.default_rng(seed)
    shape = num_states, num_actions
    exists = (rng.uniform(size=shape) >= invalid) | (np.arange(num_actions) == 0)
    exists[1] = False
    return TableMDP(
        next_states=jnp.asarray(rng.integers(0, num_states, shape), jnp.int32),
        rewards=jnp.asarray(rng.normal(scale=0.2, size=shape), jnp.float32),
        discounts=jnp.asarray(np.where(rng.uniform(size=shape) < ending, 0, rng.uniform(0.7, 1, shape)), jnp.float32),
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
    return 1 + sum(assert_same_tree(plain.children[a], tree, problem, i) for a, i in children.items())


def run(mdp, states, num_simulations, key=0, **options):
    root = table_root(mdp, jnp.asarray(states))
    return search(mdp, jax.random.key(key), root, expand_fn=expand_table, num_simulations=num_simulations, **options)


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
        tree = jax.device_get(run(mdp, states, 80, **options))
        plain_mdp = jax.tree.map(np.asarray, mdp)
        for problem, state in enumerate(states):
            plain = PlainNode(plain_mdp, state)
            for _ in range(81):  # the first evaluates the root
                plain.simulate(plain_mdp, **options)
            compared = assert_same_tree(plain, tree, problem)
            assert compared == (tree.visits[problem] > 0).sum()
        terminal = tree.terminal[:, 1:] & (tree.visits[:, 1:] > 1)
        assert terminal.any()  # some terminal node was come back to


def test_the_tree_is_that_of_mctx():
    """The fixture is of tests/parity/make_mcts_golden.py; mctx goes on below terminal nodes, where we create none."""
    with np.load(GOLDEN) as file:
        golden = dict(file)
    mdp = TableMDP(**{name: jnp.asarray(golden[f"mdp/{name}"]) for name in TableMDP._fields})
    tree = jax.device_get(run(mdp, golden["states"], 96, c=1.25, c_base=19652.0))
    np.testing.assert_array_equal(action_values(tree)[0], golden["root_visits"])
    used = tree.visits > 0
    assert 0.5 < used.mean() < 1
    for field in ("visits", "parents", "actions"):
        np.testing.assert_array_equal(getattr(tree, field)[used], golden[field][used])
    inner = used & ~tree.terminal
    np.testing.assert_allclose(tree.values[inner], golden["values"][inner], rtol=1e-5, atol=1e-6)


def noisy_expand(mdp, keys, state, action):
    """Values drawn from each problem's own key."""
    node = expand_table(mdp, keys, state, action)
    return node._replace(value=node.value + jax.vmap(jax.random.normal)(keys))


@pytest.mark.parametrize("options", RULES[::2])
def test_a_batch_is_its_problems_one_by_one(options):
    mdp, keys = random_mdp(7), jax.random.split(jax.random.key(3), 4)
    go = partial(search, mdp, expand_fn=noisy_expand, num_simulations=40, **options)
    together = go(keys, table_root(mdp, jnp.arange(4)))
    for b in range(4):
        alone = go(keys[b : b + 1], table_root(mdp, jnp.arange(b, b + 1)))
        used = np.asarray(alone.visits[0] > 0)
        for x, y in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_array_equal(np.asarray(x[b])[used], np.asarray(y[0])[used])
    other = go(jax.random.key(4), table_root(mdp, jnp.arange(4)))
    assert (np.asarray(other.values) != np.asarray(together.values)).any()  # the keys do arrive


def test_jit_equals_eager():
    mdp = random_mdp(8)
    compiled = run(mdp, [0, 1, 2], 12)
    with jax.disable_jit():
        eager = run(mdp, [0, 1, 2], 12)
    for x, y in zip(jax.tree.leaves(compiled), jax.tree.leaves(eager), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_counts_add_up():
    tree = jax.device_get(run(random_mdp(9, ending=0.0, invalid=0.0), [0, 2, 3], 50))
    np.testing.assert_array_equal(tree.visits[:, 0], 51)
    np.testing.assert_array_equal(action_values(tree)[0].sum(-1), 50)
    for b in range(3):
        for node in range(51):
            children = tree.children[b, node][tree.children[b, node] >= 0]
            closed = tree.terminal[b, node]
            assert closed or tree.visits[b, node] == 1 + tree.visits[b, children].sum()
            assert not closed or children.size == 0
            assert all(child > node for child in children)
            if node and tree.visits[b, node]:
                assert tree.children[b, tree.parents[b, node], tree.actions[b, node]] == node


@pytest.mark.parametrize("rule", mcts.RULES)
def test_visits_of_a_bandit_concentrate_on_the_best_arm(rule):
    """Arms end the episode and pay their mean plus noise: Bernoulli arms, drawn anew at every node."""
    means = jnp.array([0.2, 0.3, 0.8, 0.4])

    def pull(means, keys, state, action):
        # The children of a node are deterministic, so an arm is a chain: its node's arms go on paying the same mean.
        mean = jnp.where(state < 0, means[action], means[jnp.maximum(state, 0)])
        reward = jax.vmap(jax.random.bernoulli)(keys, mean).astype(jnp.float32)
        logits = jnp.where(jnp.arange(4) == 0, 0.0, -jnp.inf)[None].repeat(state.shape[0], 0)
        return Node(jnp.where(state < 0, action, state), logits, jnp.zeros_like(mean), reward, jnp.full_like(mean, 1e-6))

    root = Node(jnp.full(3, -1), jnp.zeros((3, 4)), jnp.full(3, 0.5))
    share = {}
    for n in (40, 400):
        tree = search(means, jax.random.key(0), root, expand_fn=pull, num_simulations=n, rule=rule, q_range=(0.0, 1.0))
        share[n] = mcts.visit_distribution(tree)[:, 2]
    assert (share[400] > 0.25).all()
