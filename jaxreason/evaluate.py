"""Measuring a claim: intervals, compute in FLOPs, and a lesson's ``results.json`` (numpy, on the host)."""

import json
import math
import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import stats

from jaxreason.errors import InputError
from jaxreason.files import atomic_file


class Interval(NamedTuple):
    value: float  # the estimate
    low: float  # lower confidence limit
    high: float  # upper confidence limit
    n: int  # independent observations behind it, as a rule problems


# --- intervals ----------------------------------------------------------------------------------------------


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927), good near 0 and 1 and for small n.

    Raises:
        InputError: no trials, successes outside 0..n, or a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    if n < 1 or not 0 <= successes <= n or int(successes) != successes or int(n) != n:
        raise InputError(f"{successes} successes of {n}: expected integers, n >= 1 and successes in 0..n")
    interval = stats.binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return Interval(int(successes) / int(n), float(interval.low), float(interval.high), int(n))


def accuracy(correct: np.ndarray, confidence: float = 0.95) -> Interval:
    """Share of right problems with its Wilson interval; ``correct`` is ``[G]`` of bool (or 0/1), one per
    problem.

    Raises:
        InputError: anything but one bool for each problem.
    """
    correct = np.asarray(correct)
    if correct.ndim != 1 or not np.isin(correct, (0, 1)).all():
        raise InputError(
            f"correct is {correct.dtype}{list(correct.shape)}: expected one bool per problem [G]; "
            "for several chains of a problem average them and use mean_interval"
        )
    return wilson(int(correct.sum()), correct.size, confidence)


