"""The results in the documents, from the committed runs: ``python docs/table.py`` rewrites them.

The README has one sentence from each lesson, docs/claims.md a table of the claims that matter most,
and docs/results and docs/results_smollm2 have every claim. These documents name the commands that
made the runs.
"""

import json
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
START, END = "<!-- results -->\n", "<!-- end of results -->\n"
HEADLINES = {  # lesson: parts of the claims that docs/claims.md shows
    "00_introduction": ["a chain of thought beats"],
    "00b_jax_primer": [],
    "01_chain_of_thought": ["CoT beats direct by", "at one operation CoT buys"],
    "01b_sum_over_reasonings": [],
    "02_self_consistency": ["beats one sampled chain", "beats the greedy chain"],
    "02b_when_a_vote_wins": ["where one chain is right"],
    "02c_confidence": ["DeepConf, top 10%"],
    "02d_power_sampling": ["a chain at T = 1/4", "the vote at equal tokens"],
    "03_tree_of_thoughts": ["solves >= 74%", "beats chains"],
    "03b_the_evaluator_decides": [
        "solves >= 74%",
        "by a word at a glance, unseen states of 3",
        "by a thought before the word",
    ],
    "03c_search_on_word_problems": [],
    "04_process_reward_models": [
        "PRM from Monte Carlo",
        "the PRM finds the first error more often",
    ],
    "04b_what_scores_mean": [],
    "05_best_of_n": ["best-of-64"],
    "05b_fooled_and_guided": ["PRM beam search"],
    "05c_particle_filtering": ["11 particles beat"],
    "06_mcts": [],
    "06b_mcts_with_a_model": [
        "beats any of 64 chains with",
        "beats BFS, 8 lines, beam 1",
        "all of them written",
    ],
    "06c_mcts_on_word_problems": ["by the PRM beats best-of-N"],
    "07_budget_forcing": ["eight waits solve"],
    "07b_waiting_and_cutting": ["does not help tiny:"],
    "07c_budgets_by_difficulty": [],
    "08_grpo": ["GRPO gains"],
    "08b_grpo_ablations": ["GRPO beats further SFT"],
    "08c_rl_without_labels": ["paid by the vote, a policy", "it beats the vote", "weaker"],
    "09_distillation": ["GRPO beats its base", "beat GRPO at equal", "beats GRPO, on chains"],
    "10_test_time_compute": ["tiny (best by PRM@16)"],
    "10b_compute_optimal": ["with 2 greedy chains' worth"],
}
SHOWN = {  # lesson: measurements worth a row of their own
    "00_introduction": [],
    "00b_jax_primer": [],
    "01_chain_of_thought": [
        "accuracy/direct",
        "accuracy/cot",
        "accuracy/few_shot_direct",
        "accuracy/few_shot_cot",
    ],
    "01b_sum_over_reasonings": ["probability_of_gold/direct", "probability_of_gold/cot"],
    "02_self_consistency": [
        "accuracy/greedy",
        "accuracy/pass@1",
        "accuracy/majority@8",
        "accuracy/majority@32",
        "accuracy/early_stop@32",
        "accuracy/pass@32",
    ],
    "02b_when_a_vote_wins": ["p<0.5/pass@1", "p<0.5/majority@32"],
    "02c_confidence": [
        "auc within a problem/lowest group",
        "auc within a problem/log-probability",
        "saved/unsure chains stopped",
        "saved/vote settled",
    ],
    "02d_power_sampling": [
        f"{model}/{method}"
        for model in ("tiny", "tiny-start")
        for method in (
            "T = 0",
            "T = 0.25",
            "power sampling, 4 steps",
            "vote of n chains, 4 steps",
            "likeliest of n chains, 4 steps",
        )
    ],
    "03_tree_of_thoughts": [
        *(
            f"solved/{name}/{part}"
            for name in (
                "one chain",
                "vote of 72 chains",
                "any of 72 chains",
                "BFS, beam 1",
                "BFS, beam 5",
                "DFS",
            )
            for part in ("paper", "others")
        ),
    ],
    "03b_the_evaluator_decides": [
        "solved/BFS, beam 5, random",
        "solved/BFS, beam 5, oracle",
        *(
            f"value AUC/{size} numbers, {states}"
            for size in (3, 2)
            for states in (
                "seen, a word at a glance",
                "unseen, a word at a glance",
                "unseen, a thought before the word",
                "unseen, 16 tries",
            )
        ),
    ],
    "03c_search_on_word_problems": [
        "word problems/BFS, likelihood",
        "word problems/vote at the tokens of BFS, likelihood",
    ],
    "04_process_reward_models": [
        "labels/hard are right",
        "step AUC/PRM",
        "step AUC/ORM",
        "step AUC/the policy's least likely token",
        "first error found/PRM",
        "first error found/ORM",
        "first error found/PRM, 1,200 chains",
        "first error found/ORM, 1,200 chains",
        "first error found/PRM, 12,000 chains",
        "first error found/ORM, 12,000 chains",
    ],
    "04b_what_scores_mean": [
        "best of 4/PRM/min",
        "best of 4/ORM/last",
        "one chain",
    ],
    "05_best_of_n": [
        "accuracy/pass@1",
        "accuracy/majority@64",
        "accuracy/PRM@64",
        "accuracy/ORM@64",
        "accuracy/PRM@64, 12,000 chains",
        "accuracy/ORM@64, 12,000 chains",
        "accuracy/PRM@64, 1,200 chains",
        "accuracy/ORM@64, 1,200 chains",
        "accuracy/log-probability@64",
        "accuracy/PRM-weighted vote@64",
        "accuracy/oracle@64",
    ],
    "05b_fooled_and_guided": [
        "accuracy/PRM beam search",
        "accuracy/PRM DVTS",
    ],
    "05c_particle_filtering": [
        *(f"accuracy/{name}@11" for name in ("best particle", "particles' vote")),
        *(f"accuracy/{name}@11" for name in ("best of n", "majority")),
        *(f"accuracy/{name}" for name in ("beam search, 1", "beam search, 4", "DVTS, 4")),
        *(f"worse PRM/{name}" for name in ("best particle", "best of n", "beam search, 4")),
    ],
    "06_mcts": [
        "toy/best action by the value alone",
        "toy/best action, puct, 256 simulations",
    ],
    "06b_mcts_with_a_model": [
        *(f"solved/MCTS, own words/{part}" for part in ("paper", "others")),
        "solved/MCTS, own words",
        "solved/MCTS, rollouts",
        "solved/MCTS, oracle",
        "solved/any of 64 chains",
        "solved/BFS, 8 lines, beam 1",
        "solved/BFS, 8 lines, beam 5",
        "solved/BFS, 16 lines, beam 5",
    ],
    "06c_mcts_on_word_problems": [
        "word problems/MCTS, likelihood",
        "word problems/vote at the same tokens",
        "word problems/MCTS, PRM, 64 simulations",
        "word problems/best of 32, PRM",
        "word problems/BFS, PRM, 2 lines, beam 1",
        "word problems/BFS, PRM, 8 lines, beam 2",
    ],
    "07_budget_forcing": [
        *(f"solved/{k} waits" for k in (0, 1, 2, 4, 8)),
        "tries at the tokens of 8 waits/all written",
        "tries at the tokens of 8 waits/stopped at a solution",
    ],
    "07b_waiting_and_cutting": [f"word problems, tiny/{k} waits" for k in (0, 1)],
    "07c_budgets_by_difficulty": [],
    "08_grpo": [
        *(f"before/{what}" for what in ("greedy", "pass@1, T=1", "pass@16")),
        *(
            f"GRPO, seed {seed}/{what}"
            for what in ("greedy", "pass@1, T=1", "pass@16")
            for seed in range(4)
        ),
    ],
    "08b_grpo_ablations": [
        f"{policy}/{what}"
        for policy in ("further SFT", "substring reward")
        for what in ("greedy", "pass@1, T=1", "pass@16")
    ],
    "08c_rl_without_labels": [
        *(f"gain/{paid}" for paid in ("true answer", "vote", "coin", "format", "vote, weak")),
        *(f"{model}, vote/label accuracy, first 5 steps" for model in ("tiny", "tiny-start")),
        *(f"{model}, vote/label accuracy, last 5 steps" for model in ("tiny", "tiny-start")),
    ],
    "09_distillation": [
        f"{how}/{who}"
        for how in ("greedy", "pass@1")
        for who in (
            "base",
            "answers only",
            "GRPO",
            "all traces",
            "right traces",
            "KD",
            "on-policy",
            "teacher",
        )
    ],
    "10_test_time_compute": [
        *(
            f"accuracy/{name}"
            for name in ("direct", "greedy", "majority@16", "best by ORM@16", "best by PRM@16")
        ),
        *(f"accuracy/PRM beam search {shape}" for shape in ("2x1", "4x1", "4x2")),
        "accuracy/PRM DVTS 4x2",
        "accuracy/PRM MCTS@32",
        *(f"sizes/{side}/greedy" for side in ("tiny-start", "tiny-l")),
    ],
    "10b_compute_optimal": [
        f"policy, {budget} greedy chains' worth/{name}"
        for budget in (2, 4, 8)
        for name in ("by the length of the question", "best single method", "best of n by the PRM")
    ],
}

