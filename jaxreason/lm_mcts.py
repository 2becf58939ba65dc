"""Monte Carlo tree search over the lines a language model writes, for a batch of problems inside one jit.

The words for :func:`jaxreason.mcts.search`: a node holds a text, an action appends one of the A lines that the model wrote
there. Writing lines costs far more tokens than reading a value, so a node is made in two simulations, and most nodes never
see the second:

    first visit     the line is appended and the value of the text is read; the only action of this *fresh* node is "write"
    second visit    A lines are sampled; the new node is the same text with an action for each different line,
                    and their log-probabilities as prior logits

Only the nodes that need a value or lines go through the model, a few of them at a time (:func:`for_those`), so time follows
tokens, and a problem that is finished costs next to nothing. A node keeps tokens, never a cache.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from jaxreason import mcts
from jaxreason import tree_of_thoughts as tot
from jaxreason.errors import InputError
from jaxreason.models.decoder import DecoderConfig, hidden_states, output_head
from jaxreason.models.hf import LanguageModel
from jaxreason.rollout import compile_stop, decode, generate
from jaxreason.sampling import Sampler
from jaxreason.tasks import game24_tokens as g24
from jaxreason.thoughts import VALUES, State
from jaxreason.tokens import Prompt, encode_prompts


class Text(NamedTuple):
    """R texts, ending at the last column."""

    tokens: jax.Array  # [R, P] int32
    mask: jax.Array  # [R, P] bool, False on the padding in front
    logprob: jax.Array  # [R] float32: log p(lines so far | prompt), untempered


class Evaluation(NamedTuple):
    value: jax.Array  # [R] float32
    cost: jax.Array  # [R] int32, tokens read and written
    rollout: jax.Array  # [R, T] int32, the end of the text that a rollout wrote; T = 0 for other evaluators
    length: jax.Array  # [R] int32


class Weights(NamedTuple):
    """``params`` of the search."""

    lm: Any
    value: Any = None  # of a value head or a reward model


class Task(NamedTuple):
    """What the search must know of a kind of texts; pure functions of R texts."""

    is_terminal: Callable[[Text], jax.Array]  # [R] bool
    reward: Callable[[Text], jax.Array]  # [R] float32, of terminal texts
    identity: Callable[[Text], tuple[jax.Array, jax.Array]]  # [R] bool: is it right in form; [R, W]: equal ones are one


EvaluateFn = Callable[[Weights, jax.Array, Text], Evaluation]  # (params, keys [R], texts)


class Thought(NamedTuple):
    """The embedding of a node; K fresh nodes have no lines yet."""

    text: Text
    lines: jax.Array  # [B, A, T] int32
    lengths: jax.Array  # [B, A] int32
    logprobs: jax.Array  # [B, A] float32
    written: jax.Array  # [B] bool: has lines
    value: jax.Array  # [B] float32
    rollout: jax.Array  # [B, T'] int32
    rollout_length: jax.Array  # [B] int32
    cost: jax.Array  # [B] int32: tokens this node took, lines or value


class Searcher(NamedTuple):
    """What :func:`searcher` builds once for a model and a task; the same one again compiles nothing anew."""

    model: LanguageModel
    expand_fn: mcts.ExpandFn
    num_lines: int
    width: int
    max_line: int
    evaluate: EvaluateFn


def searcher(
    model: LanguageModel,
    task: Task,
    evaluate: EvaluateFn,
    *,
    num_lines: int = 16,
    sampler: Sampler = Sampler(),
    max_line: int = 24,
    width: int = 80,
    at_once: int = 16,
) -> Searcher:
    """Builds the ``expand_fn`` of a search.

    Args:
      task: :func:`game24` or :func:`reasoning_lines`.
      evaluate: :func:`value_words`, :func:`rollouts`, :func:`value_head`, :func:`likelihood` or :func:`oracle`.
      num_lines: A, lines sampled from a node, repeats included.
      sampler: of the lines.
      max_line: tokens of a line at most; a longer one is dropped.
      width: P, tokens of a text at most; of a longer one the beginning is forgotten.
      at_once: nodes that write lines together.

    Raises:
      InputError: a size below 1.
    """
    for name, size in (("num_lines", num_lines), ("max_line", max_line), ("width", width), ("at_once", at_once)):
        if size < 1:
            raise InputError(f"{name} is {size}: expected at least 1")
    stop = compile_stop(model.tokenizer, ("\n",), model.eos_ids)

    def write(weights: Weights, keys: jax.Array, text: Text):
        """Lines of R texts: tokens, lengths, log-probabilities (-inf for repeats and what is no line), cost."""
        keys = jax.vmap(lambda key: jax.random.split(key, num_lines))(keys)
        drawn = generate(
            weights.lm, keys, Prompt(text.tokens, text.mask), stop,
            cfg=model.cfg, sampler=sampler, max_new_tokens=max_line, num_samples=num_lines,
        )  # fmt: skip
        lengths, logprobs = drawn.mask.sum(-1), drawn.logprobs.sum(-1)  # [R, A]
        before = jax.tree.map(lambda x: jnp.repeat(x, num_lines, axis=0), text)
        after = append(before, drawn.tokens.reshape(-1, max_line), lengths.reshape(-1), logprobs.reshape(-1))
        right, identity = task.identity(after)
        right &= drawn.finished.reshape(-1)
        right, identity = right.reshape(-1, num_lines), identity.reshape(*lengths.shape, -1)
        same = (identity[:, :, None] == identity[:, None, :]).all(-1) & right[:, None, :]
        repeat = jnp.tril(same, -1).any(-1)  # of an earlier line
        return drawn.tokens, lengths, jnp.where(right & ~repeat, logprobs, -jnp.inf), lengths.sum(-1)

    def expand_fn(weights: Weights, keys: jax.Array, parent: Thought, action: jax.Array) -> mcts.Node:
        rows = jnp.arange(len(action))
        step = (x[rows, action] for x in (parent.lines, parent.lengths, parent.logprobs))
        appended = append(parent.text, *step)
        fresh = parent.written  # the node behind a line; else the parent's text again, now with lines
        text = jax.tree.map(lambda new, old: jnp.where(fresh.reshape(-1, *[1] * (new.ndim - 1)), new, old), appended, parent.text)
        terminal = task.is_terminal(text)  # of a path that ended at one before, nothing is used
        reward = jnp.where(terminal, task.reward(text), 0.0)
        read = for_those(fresh & ~terminal, lambda *xs: evaluate(weights, *xs), (keys, text), 4 * at_once)
        lines, lengths, logprobs, cost = for_those(
            ~fresh & ~terminal, lambda *xs: write(weights, *xs), (keys, text), at_once
        )
        prior = jnp.where(fresh[:, None], _only_first(num_lines), jnp.where(lengths > 0, logprobs, -jnp.inf))
        stuck = ~fresh & ~(prior > -jnp.inf).any(-1)  # nothing to go on with
        value = jnp.where(fresh, read.value, jnp.where(stuck, 0.0, parent.value))
        node = Thought(
            text, lines, lengths, logprobs, ~fresh, value, read.rollout, read.length, jnp.where(fresh, read.cost, cost)
        )
        return mcts.Node(node, prior, value, reward, jnp.where(terminal, 0.0, 1.0))

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
    batch_size: int = 64,
    description: str | None = None,
) -> mcts.SearchResult:
    """The trees of B prompts, on the host; ``rule``, ``c`` and ``q_range`` as in :func:`jaxreason.mcts.search`.

    Prompt b draws from ``fold_in(key, b)``, whatever the batches. The root is fresh too: the first simulation writes its
    lines. The first n simulations of a search are the search of n simulations.

    Raises:
      InputError: no prompt, one that is empty or longer than the searcher's width, or a number of simulations below 1.
    """
    if not prompts:
        raise InputError("no prompt to search from: expected at least one")
    model, weights = searcher.model, Weights(searcher.model.params, value_params)
    encoded = encode_prompts(model.tokenizer, list(prompts), searcher.width)
    size = -(-len(encoded) // -(-len(encoded) // batch_size))  # batches of equal size: one compiled program
    parts = []
    with tqdm(total=len(encoded), desc=description, unit="problem", disable=description is None) as bar:
        for start in range(0, len(encoded), size):
            chosen = np.arange(start, start + size) % len(encoded)  # the last batch may take some of the first again
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, chosen)
            root = _root(searcher, weights, keys, [encoded[i] for i in chosen])
            result = mcts.search(
                weights, keys, root,
                expand_fn=searcher.expand_fn, num_simulations=num_simulations, rule=rule, c=c, q_range=q_range,
            )  # fmt: skip
            real = min(size, len(encoded) - start)
            parts.append(jax.tree.map(lambda x, n=real: x[:n], jax.device_get(result)))
            bar.update(real)
    return jax.tree.map(lambda *xs: np.concatenate(xs), *parts)


def _root(searcher: Searcher, weights: Weights, keys: jax.Array, encoded: Sequence[np.ndarray]) -> mcts.Node:
    """Fresh nodes of the prompts."""
    batch, shape = len(encoded), (len(encoded), searcher.num_lines)
    tokens, mask = np.zeros((batch, searcher.width), np.int32), np.zeros((batch, searcher.width), bool)
    for row, ids in enumerate(encoded):
        tokens[row, -len(ids) :], mask[row, -len(ids) :] = ids, True
    zero, none = jnp.zeros(batch), jnp.zeros(batch, jnp.int32)
    text = Text(jnp.asarray(tokens), jnp.asarray(mask), zero)
    rollout = jax.eval_shape(searcher.evaluate, weights, keys, text).rollout
    thought = Thought(
        text, jnp.zeros((*shape, searcher.max_line), jnp.int32), jnp.zeros(shape, jnp.int32), jnp.zeros(shape),
        zero > 0, zero, jnp.zeros(rollout.shape, jnp.int32), none, none,
    )  # fmt: skip
    return mcts.Node(thought, jnp.broadcast_to(_only_first(searcher.num_lines), shape), zero)


def append(text: Text, line: jax.Array, length: jax.Array, logprob: jax.Array) -> Text:
    """The texts with ``length[R]`` tokens of ``line[R, T]`` behind them; what no longer fits is lost in front."""
    width = text.tokens.shape[1]
    shifted = length[:, None] + jnp.arange(width)
    tokens = jnp.take_along_axis(jnp.concatenate([text.tokens, line], 1), shifted, 1)
    mask = jnp.concatenate([text.mask, jnp.ones_like(line, bool)], 1)
    return Text(tokens, jnp.take_along_axis(mask, shifted, 1), text.logprob + logprob)


def for_those(need: jax.Array, fn: Callable, args: tuple, at_once: int) -> Any:
    """``fn(*args)`` for the rows ``need[B]``, zeros elsewhere; only these are computed, ``at_once`` of them together."""
    batch = len(need)
    size = min(at_once, batch)
    order = jnp.argsort(~need, stable=True)  # those first
    order = jnp.pad(order, (0, -batch % size), constant_values=batch)  # rows beyond the end are dropped
    part = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), args)
    blank = jax.tree.map(lambda s: jnp.zeros((batch, *s.shape[1:]), s.dtype), jax.eval_shape(fn, *part))

    def chunk(i, out):
        rows = jax.lax.dynamic_slice(order, (i * size,), (size,))
        new = fn(*jax.tree.map(lambda x: x[jnp.minimum(rows, batch - 1)], args))
        rows = jnp.where(jnp.arange(size) + i * size < need.sum(), rows, batch)
        return jax.tree.map(lambda o, n: o.at[rows].set(n.astype(o.dtype), mode="drop"), out, new)

    return jax.lax.fori_loop(0, (need.sum() + size - 1) // size, chunk, blank)


def _only_first(num_lines: int) -> jax.Array:
    return jnp.where(jnp.arange(num_lines) == 0, 0.0, -jnp.inf)


# ---- tasks ---------------------------------------------------------------------------------------------------


def game24(abc: g24.Alphabet, *, check: bool = True, board: bool = False) -> Task:
    """Texts that begin with ``24: 4 6 8 2``; lines that leave the same numbers are one.

    Args:
      check: a leaf is worth 1 if it passes the solution test (every move right, 24 left), the test that BFS and DFS stop by.
        False: if it *says* that 24 is left.
      board: lines with a wrong move are dropped.
    """

    def read(text):
        return g24.read_trace(abc, text.tokens, text.mask)

    def reward(text):
        trace = read(text)
        says_24 = g24.numbers_left(trace)[:, -1] == 24
        return ((trace.moves == 3) & says_24 & (g24.is_right(trace) | (not check))).astype(jnp.float32)

    def identity(text):
        trace = read(text)
        return (trace.moves > 0) & (g24.is_right(trace) | (not board)), g24.numbers_left(trace)

    return Task(lambda text: read(text).moves == 3, reward, identity)


def reasoning_lines(eos_ids: Sequence[int]) -> Task:
    """Any text whose last line ends with the end-of-text token; a finished one is worth its probability."""

    def is_terminal(text):
        return (text.tokens[:, -1:] == jnp.array(list(eos_ids))).any(-1)

    return Task(is_terminal, lambda text: jnp.exp(text.logprob), lambda text: (text.mask[:, -1], text.tokens))


# ---- evaluators ------------------------------------------------------------------------------------------------


def _evaluation(value: jax.Array, cost: jax.Array) -> Evaluation:
    none = jnp.zeros(len(value), jnp.int32)
    return Evaluation(value.astype(jnp.float32), none + cost, jnp.zeros((len(value), 0), jnp.int32), none)


def value_words(abc: g24.Alphabet, cfg: DecoderConfig) -> EvaluateFn:
    """The model's own value of the numbers left, as :func:`jaxreason.thoughts.value_words` reads it off the logits.

    The prompt ``Value: 4 8 12`` is put together on the device: the text ends with the numbers left, so they stay in their
    columns, and everything between them and ``Value:`` is masked; positions count what is not.
    """
    worth = np.array([VALUES[word] for word in g24.game24.LABELS], np.float32)

    def evaluate(weights: Weights, keys: jax.Array, text: Text) -> Evaluation:
        tokens, mask = text.tokens[:, -g24.WIDTH :], text.mask[:, -g24.WIDTH :]
        marks = mask & ((tokens == abc.left) | (tokens == abc.colon))
        mask &= jnp.cumsum(marks[:, ::-1], -1)[:, ::-1] == 0  # behind the last mark
        head = jnp.broadcast_to(abc.value, (len(tokens), len(abc.value)))
        tokens = jnp.concatenate([head, tokens], 1)
        mask = jnp.concatenate([jnp.ones_like(head, bool), mask], 1)
        positions = jnp.maximum(jnp.cumsum(mask, -1) - 1, 0)
        states, _ = hidden_states(weights.lm, tokens, positions, cfg=cfg, segment_ids=mask.astype(jnp.int32))
        logits = (states[:, -1] @ output_head(weights.lm)[:, abc.labels]).astype(jnp.float32)
        return _evaluation(jax.nn.softmax(logits) @ worth, mask.sum(-1) + 1)

    return evaluate


def rollouts(model: LanguageModel, task: Task, *, num: int = 1, max_tokens: int = 48, sampler: Sampler = Sampler()) -> EvaluateFn:
    """The mean reward of ``num`` chains written to the end, a solution that one of them finds included in the tree.

    A chain is cut before ``####``, so that its reward is that of its last line.
    """
    stop = compile_stop(model.tokenizer, ("####",), model.eos_ids)

    def evaluate(weights: Weights, keys: jax.Array, text: Text) -> Evaluation:
        keys = jax.vmap(lambda key: jax.random.split(key, num))(keys)
        drawn = generate(
            weights.lm, keys, Prompt(text.tokens, text.mask), stop,
            cfg=model.cfg, sampler=sampler, max_new_tokens=max_tokens, num_samples=num,
        )  # fmt: skip
        lengths = jnp.maximum(drawn.mask.sum(-1) - drawn.finished, 0)  # [R, N], without the mark that ends a chain
        before = jax.tree.map(lambda x: jnp.repeat(x, num, axis=0), text)
        flat = drawn.tokens.reshape(-1, max_tokens), lengths.reshape(-1), drawn.logprobs.sum(-1).reshape(-1)
        after = append(before, *flat)
        reward = jnp.where(task.is_terminal(after), task.reward(after), 0.0).reshape(-1, num)
        best, rows = reward.argmax(-1), jnp.arange(len(reward))
        return Evaluation(
            reward.mean(-1), drawn.mask.sum((1, 2)), drawn.tokens[rows, best], jnp.where(reward.max(-1) > 0, lengths[rows, best], 0)
        )

    return evaluate


def value_head(value_fn: Callable[[Any, jax.Array, jax.Array], jax.Array]) -> EvaluateFn:
    """A value head or process reward model: ``value_fn(value_params, tokens [R, P], mask [R, P]) -> [R]`` in 0..1."""
    return lambda weights, keys, text: _evaluation(
        value_fn(weights.value, text.tokens, text.mask), text.mask.sum(-1)
    )


def likelihood(weights: Weights, keys: jax.Array, text: Text) -> Evaluation:
    """p(lines | prompt), at no cost."""
    return _evaluation(jnp.exp(text.logprob), jnp.int32(0))


def oracle(abc: g24.Alphabet) -> EvaluateFn:
    """The exact value of the Game of 24: every move right and 24 within reach. An upper bound, not a method."""

    def evaluate(weights: Weights, keys: jax.Array, text: Text) -> Evaluation:
        trace = g24.read_trace(abc, text.tokens, text.mask)
        left, cases = g24.numbers_left(trace), [jnp.zeros(len(text.tokens), bool)] * 4
        for moves in (1, 2, 3):  # at the root it is not asked for
            cases[moves] = g24.is_solvable(left[:, moves:])
        can = jnp.select([trace.moves == moves for moves in (1, 2, 3)], cases[1:], False)
        return _evaluation((can & g24.is_right(trace)).astype(jnp.float32), jnp.int32(0))

    return evaluate


# ---- back to words ---------------------------------------------------------------------------------------------


def to_trees(
    result: mcts.SearchResult, searcher: Searcher, roots: Sequence[State], rules: tot.Rules, num_simulations: int | None = None
) -> list[tot.Tree]:
    """The search in words, as trees of ``tree_of_thoughts``, a fresh node and its lines being one node there.

    A node's score is its Q. The answer is the first leaf, or rollout, to pass the solution test, and the tokens are those spent
    up to it; without a test the answer is the leaf of the highest score.

    Args:
      roots: the states that the prompts were written from.
      num_simulations: what the search looked like after so many; all by default.
    """
    tokenizer = searcher.model.tokenizer
    host = jax.device_get(result)
    limit = host.visits.shape[1] if num_simulations is None else min(num_simulations + 1, host.visits.shape[1])
    q = host.rewards + host.discounts * host.values
    return [_to_tree(host, b, root, q[b], rules, tokenizer, limit) for b, root in enumerate(roots)]


def _to_tree(host: mcts.SearchResult, b: int, root: State, q: np.ndarray, rules: tot.Rules, tokenizer, limit: int) -> tot.Tree:
    tree = tot.Tree([tot.Node(root, -1, np.nan)], {rules.identity(root)})
    embedding = jax.tree.map(lambda x: x[b], host.embedding)
    place, accepted = {0: 0}, {0}  # node of the search -> node of the tree; nodes of the tree that are right in form

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
            tree.expanded.append(at)
            tree.generated += int(embedding.cost[i])
            continue
        action, before = host.actions[b, i], tree.nodes[at].state
        (line,) = words(embedding.lines[parent, action], embedding.lengths[parent, action])
        state = State(root.problem, (*before.thoughts, line), before.logprob + float(embedding.logprobs[parent, action]))
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
