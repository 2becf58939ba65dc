"""The runs that the book's "Look inside" pages show: ``python docs/book/make_runs.py [PAGE ...]``.

Each page has a JSON file beside it, docs/book/inside/PAGE.json. They are committed (60 kB in all),
because the runs take minutes and another machine may draw other chains: so the book is
built without a model, and its text can speak of what the files hold. All runs are of shipped models
on held-out problems with seed 0.
"""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreason import (
    DAPO,
    Params,
    Sampler,
    answer_ids,
    compile_stop,
    complete,
    encode_problems,
    exact_match,
    extract_answer,
    grade,
    init_state,
    lm_evaluators,
    lm_mcts,
    lm_tasks,
    load_model,
    load_reward_model,
    majority,
    make_grpo_step,
    mcts,
    mean_interval,
    paired_difference,
    problem_batches,
    split_steps,
    step_scores,
    zero_shot_cot,
)
from jaxreason.search import tree_of_thoughts, word_problems
from jaxreason.tasks import arithmetic

KEY = jax.random.key(0)


def chains_of(model, problems, *, temperature: float, num_samples: int):
    """The completions, and which of them are right ``[G, N]``."""
    texts = [zero_shot_cot(p.question) for p in problems]
    drawn = complete(
        model,
        KEY,
        texts,
        sampler=Sampler(temperature),
        max_new_tokens=96,
        num_samples=num_samples,
        description=f"{num_samples} chains",
    )
    return drawn, grade(drawn.texts, [p.answer for p in problems])


def chain(problem, text: str, is_right: bool) -> dict:
    """A chain as the pages show it."""
    steps = [step.rstrip() for step in split_steps(text)]
    verdicts = arithmetic.check_steps(problem, "\n".join(steps))
    return {
        "steps": steps,
        "answer": extract_answer(text),
        "right": bool(is_right),
        "first_wrong": verdicts.index(False) if False in verdicts else None,
    }


def first(found: np.ndarray, count: int) -> list[int]:
    return np.flatnonzero(found)[:count].tolist()


# ---- votes


def votes() -> dict:
    """32 chains of six problems: easy ones, won with a minority of right chains, and lost."""
    problems = arithmetic.problems("test", 300, seed=0, operations=(4, 5, 6))
    drawn, right = chains_of(load_model("tiny"), problems, temperature=0.7, num_samples=32)
    ids = answer_ids([[extract_answer(text) for text in row] for row in drawn.texts])
    winners = np.asarray(majority(ids))
    won = ((ids == winners[:, None]) & right).any(1)
    share = right.mean(1)
    kinds = {
        "nearly all chains agree": won & (share > 0.9) & (share < 1),
        "the right answer wins with less than half of the votes": won & (share < 0.5),
        "a wrong answer wins": ~won & (share > 0.1),
    }
    return {
        "of": len(problems),
        "temperature": 0.7,
        "problems": [
            {
                "kind": kind,
                "share_of_problems": float(found.mean()),
                "question": problems[g].question,
                "gold": problems[g].answer,
                "chains": [
                    chain(problems[g], *pair) for pair in zip(drawn.texts[g], right[g], strict=True)
                ],
            }
            for kind, found in kinds.items()
            for g in first(found, 2)
        ],
    }


# ---- steps


def steps() -> dict:
    """Lines scored by the PRM and the ORM: errors that the PRM finds, misses, or imagines."""
    problems = arithmetic.problems("test", 250, seed=0, operations=(4, 5, 6))
    model = load_model("tiny")
    drawn, right = chains_of(model, problems, temperature=1.0, num_samples=1)
    texts = [zero_shot_cot(p.question) for p in problems]
    judges = {kind: load_reward_model(f"tiny-{kind.lower()}", model) for kind in ("PRM", "ORM")}
    scores = {
        name: step_scores(judge, texts, drawn.texts)[:, 0] for name, judge in judges.items()
    }  # [G, S]
    shown = [chain(*case) for case in zip(problems, sum(drawn.texts, []), right[:, 0], strict=True)]
    truth = np.array([-1 if c["first_wrong"] is None else c["first_wrong"] for c in shown])
    low = scores["PRM"] < 0.5
    said = np.where(low.any(1), low.argmax(1), -1)
    kinds = {
        "every line is right, and the PRM says so": (truth == -1) & right[:, 0] & (said == -1),
        "the PRM finds the first wrong line": (truth >= 1) & (said == truth),
        "the PRM misses the first wrong line": (truth >= 1) & (said != truth),
        "the PRM doubts a chain without an error": (truth == -1) & right[:, 0] & (said != -1),
    }
    return {
        "of": len(problems),
        "chains": [
            {
                "kind": kind,
                "share_of_problems": float(found.mean()),
                "question": problems[g].question,
                "gold": problems[g].answer,
                **shown[g],
                "scores": {
                    name: [round(float(x), 3) for x in values[g, : len(shown[g]["steps"])]]
                    for name, values in scores.items()
                },
            }
            for kind, found in kinds.items()
            for g in first(found, 2)
        ],
    }