PROGRAMS = {
    "gsm8k": "[GSM8K]({1}benchmarks/gsm8k.py)",
    "smollm2_grpo": "[GRPO]({1}benchmarks/smollm2_grpo.py)",
}
SHOWN_REAL = {
    "smollm2_grpo": ["before/greedy", "after GRPO/greedy", "after GRPO, in transformers/greedy"],
    "gsm8k": ["accuracy", "answered", "finished"],
    "01_chain_of_thought": [*SHOWN["01_chain_of_thought"], "finished/cot", "answered/cot"],
    "02_self_consistency": [
        "accuracy/greedy",
        "accuracy/pass@1",
        "accuracy/majority@4",
        "accuracy/majority@8",
        "accuracy/pass@8",
    ],
}


class Sentence(NamedTuple):
    """A claim in the README's words."""

    lesson: str  # folder of the run
    claim: str  # as results.json has it
    sampled: str  # a measurement of the same run whose n is the claim's
    words: str


SENTENCES = [
    Sentence(
        lesson="01_chain_of_thought",
        claim="CoT beats direct by >= 50 points at 4+ operations",
        sampled="gain/four_or_more",
        words="On problems of four to six operations, a chain of thought beats the direct answer by"
        " at least 50 points.",
    ),
    Sentence(
        lesson="02_self_consistency",
        claim="majority@32 beats the greedy chain by >= 3 points",
        sampled="accuracy/majority@32",
        words="A vote of 32 chains beats the one greedy chain by at least 3 points.",
    ),
    Sentence(
        lesson="03_tree_of_thoughts",
        claim="BFS, beam 5 beats chains at equal tokens",
        sampled="solved/BFS, beam 5",
        words="On the Game of 24, a breadth-first tree of thoughts beats independent chains that"
        " stop at their first solution, with equal tokens.",
    ),
    Sentence(
        lesson="04_process_reward_models",
        claim="the PRM finds the first error more often than the ORM, by >= 20 points",
        sampled="first error found/PRM",
        words="A process reward model (PRM) finds the first wrong step at least 20 points more"
        " often than an outcome reward model.",
    ),
    Sentence(
        lesson="05_best_of_n",
        claim="best-of-64 with the PRM beats majority@64",
        sampled="accuracy/PRM@64",
        words="The best of 64 chains, chosen by the PRM, beats the vote of the same 64.",
    ),
    Sentence(
        lesson="06c_mcts_on_word_problems",
        claim="MCTS by the PRM beats best-of-N by the PRM, both with 330 tokens a problem",
        sampled="word problems/MCTS, PRM, 64 simulations",
        words="With the PRM as its judge and 330 tokens a problem, Monte Carlo tree search beats"
        " best-of-N.",
    ),
    Sentence(
        lesson="07_budget_forcing",
        claim="eight waits solve more than independent tries with the same tokens, stopped at a"
        " solution",
        sampled="tries at the tokens of 8 waits/stopped at a solution",
        words='On the Game of 24, telling the model to "Wait" eight times beats independent tries'
        " that stop at their first solution, with equal tokens.",
    ),
    Sentence(
        lesson="08_grpo",
        claim="GRPO gains >= 25 points of pass@1 at T=1, seed 0",
        sampled="GRPO, seed 0/pass@1, T=1",
        words="Training with GRPO makes one sampled chain right at least 25 points more often.",
    ),
    Sentence(
        lesson="09_distillation",
        claim="right traces beat GRPO at equal FLOPs",
        sampled="pass@1/right traces",
        words="At equal FLOPs, training on a teacher's correct solutions beats GRPO.",
    ),
    Sentence(
        lesson="10_test_time_compute",
        claim="tiny (best by PRM@16) beats a greedy chain of tiny-l with no more FLOPs, 1-6"
        " operations",
        sampled="sizes/tiny/best by PRM@16",
        words="With no more FLOPs, the small model and its PRM (best of 16) beat one greedy chain"
        " of a model 14 times larger.",
    ),
]

