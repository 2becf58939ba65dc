"""Monte Carlo tree search over the lines a language model writes, for a batch of problems inside
one jit.

In the words of :func:`jaxreason.search.mcts.search`, a node holds a text, and an action appends one
of the K lines that the model wrote there. Tokens are what a search costs, so none are spent in
advance. Writing is an action of its own, number 0 of every node::

    actions 1..K    append a line. The new text is *fresh*: its value is read, it has no lines yet.
    action 0        write K lines. The new node has the same text and these lines to choose from;
                    repeats of earlier lines are left out.

A node whose lines all look bad is worth writing at again (progressive widening, Coulom 2007). The
prior of a line is proportional to its probability p, the prior of writing to ``widen`` (1 - sum p):
the probability that the next line is not there yet, weighted because writing costs more than
reading a value. The value of writing again is V(s) (1 - sum p).

Only the nodes that need a value or lines go through the model, a few of them at a time
(:func:`jaxreason.search.lm_expand.map_where`). So time follows tokens, and a finished problem costs
next to nothing. A node keeps tokens, never a cache.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxreason.decoding.completions import decode
from jaxreason.decoding.sampling import Sampler
from jaxreason.errors import InputError
from jaxreason.mesh import map_rows, mesh_of, round_to_mesh, row_sharding, shard_batch
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import encode_prompts, pad_left
from jaxreason.progress import progress_bar
from jaxreason.search import mcts
from jaxreason.search import tree_of_thoughts as tot
from jaxreason.search.lm_evaluators import EvaluateFn, Weights
from jaxreason.search.lm_expand import LineNode, fresh_node, make_expand_fn
from jaxreason.search.lm_tasks import Text, TextTask
from jaxreason.search.tree_of_thoughts import State


class Searcher(NamedTuple):
    """What :func:`searcher` builds once for a model and a task; used again, it compiles nothing
    anew.
    """

    model: LanguageModel
    expand_fn: mcts.ExpandFn
    num_lines: int  # K, lines written at a time
    width: int  # P, tokens of a text
    max_line: int  # T, tokens of a line
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
      task: see ``lm_tasks``.
      evaluate: see ``lm_evaluators``.
      num_lines: K, lines sampled at a time, repeats included.
      widen: how readily more lines are written; see the module.
      sampler: of the lines.
      max_line: T, tokens of a line at most; a longer one is dropped.
      width: P, tokens of a text at most; a longer one loses its beginning.
      at_once: nodes that go through the model together. By default 16 on a CPU, where time grows
        with every row, else 128.

    Raises:
      InputError: a size below 1, widen not above 0, or a text and a line longer than the context.
    """
    if at_once is None:
        at_once = 16 if jax.default_backend() == "cpu" else 128
    if not widen > 0:
        raise InputError(f"widen is {widen}: expected a positive number")
    _check_positive(num_lines=num_lines, max_line=max_line, width=width, at_once=at_once)
    context = model.cfg.max_position_embeddings
    if width + max_line > context:
        raise InputError(
            f"width is {width}, max_line {max_line}: expected at most {context} together, "
            "the context"
        )
    expand_fn = make_expand_fn(
        model,
        task,
        evaluate,
        num_lines=num_lines,
        widen=widen,
        sampler=sampler,
        max_line=max_line,
        at_once=at_once,
    )
    return Searcher(
        model=model,
        expand_fn=expand_fn,
        num_lines=num_lines,
        width=width,
        max_line=max_line,
        evaluate=evaluate,
    )