# ---- tree

SIMULATIONS, C, Q_RANGE = 48, 1.0, (0.0, 1.0)


def tree() -> dict:
    """Monte Carlo tree search over lines by the PRM, as in lesson 06, one simulation at a time."""
    problems = arithmetic.problems("test", 60, seed=0, operations=(4, 5, 6))
    model = load_model("tiny")
    prm = load_reward_model("tiny-prm", model)
    (newline,) = model.tokenizer("\n", add_special_tokens=False).input_ids
    searcher = lm_mcts.searcher(
        model,
        lm_tasks.reasoning_lines([model.tokenizer.eos_token_id], judged=True),
        lm_evaluators.process_reward(prm.cfg, newline, prompt_lines=2),
        width=192,
    )
    found = lm_mcts.search(
        searcher,
        KEY,
        [zero_shot_cot(p.question) for p in problems],
        num_simulations=SIMULATIONS,
        c=C,
        q_range=Q_RANGE,
        value_params=prm.params,
        description="searches",
    )
    states = [tree_of_thoughts.State(p) for p in problems]
    trees = lm_mcts.to_trees(found, searcher, states, word_problems.LINES)
    leaves = [t.nodes[t.answer].state.thoughts[-1] if t.answer >= 0 else "" for t in trees]
    right = grade([[leaf] for leaf in leaves], [p.answer for p in problems])[:, 0]
    _, alone = chains_of(model, problems, temperature=0.0, num_samples=1)
    kinds = {
        "the greedy chain is right, and so is the search": right & alone[:, 0],
        "the greedy chain is wrong, and the search is right": right & ~alone[:, 0],
    }
    return {
        "of": len(problems),
        "searches": [
            {
                "kind": kind,
                "share_of_problems": float(matching.mean()),
                "question": problems[g].question,
                "gold": problems[g].answer,
                "simulations": replay(
                    jax.tree.map(lambda x, g=g: x[g : g + 1], found), model.tokenizer, problems[g]
                ),
            }
            for kind, matching in kinds.items()
            for g in first(matching, 2)
        ],
    }


def replay(found: mcts.SearchResult, tokenizer, problem) -> list[dict]:
    """What each simulation of one search did: its walk, and what it found at the end.

    The finished tree does not say which walk came when. Selection is repeated on the tree as it was
    before each simulation, and has to arrive at the same visits and means.

    Args:
      found: a search of one problem, arrays ``[1, N, ...]``.
    """
    nodes = found.embedding
    num_nodes = found.visits.shape[1]
    visits, values = np.zeros_like(found.visits), np.zeros_like(found.values)
    visits[0, 0] = 1
    shown = {0: 0}  # node of the search -> node of the page, one for each text
    simulations = []
    for i in range(1, num_nodes):
        made = np.where(found.children < i, found.children, -1)
        before = found._replace(visits=visits, values=values, children=made)
        node, walk = 0, [0]
        while not found.terminal[0, node]:
            scores = mcts.action_scores(before, np.array([node]), c=C, q_range=Q_RANGE)
            action = int(np.argmax(scores[0]))
            child = int(made[0, node, action])
            if child < 0:
                break
            node = child
            walk.append(node)
        if found.terminal[0, node]:
            event = {"does": "revisit", "value": float(values[0, node])}
        else:
            assert (found.parents[0, i], found.actions[0, i]) == (node, action)
            event, value = new_node(found, tokenizer, problem, i, node, action)
            values[0, i] = value
            shown[i] = shown[node] if nodes.written[0, i] else max(shown.values()) + 1
            walk.append(i)
        gain = float(values[0, walk[-1]])
        for at in walk:
            if at != walk[-1] or visits[0, at]:
                values[0, at] = (values[0, at] * visits[0, at] + gain) / (visits[0, at] + 1)
            visits[0, at] += 1
        texts = [shown[at] for at in walk if not nodes.written[0, at]]
        simulations.append({**event, "value": round(gain, 4), "walk": texts})
    np.testing.assert_array_equal(visits, found.visits)
    np.testing.assert_allclose(values, found.values, atol=1e-5)
    return simulations