def mean_interval(values: np.ndarray, confidence: float = 0.95, num_resamples: int = 10_000, seed: int = 0) -> Interval:
    """Mean over problems of a per-problem number ``[G]``, such as pass@1 estimated from N chains.

    The percentile bootstrap over problems (Efron and Tibshirani 1993, section 13.3): the N chains of one
    problem are not independent, problems are. Values that are all equal give an interval of width zero: use
    :func:`accuracy` for right-or-wrong outcomes.

    Raises:
        InputError: fewer than two problems, values that are not finite, or a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
        raise InputError(f"values has shape {list(values.shape)}: expected finite numbers [G], one per problem, G >= 2")
    if num_resamples < 1:
        raise InputError(f"num_resamples is {num_resamples}: expected at least 1; 10000 is usual")
    rng = np.random.default_rng(seed)
    means = np.empty(num_resamples)
    rows = max(1, 2**20 // values.size)  # 8 MB of float64 at a time
    for start in range(0, num_resamples, rows):
        chunk = means[start : start + rows]
        chunk[:] = values[rng.integers(0, values.size, (chunk.size, values.size), np.int32)].mean(1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high), values.size)


def paired_difference(
    a: np.ndarray, b: np.ndarray, confidence: float = 0.95, num_resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Mean of ``a - b`` over the same problems, ``[G]`` each: how much better method a is than b.

    Resampling problems in pairs is resampling their differences, so this is :func:`mean_interval` of a - b
    (bools count as 0 and 1). What is hard for both methods cancels: it is tighter than two separate
    intervals.

    Raises:
        InputError: different shapes, or what :func:`mean_interval` refuses.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise InputError(
            f"a and b have shapes {list(a.shape)} and {list(b.shape)}: expected the same problems [G] in both"
        )
    return mean_interval(a - b, confidence, num_resamples, seed)


def within_budget(solved: np.ndarray, tokens: np.ndarray, mean_tokens: float) -> tuple[np.ndarray, np.ndarray]:
    """What a method that stops at its solution would have solved with ``mean_tokens`` tokens a problem on average.

    Every problem gets the same cap: the largest one under which the mean of what is spent is no more than ``mean_tokens``.

    Args:
        solved: ``[G]`` bool, whether it solved the problem at all.
        tokens: ``[G]``, what it spent up to its solution, or before it gave up.

    Returns:
        solved within the cap ``[G]`` and tokens spent ``[G]``.
    """
    solved, tokens = np.asarray(solved, bool), np.asarray(tokens, float)
    if solved.shape != tokens.shape or solved.ndim != 1 or not len(solved):
        raise InputError(f"solved has shape {solved.shape} and tokens {tokens.shape}: expected [G] both")
    # sum(min(tokens, cap)) is piecewise linear in the cap: walk through its corners.
    ordered = np.sort(tokens)
    left = len(ordered) - np.arange(len(ordered))  # problems that spend the cap, once it has reached ordered[i]
    spent_at = np.concatenate([[0.0], np.cumsum(ordered)])[:-1] + ordered * left
    budget = mean_tokens * len(ordered)
    i = np.searchsorted(spent_at, budget, side="right")
    cap = np.inf if i == len(ordered) else (budget - ordered[:i].sum()) / left[i]
    return solved & (tokens <= cap), np.minimum(tokens, cap)


def auc(scores: np.ndarray, positive: np.ndarray, confidence: float = 0.95) -> Interval:
    """Chance that a positive case outscores a negative one, ties counting half; ``[G]`` each.

    The area under the ROC curve with the interval of DeLong et al. 1988: 0.5 knows nothing, 1 ranks perfectly, and
    neither depends on a threshold or on how common positives are.

    Raises:
        InputError: not one finite score and one bool for each case, or fewer than two cases of a kind.
    """
    _check_confidence(confidence)
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive)
    if scores.ndim != 1 or positive.shape != scores.shape or not np.isfinite(scores).all():
        raise InputError(
            f"scores {list(scores.shape)}, positive {list(positive.shape)}: expected finite numbers and bools [G]"
        )
    up, down = scores[positive.astype(bool)], scores[~positive.astype(bool)]
    if min(len(up), len(down)) < 2:
        raise InputError(f"{len(up)} positive and {len(down)} negative cases: expected at least two of each")
    ranks = stats.rankdata(np.r_[up, down])
    wins = (ranks[: len(up)] - stats.rankdata(up)) / len(down)  # share of the negatives below each positive
    losses = 1 - (ranks[len(up) :] - stats.rankdata(down)) / len(up)  # share of the positives above each negative
    error = stats.norm.ppf((1 + confidence) / 2) * np.sqrt(wins.var(ddof=1) / len(up) + losses.var(ddof=1) / len(down))
    value = float(wins.mean())
    return Interval(value, max(0.0, value - float(error)), min(1.0, value + float(error)), len(scores))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}: expected a share between 0 and 1, such as 0.95")


# --- compute ------------------------------------------------------------------------------------------------


def forward_flops(cfg: Any, context: int | np.ndarray) -> float | np.ndarray:
    """FLOPs of one token's forward pass that attends to ``context`` positions, itself included.

    Kaplan et al. 2020, section 2.1: two (a multiply and an add) for each non-embedding weight, plus
    attention, plus the logits; norms, softmax, rotary embedding and biases are left out, the embedding
    look-up is free. Weights are counted per projection, because grouped-query attention shrinks keys and
    values and SwiGLU has three matrices. Attention is 4 * heads * head_dim * context in each layer; Kaplan's
    2 * n_ctx * d_attn is that at the mean context n_ctx / 2 of a causal model.

    Args:
        cfg: anything with the Hugging Face names vocab_size, hidden_size, num_hidden_layers,
            num_attention_heads, num_key_value_heads, head_dim and intermediate_size.
        context: positions, a number or an array; the result has its shape.
    """
    return _body_flops(cfg, context) + _logits_flops(cfg)


def _body_flops(cfg: Any, context: int | np.ndarray) -> float | np.ndarray:
    queries, keys = cfg.num_attention_heads * cfg.head_dim, cfg.num_key_value_heads * cfg.head_dim
    projections = cfg.hidden_size * (2 * queries + 2 * keys)  # query and output, key and value
    mlp = 3 * cfg.hidden_size * cfg.intermediate_size  # gate, up, down
    context = np.asarray(context, np.float64)[()]  # float64: totals of a large model pass 2^63
    attention = 4 * queries * context  # queries @ keys and probabilities @ values, two each per position
    return cfg.num_hidden_layers * (2 * (projections + mlp) + attention)


def _logits_flops(cfg: Any) -> int:
    return 2 * cfg.hidden_size * cfg.vocab_size


def training_flops(cfg: Any, context: np.ndarray) -> float:
    """FLOPs to learn from tokens that attend to ``context`` positions each, themselves included.

    The backward pass takes about two forward passes (Kaplan et al. 2020, section 2.1), so three in all; norms, the optimiser and
    padding are not counted. A packed batch has the contexts ``(batch.positions + 1)[batch.segment_ids > 0]``.
    """
    return 3 * float(np.sum(forward_flops(cfg, context)))


def rollout_flops(cfg: Any, prompt_length: int | np.ndarray, lengths: np.ndarray) -> float | np.ndarray:
    """FLOPs to prefill each prompt once and decode all its chains from that cache.

    The prefill is a forward pass of every prompt token with logits at the last; it gives each chain its first
    token, and each further token costs one pass of :func:`forward_flops`. Padding and finished chains that a
    batch still computes are not counted: this is the useful work.

    Args:
        cfg: as for :func:`forward_flops`.
        prompt_length: tokens, a number or ``[...]``.
        lengths: ``[..., N]`` generated tokens of the N chains that share a prompt; ``[G, 1]`` for single
            chains.

    Returns:
        ``[...]`` FLOPs for each prompt with all its chains.

    Raises:
        InputError: a prompt of no tokens, negative lengths, or prompt lengths that do not match.
    """
    prompt, lengths = np.asarray(prompt_length, np.float64), np.asarray(lengths, np.float64)
    if lengths.ndim == 0 or prompt.shape not in ((), lengths.shape[:-1]):
        raise InputError(
            f"prompt_length {list(prompt.shape)}, lengths {list(lengths.shape)}: expected [...] or a number "
            "and [..., N]; put the N chains of a prompt along the last axis"
        )
    if (prompt < 1).any() or (lengths < 0).any():
        raise InputError(
            f"shortest prompt {prompt.min():g}, shortest chain {lengths.min():g}: expected at least 1 and 0"
        )
    # FLOPs are affine in the context, so a run of passes costs its number times the cost at its mean context.
    steps = np.maximum(lengths - 1, 0)
    prefill = prompt * _body_flops(cfg, (prompt + 1) / 2) + _logits_flops(cfg)
    decode = steps * forward_flops(cfg, prompt[..., None] + (steps + 1) / 2)
    return (prefill + decode.sum(-1))[()]


def reading_flops(cfg: Any, prompt_length: int | np.ndarray, lengths: np.ndarray) -> float | np.ndarray:
    """FLOPs of a verifier that reads each prompt once, and its chains from that cache; no logits, and a scalar head is free.

    Args:
        cfg: of its backbone, as for :func:`forward_flops`.
        prompt_length: tokens, a number or ``[...]``.
        lengths: ``[..., N]`` tokens of the chains, 0 for one that needs no reading because it was read before.

    Returns:
        ``[...]`` FLOPs for each prompt with all its chains.
    """
    prompt, lengths = np.asarray(prompt_length, np.float64), np.asarray(lengths, np.float64)
    of_chains = lengths * _body_flops(cfg, prompt[..., None] + (lengths + 1) / 2)
    return (prompt * _body_flops(cfg, (prompt + 1) / 2) + of_chains.sum(-1))[()]


def search_flops(
    cfg: Any, prompt_length: int | np.ndarray, tokens: np.ndarray, longest: np.ndarray, *, logits: bool = True
) -> float | np.ndarray:
    """FLOPs of a tree search that keeps the cache of every node: each prompt once, and each token of the tree once.

    A tree counts its tokens and not their contexts, so all are charged that of the end of the longest path: an upper bound of the
    attention term, the smaller part.

    Args:
        cfg: as for :func:`forward_flops`.
        prompt_length: tokens, a number or ``[...]``.
        tokens: ``[...]`` written (or read) in all.
        longest: ``[...]`` tokens of the longest path behind the prompt.
        logits: False for a verifier.
    """
    prompt, tokens = np.asarray(prompt_length, np.float64), np.asarray(tokens, np.float64)
    of_token, head = _body_flops(cfg, prompt + longest), _logits_flops(cfg) if logits else 0
    return (prompt * _body_flops(cfg, (prompt + 1) / 2) + head + tokens * (of_token + head))[()]


# --- results.json -------------------------------------------------------------------------------------------


VERDICTS = {True: "holds", False: "NOT SEEN", None: "not testable here"}  # of Results.claim


class Results:
    """Collects a lesson's measurements and claims; :meth:`write` puts them in ``results.json``.

    Args:
        lesson: the lesson's name, such as "02_self_consistency".
        model: ``{"name": str, "params": int, "sha256": str or None}``.
        seed: the lesson's seed.
        problems: number of held-out problems.
        settings: what else the figures depend on, such as the task and the dtype.
    """

    def __init__(
        self, lesson: str, *, model: dict[str, Any], seed: int, problems: int, settings: dict[str, Any] | None = None
    ):
        if set(model) != {"name", "params", "sha256"}:
            raise InputError(f"model has the keys {sorted(model)}: expected name, params and sha256")
        self.header = {
            "lesson": lesson,
            "model": {**model, "params": int(model["params"])},
            "seed": int(seed),
            "problems": int(problems),
        } | ({"settings": dict(settings)} if settings else {})
        self.measurements: list[dict[str, Any]] = []
        self.claims: list[dict[str, Any]] = []
        self._start = time.perf_counter()

    def measure(self, name: str, interval: Interval, tokens: float | None = None) -> None:
        """Record an interval and, if given, the mean number of tokens generated per problem to get it."""
        value, low, high = _finite(name, interval)
        tokens = None if tokens is None else float(tokens)
        self.measurements.append(
            {"name": name, "value": value, "low": low, "high": high, "n": int(interval.n), "tokens": tokens}
        )

    def claim(
        self,
        claim: str,
        interval: Interval,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        excludes_zero: bool = False,
        worst: float | None = None,
    ) -> bool | None:
        """Record and return whether a claim holds; None if it cannot be tested here.

        It holds if the *value* is at least ``at_least`` and at most ``at_most`` (those given) and, with
        ``excludes_zero``, the *interval* lies on the bounded side of zero: low > 0 for ``at_least``, high < 0
        for ``at_most``. Say ``excludes_zero`` for a difference, not for an accuracy.

        A claim that nothing could refute is not testable: a method cannot lose more than its baseline has, so "loses at
        most 1 point" says nothing of a baseline at 0%. ``worst`` is the value that the claim would have had if all had
        gone against it, given the baseline; where even that keeps the bound, the claim is recorded as not testable.

        Raises:
            InputError: no bound, ``excludes_zero`` with two, or limits that are not finite.
        """
        if (at_least is None) == (at_most is None) and (at_least is None or excludes_zero):
            raise InputError(
                f"claim {claim!r}: expected at_least or at_most (exactly one with excludes_zero); "
                "say what would refute it"
            )
        value, low, high = _finite(claim, interval)

        def kept(value: float) -> bool:
            return (at_least is None or value >= at_least) and (at_most is None or value <= at_most)

        holds: bool | None = kept(value)
        if worst is not None and kept(worst):
            holds = None
        elif excludes_zero:
            holds = holds and (low > 0 if at_most is None else high < 0)
        self.claims.append({"claim": claim, "value": value, "low": low, "high": high, "holds": holds})
        return holds

    def table(self) -> str:
        """The measurements and claims as aligned text."""
        width = max((len(m["name"]) for m in self.measurements), default=0)
        lines = [
            f"{m['name']:<{width}}  {m['value']:8.4g} [{m['low']:.4g}, {m['high']:.4g}]  n={m['n']}"
            + ("" if m["tokens"] is None else f"  {m['tokens']:.1f} tokens")
            for m in self.measurements
        ]
        lines += [f"{VERDICTS[c['holds']]}: {c['claim']}" for c in self.claims]
        return "\n".join(lines)

    def write(self, folder: str | Path) -> Path:
        """Write ``folder/results.json`` atomically: a reader finds the old file or the new one."""
        path = Path(folder) / "results.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        device = jax.devices()[0]
        record = {
            **self.header,
            "device": {"platform": device.platform, "kind": device.device_kind, "cpus": os.cpu_count()},
            "versions": _versions(),
            "seconds": round(time.perf_counter() - self._start, 3),
            "measurements": self.measurements,
            "claims": self.claims,
        }
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return path


def _finite(name: str, interval: Interval) -> tuple[float, float, float]:
    value, low, high = map(float, interval[:3])
    if not all(map(math.isfinite, (value, low, high))):
        raise InputError(f"{name!r} is {value} [{low}, {high}]: expected finite numbers, which JSON can hold")
    return value, low, high


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("jax", "flax", "numpy", "jaxreason"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source tree
            versions[package] = None
    return versions