def _check_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{name} is {size}: expected at least 1")


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
    """Searches from B prompts; a driver that batches them and gathers the trees on the host.

    The batches change nothing in a tree. The first n simulations of a search are the search of n
    simulations. The root is fresh too: the first simulation writes its lines. On a mesh every
    device searches for its part of the prompts, with weights of its own.

    Args:
      searcher: of :func:`searcher`.
      key: prompt b draws from ``fold_in(key, b)``; given keys ``[B]``, from ``key[b]``.
      prompts: B texts of at most ``searcher.width`` tokens.
      num_simulations, rule, c, q_range: as for :func:`jaxreason.search.mcts.search`.
      value_params: ``Weights.value``, for evaluators with parameters of their own.
      batch_size: prompts searched together at most.
      description: label of a progress bar over prompts; None shows none.

    Returns:
      the trees, arrays of numpy ``[B, N, ...]`` with a ``LineNode`` as their embedding.

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
    with progress_bar(total=len(encoded), description=description, unit="problem") as bar:
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
    """Fresh nodes of the prompts, whose values are not read: all they can do is write."""
    batch = len(encoded)
    tokens, mask = pad_left(encoded, 0, searcher.width)
    text = Text(jnp.asarray(tokens), jnp.asarray(mask), jnp.zeros(batch))
    shapes = jax.eval_shape(searcher.evaluate, weights, keys, text)
    blank = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    node = fresh_node(text, blank, searcher.num_lines, searcher.max_line)
    is_write = jnp.arange(1 + searcher.num_lines) == 0
    return mcts.Node(
        embedding=node,
        prior_logits=jnp.tile(jnp.where(is_write, 0.0, -jnp.inf), (batch, 1)),
        value=jnp.zeros(batch),
        reward=jnp.zeros(batch),
        discount=jnp.ones(batch),
    )


# ---- back to words


def to_trees(
    result: mcts.SearchResult,
    searcher: Searcher,
    roots: Sequence[State],
    rules: tot.Rules,
    num_simulations: int | None = None,
) -> list[tot.Tree]:
    """The search in words, as trees of ``tree_of_thoughts``.

    A fresh node and the nodes that wrote lines at its text are one node there, whose score is the Q
    of the fresh node. The answer is the first leaf or rollout that passes the solution test, and
    only what was spent up to it counts. Without a test the answer is the leaf with the best score.

    Args:
      result: of :func:`search`, for B prompts.
      searcher: the one that the search used.
      roots: B states, those that the prompts were written from.
      rules: tell leaves and solutions.
      num_simulations: only the nodes and tokens of the first so many; by default of all. The Q of
        inner nodes is still that of the whole search.
    """
    host = jax.device_get(result)
    num_nodes = host.visits.shape[1]
    if num_simulations is not None:
        num_nodes = min(num_simulations + 1, num_nodes)
    tokenizer = searcher.model.tokenizer
    return [
        _to_tree(_one_problem(host, b), root, rules, tokenizer, num_nodes)
        for b, root in enumerate(roots)
    ]


def _one_problem(host: mcts.SearchResult, b: int) -> mcts.SearchResult:
    return jax.tree.map(lambda x: x[b], host)


def _to_tree(
    found: mcts.SearchResult, root: State, rules: tot.Rules, tokenizer, num_nodes: int
) -> tot.Tree:
    """The tree of one problem, from arrays ``[N, ...]``."""
    tree = tot.Tree([tot.Node(root, -1, np.nan)], {rules.identity(root)})
    nodes: LineNode = found.embedding
    q = found.rewards + found.discounts * found.values
    place = {0: 0}  # node of the search -> its node of the tree
    accepted = {0}  # nodes of the tree whose thoughts the rules all accept
    for i in range(1, num_nodes):
        parent, action = found.parents[i], found.actions[i]
        if parent < 0:  # unused: this simulation ended at a terminal node
            continue
        at = place[parent]
        if nodes.written[i]:
            place[i] = at
            if at not in tree.expanded:
                tree.expanded.append(at)
            tree.generated += int(nodes.cost[i])
            continue

        before = tree.nodes[at].state
        state = _append_line(before, nodes, parent, action - 1, tokenizer)
        place[i] = len(tree.nodes)
        tree.nodes.append(tot.Node(state, at, float(q[i])))
        tree.evaluated += int(nodes.cost[i])
        if at in accepted and rules.accept(before, state.thoughts[-1]):
            accepted.add(place[i])

        if rules.is_solved is None:
            continue
        if place[i] in accepted and rules.is_leaf(state) and rules.is_solved(state):
            tree.answer = place[i]
            return tree
        rollout = _append_rollout(state, nodes, i, tokenizer)
        if rollout is not None and rules.is_solved(rollout):
            tree.answer = len(tree.nodes)
            tree.nodes.append(tot.Node(rollout, place[i], 1.0))
            return tree
    if rules.is_solved is None:
        tree.answer = tot.best_leaf(tree, rules)
    return tree


def _append_line(before: State, nodes: LineNode, node: int, line: int, tokenizer) -> State:
    """The state with one line of a node as its next thought."""
    text = _lines_of(tokenizer, nodes.lines[node, line], nodes.lengths[node, line])[0]
    logprob = before.logprob + float(nodes.logprobs[node, line])
    return State(before.problem, (*before.thoughts, text), logprob)


def _append_rollout(state: State, nodes: LineNode, node: int, tokenizer) -> State | None:
    """The state with the end that a rollout of this node wrote, None if there is none."""
    if not nodes.rollout_length[node]:
        return None
    end = _lines_of(tokenizer, nodes.rollout[node], nodes.rollout_length[node])
    return state._replace(thoughts=(*state.thoughts, *end))


def _lines_of(tokenizer, tokens: np.ndarray, length: int) -> list[str]:
    """The first ``length`` of ``tokens[T]`` as lines of text."""
    (text,) = decode(tokenizer, tokens[None], np.arange(len(tokens))[None] < length)
    return text.rstrip("\n").split("\n")