def new_node(found, tokenizer, problem, i: int, node: int, action: int) -> tuple[dict, float]:
    """The event of node i behind an action of ``node``, and the value it begins with."""
    nodes = found.embedding

    def line(of: int, k: int) -> str:
        tokens = nodes.lines[0, of, k, : nodes.lengths[0, of, k]]
        return tokenizer.decode(tokens, skip_special_tokens=True).strip()

    value = float(nodes.value[0, i])
    if action == 0:
        known = np.isfinite(nodes.logprobs[0, i])
        written = [
            [line(i, k), round(float(np.exp(nodes.logprobs[0, i, k])), 3)]
            for k in np.flatnonzero(known)
        ]
        return {"does": "write", "lines": written}, value * (1 - float(nodes.mass[0, node]))
    event = {"does": "read", "line": line(node, action - 1), "score": round(value, 4)}
    if found.terminal[0, i]:
        answer = extract_answer(event["line"])
        event |= {"answer": answer, "right": bool(grade([[answer]], [problem.answer])[0, 0])}
    return event, value


# ---- grpo

STEPS, PROMPTS, GROUP, KEEP = 50, 112, 8, 64


def grpo() -> dict:
    """Chains of tiny-start before and after GRPO, by the recipe of lesson 08 in fewer steps."""
    model = load_model("tiny-start")
    params = trained(model)
    problems = arithmetic.problems("test", 200, seed=0)
    (before, was), (after, now) = (
        chains_of(m, problems, temperature=1.0, num_samples=8)
        for m in (model, model._replace(params=params))
    )
    return {
        "of": len(problems),
        "before": mean_interval(was.mean(1))._asdict(),
        "after": mean_interval(now.mean(1))._asdict(),
        "gain": paired_difference(now.mean(1), was.mean(1))._asdict(),
        "problems": [
            {
                "question": problems[g].question,
                "gold": problems[g].answer,
                "before": [
                    chain(problems[g], *c) for c in zip(before.texts[g], was[g], strict=True)
                ],
                "after": [chain(problems[g], *c) for c in zip(after.texts[g], now[g], strict=True)],
            }
            for g in range(8)
        ],
    }


def trained(model) -> Params:
    """The parameters after GRPO; see lesson 08 for why the recipe is as it is."""
    asked = arithmetic.problems("train", 16_384, seed=1000)
    questions = encode_problems(
        model.tokenizer,
        [zero_shot_cot(p.question) for p in asked],
        [f" {p.answer}" for p in asked],
        max_tokens=96,
    )
    up, down = optax.linear_schedule(0, 1e-3, 10), optax.linear_schedule(1e-3, 1e-4, STEPS)
    schedule = optax.join_schedules([up, down], [10])
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b2=0.95))
    step = make_grpo_step(
        cfg=model.cfg,
        stop=compile_stop(model.tokenizer),
        tx=tx,
        reward_fn=exact_match(model.tokenizer),
        objective=dataclasses.replace(DAPO, advantages="least_variance"),
        num_samples=GROUP,
        max_new_tokens=64,
        keep=KEEP,
        microbatches=KEEP // 2,
        rollout_parts=7,
        widths=((48, 24), (64, 40), (80, 56)),
    )
    step = jax.jit(step, donate_argnums=0)
    state = init_state(jax.tree.map(jnp.copy, model.params), tx)
    batch = problem_batches(questions, KEY, PROMPTS)
    for i in range(STEPS):
        state, _ = step(state, batch(i))
        print(f"step {i + 1} of {STEPS}", end="\r", flush=True)
    return state.params


PAGES = {"votes": votes, "steps": steps, "tree": tree, "grpo": grpo}

if __name__ == "__main__":
    for page in sys.argv[1:] or PAGES:
        path = Path(__file__).parent / "inside" / f"{page}.json"
        path.write_text(json.dumps(PAGES[page](), indent=0, ensure_ascii=False) + "\n")
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
