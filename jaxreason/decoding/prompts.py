"""Prompts: the same question asked so that the model answers at once, or thinks first.

Every function maps a question to the text the model continues. Without a tokenizer that is plain
text, on exactly which the tiny models were trained. Given the tokenizer of a chat model, the
model's own chat template writes it. A chat model answers plain text much worse, and does not say
why; so :func:`jaxreason.decoding.completions.complete` warns when it gets it.
"""

import functools
import warnings
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from jaxreason.errors import InputError, one_line

STEP_BY_STEP = "Let's think step by step."
WAIT = "Wait"
THINK, END_OF_THOUGHT = "<think>", "</think>"
TAGS = (THINK, END_OF_THOUGHT, "<answer>", "</answer>")  # what verify.extract_answer reads

# How direct, few_shot and zero_shot_cot end a prompt in plain text.
PLAIN_ENDS = ("\nAnswer:", "\nA:", f"\n{STEP_BY_STEP}\n")

# To chat models, which are told what tiny models and examples know.
AT_ONCE = "Give only the final answer, without any working."
THE_ANSWER_IS = "The answer is"


def direct(
    question: str,
    tokenizer: PreTrainedTokenizerBase | None = None,
    system: str | None = None,
) -> str:
    """Ask for the answer alone; the completion is `` 54``.

    A chat model is told to give nothing else, does not think, and finds its turn begun: ``The
    answer is``. Left to itself it would often explain first, and this prompt is to measure what it
    knows without.

    Args:
      question: in words.
      tokenizer: of the model; without a chat template, or None, the prompt is plain text.
      system: the system's turn, for a chat model only.

    Raises:
      InputError: ``system`` is given, and the tokenizer has no chat template.
    """
    if system is None and not has_template(tokenizer):
        return f"Q: {question}\nAnswer:"
    asked = chat(tokenizer, f"{question}\n\n{AT_ONCE}", system, enable_thinking=False)
    return _thoughtless(asked) + THE_ANSWER_IS


def zero_shot_cot(
    question: str,
    tokenizer: PreTrainedTokenizerBase | None = None,
    system: str | None = None,
) -> str:
    """Ask for reasoning with "Let's think step by step." (Kojima et al. 2022, section 3).

    The completion is lines, then ``#### 54``. A chat model gets the same trigger after the
    question; one that thinks between ``<think>`` tags does so.

    Args:
      question, tokenizer, system: as for :func:`direct`.

    Raises:
      InputError: as :func:`direct`.
    """
    if system is None and not has_template(tokenizer):
        return f"Q: {question}\n{STEP_BY_STEP}\n"
    # Nothing is said of the answer's wording. Told to end with "The answer is",
    # Qwen2.5-Coder-0.5B-Instruct writes that sentence alone: 3% of 128 GSM8K training problems are
    # right, with 29 tokens a chain; asked like this, 28% with 274. Measured by ``python -m
    # benchmarks.prompts``: docs/results_qwen/prompts.
    return chat(tokenizer, f"{question}\n\n{STEP_BY_STEP}", system)


def fill(wording: str, question: str) -> str:
    """A wording with the question in place of ``{question}``.

    Other braces, as of ``\\boxed{}``, stay.

    Raises:
      InputError: the wording has no ``{question}``.
    """
    if "{question}" not in wording:
        raise InputError(
            f"prompt {wording!r} does not say where the question goes: write {{question}} there, "
            "as in '{question} Think first.'"
        )
    return wording.replace("{question}", question)