NEWER = [  # methods that the PyTorch course does not have
    Sentence(
        lesson="02c_confidence",
        claim="DeepConf, top 10% beats the plain vote of 64",
        sampled="saved/vote settled",
        words="Voting by the most confident tenth of the chains (DeepConf) beats the full vote.",
    ),
    Sentence(
        lesson="02d_power_sampling",
        claim="tiny-start: power sampling beats a chain at T = 1/4",
        sampled="tiny-start/power sampling, 4 steps",
        words="Power sampling (Markov chains from p^4) beats a low temperature.",
    ),
    Sentence(
        lesson="05c_particle_filtering",
        claim="11 particles beat beam search, 4, which spends no fewer tokens",
        sampled="accuracy/beam search, 4",
        words="Particle filtering by the PRM beats beam search by it, with equal tokens.",
    ),
    Sentence(
        lesson="08c_rl_without_labels",
        claim="paid by the vote, a policy gains pass@1",
        sampled="gain/vote",
        words="A policy that is paid by its own votes, without labels (TTRL), gets better.",
    ),
]

VERDICTS = {True: "", False: " **(not seen)**", None: " *(not testable here)*"}
IN_WORDS = {True: "Holds", False: "Does not hold", None: "Not testable"}


def number(lesson: str) -> str:
    """``03b`` of ``03b_name``."""
    return lesson.partition("_")[0]


