"""Monte Carlo tree search over the lines a language model writes, for a batch of problems inside
one jit.

The words for :func:`jaxreason.search.mcts.search`: a node holds a text, and an action appends one
of the K lines that the model wrote there. Tokens are what a search costs, so none are spent in
advance; action 0 of every node is to *write*:

    actions 1..K    append a line; the new text is *fresh*: its value is read, and it has no lines
    yet action 0        write K lines; the new node is the same text with these to choose from,
    repeats of earlier ones left out

A node whose lines all look bad is worth writing at again (progressive widening, Coulom 2007). The
prior of a line is proportional to its probability p. The rest 1 - sum p, the probability that the
next line is one that is not there yet, times ``widen`` is that of writing, because writing costs
more than a value; and the value of writing again is V(s) (1 - sum p).

Only the nodes that need a value or lines go through the model, a few of them at a time
(:func:`map_where`), so time follows tokens, and a problem that is finished costs next to nothing. A
node keeps tokens, never a cache.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from tqdm.auto import tqdm

from jaxreason.decoding.completions import decode
from jaxreason.decoding.rollout import generate
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.errors import InputError
from jaxreason.mesh import map_rows, mesh_of, round_to_mesh, row_sharding, shard_batch
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import Prompt, encode_prompts
from jaxreason.search import mcts
from jaxreason.search import tree_of_thoughts as tot
from jaxreason.search.lm_evaluators import EvaluateFn, Weights
from jaxreason.search.lm_tasks import Text, TextTask, append
from jaxreason.search.tree_of_thoughts import State

KNOWN = 64  # lines of a text that are remembered to tell repeats


class LineNode(NamedTuple):
    """The embedding of a node."""

    text: Text
    lines: jax.Array  # [B, K, T] int32
    lengths: jax.Array  # [B, K] int32
    logprobs: jax.Array  # [B, K] float32
    known: jax.Array  # [B, KNOWN] uint32: hashes of the lines written at this text so far
    mass: jax.Array  # [B] float32: their probability
    written: jax.Array  # [B] bool: made by writing; else fresh
    value: jax.Array  # [B] float32, of the text
    rollout: jax.Array  # [B, T'] int32
    rollout_length: jax.Array  # [B] int32
    cost: jax.Array  # [B] int32: tokens this node took, lines or value


class Searcher(NamedTuple):
    """What :func:`searcher` builds once for a model and a task; the same one again compiles nothing
    anew.
    """

    model: LanguageModel
    expand_fn: mcts.ExpandFn
    num_lines: int
    width: int
    max_line: int
    evaluate: EvaluateFn


def searcher(
    model: LanguageModel,
    task: TextTask,
    evaluate: EvaluateFn,
    *,
    num_lines: int = 2,
    widen: float = 0.3,
    sampler: Sampler = Sampler(),
    max_line: int = 24,
    width: int = 80,
    at_once: int | None = None,
) -> Searcher:
    """Builds the ``expand_fn`` of a search.

    Args:
      task, evaluate: see ``texts``.
      num_lines: K, lines sampled at a time, repeats included.
      widen: how readily more lines are written; see the module.
      sampler: of the lines.
      max_line: tokens of a line at most; a longer one is dropped.
      width: P, tokens of a text at most; of a longer one the beginning is forgotten.
      at_once: nodes that go through the model together; if unset 16 on a CPU, where a row more is
        as much more time, else 128.

    Raises:
      InputError: a size below 1, widen not above 0, or a text and a line longer than the context.
    """
    if at_once is None:
        at_once = 16 if jax.default_backend() == "cpu" else 128
    if not widen > 0:
        raise InputError(f"widen is {widen}: expected a positive number")
    for name, size in (
        ("num_lines", num_lines),
        ("max_line", max_line),
        ("width", width),
        ("at_once", at_once),
    ):
        if size < 1:
            raise InputError(f"{name} is {size}: expected at least 1")
    if width + max_line > model.cfg.max_position_embeddings:
        raise InputError(
            f"width is {width}, max_line {max_line}: expected at most {model.cfg.max_position_embeddings} together, the context"
        )
    stop = compile_stop(model.tokenizer, ("\n",), model.eos_ids)

    def write(weights: Weights, keys: jax.Array, text: Text, known: jax.Array):
        """Lines of R texts: tokens, lengths, log-probabilities (-inf for repeats and what is no
        line), hashes, cost.
        """
        keys = jax.vmap(lambda key: jax.random.split(key, num_lines))(keys)
        drawn = generate(
            weights.lm,
            keys,
            Prompt(text.tokens, text.mask),
            stop,
            cfg=model.cfg,
            sampler=sampler,
            max_new_tokens=max_line,
            num_samples=num_lines,
        )
        lengths, logprobs = drawn.mask.sum(-1), drawn.logprobs.sum(-1)  # [R, K]
        before = jax.tree.map(lambda x: jnp.repeat(x, num_lines, axis=0), text)
        after = append(
            before, drawn.tokens.reshape(-1, max_line), lengths.reshape(-1), logprobs.reshape(-1)
        )
        right, identity = task.identity(after)
        right = (right & drawn.finished.reshape(-1)).reshape(-1, num_lines)
        hashes = _hash(identity).reshape(-1, num_lines)
        earlier = jnp.tril(hashes[:, :, None] == hashes[:, None, :], -1).any(-1)
        repeat = earlier | (hashes[:, :, None] == known[:, None, :]).any(-1)
        return (
            drawn.tokens,
            lengths,
            jnp.where(right & ~repeat, logprobs, -jnp.inf),
            hashes,
            lengths.sum(-1),
        )

    def expand_fn(
        weights: Weights, keys: jax.Array, parent: LineNode, action: jax.Array
    ) -> mcts.Node:
        fresh, rows, line = action > 0, jnp.arange(len(action)), jnp.maximum(action - 1, 0)

        def choose(new, old):  # of a fresh node, and of one that has lines
            return jnp.where(fresh.reshape(-1, *[1] * (jnp.ndim(old) - 1)), new, old)

        after = append(
            parent.text, *(x[rows, line] for x in (parent.lines, parent.lengths, parent.logprobs))
        )
        text = jax.tree.map(choose, after, parent.text)
        terminal = task.is_terminal(text)  # of a path that ended at one before, nothing is used
        judged = fresh if task.reward is None else fresh & ~terminal
        read = map_where(judged, lambda *xs: evaluate(weights, *xs), (keys, text), at_once)
        reward = jnp.where(terminal, read.value if task.reward is None else task.reward(text), 0.0)
        lines, lengths, logprobs, hashes, cost = map_where(
            ~fresh & ~terminal, lambda *xs: write(weights, *xs), (keys, text, parent.known), at_once
        )
        logprobs = choose(-jnp.inf, logprobs)
        known = choose(jnp.uint32(0), jnp.concatenate([parent.known, hashes], 1)[:, -KNOWN:])
        mass = choose(0.0, jnp.minimum(parent.mass + jnp.exp(logprobs).sum(-1), 1.0))
        prior = jnp.concatenate(
            [jnp.log(widen * jnp.maximum(1.0 - mass, 1e-3))[:, None], logprobs], 1
        )
        value = choose(read.value, parent.value)  # of the text
        node = LineNode(
            text,
            lines,
            lengths,
            logprobs,
            known,
            mass,
            ~fresh,
            value,
            read.rollout,
            read.length,
            choose(read.cost, cost),
        )
        worth = choose(value, value * (1.0 - parent.mass))
        return mcts.Node(node, prior, worth, reward, jnp.where(terminal, 0.0, 1.0))

    return Searcher(model, expand_fn, num_lines, width, max_line, evaluate)


def search(
    searcher: Searcher,
    key: jax.Array,
    prompts: Sequence[str],
    *,
    num_simulations: int,
    value_params: Any = None,
    rule: str = "puct",
    c: float = 1.25,
    q_range: tuple[float, float] | None = (0.0, 1.0),
    batch_size: int = 256,
    description: str | None = None,
) -> mcts.SearchResult:
    """The trees of B prompts, on the host; ``rule``, ``c`` and ``q_range`` as in
    :func:`jaxreason.search.mcts.search`.

    Prompt b draws from ``fold_in(key, b)``, or from ``key[b]`` given keys ``[B]``, whatever the
    batches. The root is fresh too: the first simulation writes its lines. The first n simulations
    of a search are the search of n simulations. On a mesh every device searches for its part of the
    prompts, with weights of its own.

    Raises:
      InputError: no prompt, one that is empty or longer than the searcher's width, a number of
        simulations below 1, or not as many keys as prompts.
    """
    if not prompts:
        raise InputError("no prompt to search from: expected at least one")
    model, weights = searcher.model, Weights(searcher.model.params, value_params)
    encoded = encode_prompts(model.tokenizer, list(prompts), searcher.width)
    if key.shape not in ((), (len(encoded),)):
        raise InputError(
            f"keys of shape {key.shape}: expected one, or one for each of {len(encoded)} prompts"
        )
    keys = (
        key if key.ndim else jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(encoded)))
    )
    mesh = mesh_of(model.params)
    num_batches = -(-len(encoded) // batch_size)
    size = -(-len(encoded) // num_batches)  # batches of equal size: one compiled program
    run = _compiled(mesh, searcher.expand_fn, num_simulations, rule, c, q_range)

    def search_from(chosen: np.ndarray) -> mcts.SearchResult:
        root = _root(searcher, weights, keys[chosen], [encoded[i] for i in chosen])
        return run(weights, *shard_batch((keys[chosen], root), mesh))

    found = []
    bar = tqdm(total=len(encoded), desc=description, unit="problem", disable=description is None)
    with bar:
        batches = map_rows(search_from, np.arange(len(encoded)), round_to_mesh(size, mesh))
        for chosen, result in batches:
            found.append(result)
            bar.update(len(chosen))
    return jax.tree.map(lambda *xs: np.concatenate(xs), *found)


@functools.lru_cache
def _compiled(
    mesh: Mesh | None, expand_fn: mcts.ExpandFn, num_simulations: int, rule: str, c: float, q_range
) -> Callable:
    """``(weights, keys, root) -> result``, on all devices of the mesh at a time, which have nothing
    to tell each other.
    """
    run = functools.partial(
        mcts.search,
        expand_fn=expand_fn,
        num_simulations=num_simulations,
        rule=rule,
        c=c,
        q_range=q_range,
    )
    if mesh is None:
        return run
    rows = row_sharding(mesh).spec
    cut = jax.shard_map(
        run, mesh=mesh, in_specs=(PartitionSpec(), rows, rows), out_specs=rows, check_vma=False
    )
    return jax.jit(cut)


def _root(
    searcher: Searcher, weights: Weights, keys: jax.Array, encoded: Sequence[np.ndarray]
) -> mcts.Node:
    """Fresh nodes of the prompts."""
    batch, shape = len(encoded), (len(encoded), searcher.num_lines)
    tokens, mask = (
        np.zeros((batch, searcher.width), np.int32),
        np.zeros((batch, searcher.width), bool),
    )
    for row, ids in enumerate(encoded):
        tokens[row, -len(ids) :], mask[row, -len(ids) :] = ids, True
    zero, none = jnp.zeros(batch), jnp.zeros(batch, jnp.int32)
    text = Text(jnp.asarray(tokens), jnp.asarray(mask), zero)
    rollout = jax.eval_shape(searcher.evaluate, weights, keys, text).rollout
    thought = LineNode(
        text,
        jnp.zeros((*shape, searcher.max_line), jnp.int32),
        jnp.zeros(shape, jnp.int32),
        jnp.zeros(shape),
        jnp.zeros((batch, KNOWN), jnp.uint32),
        zero,
        zero > 0,
        zero,
        jnp.zeros(rollout.shape, jnp.int32),
        none,
        none,
    )
    prior = jnp.concatenate([zero[:, None], jnp.full(shape, -jnp.inf)], 1)  # all it can do is write
    return mcts.Node(thought, prior, zero, zero, zero + 1.0)


def _hash(identity: jax.Array) -> jax.Array:
    """uint32 ``[R]`` of int32 ``[R, W]``, never 0."""
    odd = 2 * jax.random.bits(jax.random.key(0), identity.shape[-1:]) + 1
    mixed = (identity.astype(jnp.uint32) + 1) * odd
    mixed ^= mixed >> 15
    return jnp.maximum((mixed * odd[::-1]).sum(-1).astype(jnp.uint32), 1)


def map_where(need: jax.Array, fn: Callable, args: tuple, at_once: int) -> Any:
    """``fn(*args)`` for the rows ``need[B]``, zeros elsewhere; only these are computed, ``at_once``
    of them together.
    """
    batch = len(need)
    size = min(at_once, batch)
    order = jnp.argsort(~need, stable=True)  # those first
    order = jnp.pad(
        order, (0, -batch % size), constant_values=batch
    )  # rows beyond the end are dropped
    part = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), args)
    blank = jax.tree.map(
        lambda s: jnp.zeros((batch, *s.shape[1:]), s.dtype), jax.eval_shape(fn, *part)
    )

    def chunk(i, out):
        rows = jax.lax.dynamic_slice(order, (i * size,), (size,))
        new = fn(*jax.tree.map(lambda x: x[jnp.minimum(rows, batch - 1)], args))
        rows = jnp.where(jnp.arange(size) + i * size < need.sum(), rows, batch)
        return jax.tree.map(lambda o, n: o.at[rows].set(n.astype(o.dtype), mode="drop"), out, new)

    return jax.lax.fori_loop(0, (need.sum() + size - 1) // size, chunk, blank)


# ---- back to words
# ---------------------------------------------------------------------------------------------


def to_trees(
    result: mcts.SearchResult,
    searcher: Searcher,
    roots: Sequence[State],
    rules: tot.Rules,
    num_simulations: int | None = None,
) -> list[tot.Tree]:
    """The search in words, as trees of ``tree_of_thoughts``, a fresh node and its lines being one
    node there.

    A node's score is its Q. The answer is the first leaf, or rollout, to pass the solution test,
    and the tokens are those spent up to it; without a test the answer is the leaf of the highest
    score.

    Args:
      roots: the states that the prompts were written from.
      num_simulations: the nodes, the leaves and the tokens after so many, all by default; the Q of
        inner nodes is that of the whole search.
    """
    tokenizer = searcher.model.tokenizer
    host = jax.device_get(result)
    limit = (
        host.visits.shape[1]
        if num_simulations is None
        else min(num_simulations + 1, host.visits.shape[1])
    )
    q = host.rewards + host.discounts * host.values
    return [_to_tree(host, b, root, q[b], rules, tokenizer, limit) for b, root in enumerate(roots)]


def _to_tree(
    host: mcts.SearchResult,
    b: int,
    root: State,
    q: np.ndarray,
    rules: tot.Rules,
    tokenizer,
    limit: int,
) -> tot.Tree:
    tree = tot.Tree([tot.Node(root, -1, np.nan)], {rules.identity(root)})
    embedding = jax.tree.map(lambda x: x[b], host.embedding)
    place, accepted = (
        {0: 0},
        {0},
    )  # node of the search -> node of the tree; nodes of the tree that are right in form

    def words(tokens, length) -> list[str]:
        (text,) = decode(tokenizer, tokens[None], np.arange(len(tokens))[None] < length)
        return text.rstrip("\n").split("\n")

    for i in range(1, limit):
        parent = host.parents[b, i]
        if parent < 0:
            continue
        at = place[parent]
        if embedding.written[i]:
            place[i] = at
            tree.expanded += [at] if at not in tree.expanded else []
            tree.generated += int(embedding.cost[i])
            continue
        action, before = host.actions[b, i] - 1, tree.nodes[at].state
        line = words(embedding.lines[parent, action], embedding.lengths[parent, action])[0]
        state = State(
            root.problem,
            (*before.thoughts, line),
            before.logprob + float(embedding.logprobs[parent, action]),
        )
        place[i] = len(tree.nodes)
        tree.nodes.append(tot.Node(state, at, float(q[i])))
        tree.evaluated += int(embedding.cost[i])
        if at in accepted and rules.accept(before, line):
            accepted.add(place[i])
        ends = [state] if place[i] in accepted and rules.is_leaf(state) else []
        if embedding.rollout_length[i]:
            rest = words(embedding.rollout[i], embedding.rollout_length[i])
            ends.append(state._replace(thoughts=(*state.thoughts, *rest)))
        if rules.is_solved and any(map(rules.is_solved, ends)):
            if ends[-1] != state:
                tree.nodes.append(tot.Node(ends[-1], place[i], 1.0))
            tree.answer = len(tree.nodes) - 1
            break
    return tree if rules.is_solved else tot._answered([tree], rules)[0]