def few_shot(
    question: str,
    examples: Sequence[tuple[str, str]],
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> str:
    """Worked examples, then the question (Brown et al. 2020; with reasoning, Wei et al. 2022).

    The prompt names no style: whether the model answers at once or reasons is read off the
    examples. For a chat model they are turns of the conversation, and it does not think beside
    them.

    Args:
      question: in words.
      examples: ``(question, answer text)`` of each, the text from :func:`direct_answer` or
        :func:`cot_answer`.
      tokenizer: of the model; without a chat template, or None, the prompt is plain text.
    """
    if not has_template(tokenizer):
        return "".join(f"Q: {q}\nA:{a}\n\n" for q, a in examples) + f"Q: {question}\nA:"
    return _thoughtless(chat(tokenizer, question, examples=examples, enable_thinking=False))


def chat(
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    system: str | None = None,
    examples: Sequence[tuple[str, str]] = (),
    **options,
) -> str:
    """Ask a chat model, in the format it was tuned on; the text ends where its answer begins.

    Args:
      tokenizer: of the model; its chat template writes the text.
      question: the user's turn.
      system: the system's turn; None leaves it to the template, which may have a default.
      examples: earlier turns, of the user and of the model.
      options: what the template understands beside, for instance ``enable_thinking=False`` for
        Qwen3.

    Raises:
      InputError: the tokenizer has no chat template, or the template refuses the turns.
    """
    if not has_template(tokenizer):
        whose = "None" if tokenizer is None else repr(tokenizer.name_or_path)
        raise InputError(
            f"the tokenizer of {whose} has no chat template: use an instruct model, or a plain "
            "prompt such as zero_shot_cot"
        )
    turns = [] if system is None else [("system", system)]
    for asked, answered in examples:
        turns += [("user", asked), ("assistant", answered)]
    messages = [
        {"role": role, "content": content} for role, content in [*turns, ("user", question)]
    ]
    write = functools.partial(tokenizer.apply_chat_template, tokenize=False, **options)
    try:
        prompt = write(messages, add_generation_prompt=True)
        ignored = prompt == write(messages, add_generation_prompt=False)
        answered = write([*messages, {"role": "assistant", "content": "yes"}]) if ignored else ""
    except Exception as error:  # templates are programs: they raise what they like
        raise InputError(
            f"the chat template of {tokenizer.name_or_path!r} cannot write this ({one_line(error)})"
        ) from error
    # Some end a question as answers begin (Llama 2's "[/INST]") or with a thought, and have nothing
    # to add.
    answer_follows = answered.removeprefix(prompt).lstrip().startswith("yes")
    if ignored and not answer_follows and not prompt.rstrip().endswith(THINK):
        _warn_of_template(tokenizer.name_or_path)
    return prompt


@functools.cache
def _warn_of_template(name: str) -> None:
    """Once for a model: every prompt has the same fault."""
    warnings.warn(
        f"the chat template of {name!r} ignores add_generation_prompt: prompts end with the "
        "question and do not begin the model's turn, so it may go on as the user",
        UserWarning,
        stacklevel=3,
    )


def warn_of_plain_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> None:
    """Warns, once for a chat model, if its prompts are of this module and lack its chat template.

    Other texts are not judged: how to ask is the caller's choice.
    """
    if not has_template(tokenizer):
        return
    if any(prompt.startswith("Q: ") and prompt.endswith(PLAIN_ENDS) for prompt in prompts):
        _warn_of_plain_prompt(tokenizer.name_or_path)


@functools.cache
def _warn_of_plain_prompt(name: str) -> None:
    """Once for a model: every prompt has the same fault."""
    warnings.warn(
        f"{name!r} is a chat model, and its prompts are plain text, which it was not tuned on: "
        "write them with its tokenizer, as in zero_shot_cot(question, model.tokenizer)",
        UserWarning,
        stacklevel=4,
    )


def has_template(tokenizer: PreTrainedTokenizerBase | None) -> bool:
    """Whether there is a tokenizer, of a chat model."""
    return tokenizer is not None and bool(tokenizer.chat_template)


def thinks(tokenizer: PreTrainedTokenizerBase | None) -> bool:
    """Whether the model thinks between ``<think>`` tags before it answers, by its template."""
    return has_template(tokenizer) and THINK in str(tokenizer.chat_template)


def opening(prompt: str) -> str:
    """How a prompt begins the model's turn: with ``<think>``, ``The answer is``, or nothing.

    Put it before the completion to read the answer.
    """
    if prompt.rstrip().endswith(THINK):
        return f"{THINK}\n"
    return THE_ANSWER_IS if prompt.endswith(THE_ANSWER_IS) else ""


def _thoughtless(prompt: str) -> str:
    """Closes the thought that some templates open whatever they are told (DeepSeek-R1)."""
    asked = prompt.rstrip()
    return f"{asked}\n\n{END_OF_THOUGHT}\n\n" if asked.endswith(THINK) else prompt


def direct_answer(answer: int | str, tokenizer: PreTrainedTokenizerBase | None = None) -> str:
    """How an example states an answer at once."""
    return f"{THE_ANSWER_IS} {answer}." if has_template(tokenizer) else f" {answer}"


def cot_answer(
    lines: Sequence[str], answer: int | str, tokenizer: PreTrainedTokenizerBase | None = None
) -> str:
    """How an example reasons: one step a line, then the answer.

    In plain text the answer stands behind ``####``, the format of GSM8K.
    """
    if has_template(tokenizer):
        return "\n".join([*lines, direct_answer(answer, tokenizer)])
    return "\n" + chain(lines, answer)


def chain(lines: Sequence[str], answer: int | str) -> str:
    """A chain of thought: one step a line, then the answer behind ``####``."""
    return "\n".join([*lines, f"#### {answer}"])


def experts(question: str) -> str:
    """Ask a chat model to search within one reply; put it through :func:`chat`.

    Three imagined experts go on step by step and leave when they see an error, so generating,
    judging and pruning all happen in the text; nothing outside checks that they do. The prompt of
    Hulbert 2023 (tree-of-thought-prompting, MIT licence).
    """
    return (
        "Imagine three different experts are answering this question. All experts will write down "
        "1 step of their thinking, then share it with the group. Then all experts will go on to "
        "the next step, etc. If any expert realises they're wrong at any point then they leave. "
        f"The question is: {question}"
    )