def load_run(folder: str, lesson: str) -> dict:
    """The ``results.json`` of a run, from docs/FOLDER/LESSON."""
    return json.loads((ROOT / "docs" / folder / lesson / "results.json").read_text())


def sentences(folder: str, told: list[Sentence]) -> str:
    """A list item for each claim: in words, with its verdict, points, interval and n."""
    items = []
    for lesson, claim_text, sampled, words in told:
        record = load_run(folder, lesson)
        claim = {c["claim"]: c for c in record["claims"]}[claim_text]
        n = {m["name"]: m["n"] for m in record["measurements"]}[sampled]
        points = [f"{100 * claim[side]:+.1f}" for side in ("value", "low", "high")]
        items.append(
            f"- {words} **{IN_WORDS[claim['holds']]}**: {points[0]} points"
            f" [{points[1]}, {points[2]}], n = {n:,} ([{number(lesson)}](lessons/{lesson}.py))."
        )
    return "\n".join(items) + "\n"


def cells(entry: dict) -> str:
    return f"{entry['value']:.3f} | {entry['low']:.3f} to {entry['high']:.3f}"


def table(folder: str, shown: dict[str, list[str]] | None, root: str) -> str:
    """The measurements that are shown of all runs in a folder, and the claims.

    Args:
      folder: of runs, in docs.
      shown: names of measurements by lesson; None for a table of :data:`HEADLINES` alone.
      root: what links begin with.
    """
    rows = ["| lesson | claim | value | 95% interval |", "| --- | --- | ---: | :---: |"]
    if shown is not None:
        rows = [
            "| lesson | measurement or claim | value | 95% interval | n | tokens |",
            "| --- | --- | ---: | :---: | ---: | ---: |",
        ]
    for path in sorted((ROOT / "docs" / folder).glob("*/results.json")):
        record = load_run(folder, path.parent.name)
        lesson = record["lesson"]
        link = PROGRAMS.get(lesson, "[{}]({}lessons/{}.py)").format(number(lesson), root, lesson)
        for m in record["measurements"]:
            if shown is not None and m["name"] in shown[lesson]:
                tokens = "" if m["tokens"] is None else f"{m['tokens']:.0f}"
                rows.append(f"| {link} | {m['name']} | {cells(m)} | {m['n']} | {tokens} |")
        empty = "" if shown is None else " | |"
        for claim in record["claims"]:
            if shown is not None or any(part in claim["claim"] for part in HEADLINES[lesson]):
                named = claim["claim"] + VERDICTS[claim["holds"]]
                rows.append(f"| {link} | {named} | {cells(claim)} |{empty}")
    return "\n".join(rows) + "\n"


DOCUMENTS = {  # document: what stands between its markers
    "README.md": lambda: (
        sentences("results", SENTENCES)
        + "\nFour methods of 2025:\n\n"
        + sentences("results", NEWER)
    ),
    "docs/claims.md": lambda: table("results", None, "../"),
    "docs/results/README.md": lambda: table("results", SHOWN, "../../"),
    "docs/results_smollm2/README.md": lambda: table("results_smollm2", SHOWN_REAL, "../../"),
}


def insert(text: str, document: str) -> str:
    """The text of a document with its results put between the markers."""
    head, rest = text.split(START)
    return f"{head}{START}\n{DOCUMENTS[document]()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    for document in DOCUMENTS:
        path = ROOT / document
        path.write_text(insert(path.read_text(), document))
