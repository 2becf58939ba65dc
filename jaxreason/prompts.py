"""Prompts: the same question asked so that the model answers at once, or thinks first.

Every function maps a question to the text the model continues. The tiny models were trained on exactly these.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from jaxreason.errors import InputError, one_line

STEP_BY_STEP = "Let's think step by step."
WAIT = "Wait"


def direct(question: str) -> str:
    """Ask for the answer alone; the completion is `` 54``."""
    return f"Q: {question}\nAnswer:"


def zero_shot_cot(question: str) -> str:
    """Ask for reasoning with the trigger of Kojima et al. 2022, section 3; the completion is lines, then ``#### 54``."""
    return f"Q: {question}\n{STEP_BY_STEP}\n"


def few_shot(question: str, examples: Sequence[tuple[str, str]]) -> str:
    """Worked examples ``(question, answer text)``, then the question (Brown et al. 2020; with reasoning, Wei et al. 2022).

    The prompt names no style: whether the model answers at once or reasons is read off the examples.
    """
    return "".join(f"Q: {q}\nA:{a}\n\n" for q, a in examples) + f"Q: {question}\nA:"


def chat(tokenizer: PreTrainedTokenizerBase, question: str, system: str | None = None, **options) -> str:
    """Ask a chat model, in the format it was tuned on; the text ends where its answer begins.

    Args:
      tokenizer: of the model; its chat template writes the text.
      question: the user's turn.
      system: the system's turn; None leaves it to the template, which may have a default.
      options: what the template understands beside, for instance ``enable_thinking=False`` for Qwen3.

    Raises:
      InputError: the tokenizer has no chat template, or the template refuses the turns.
    """
    if not tokenizer.chat_template:
        raise InputError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template: use an instruct model, or a plain prompt "
            "such as zero_shot_cot"
        )
    turns = [] if system is None else [{"role": "system", "content": system}]
    turns.append({"role": "user", "content": question})
    try:
        return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **options)
    except Exception as error:  # templates are programs: they raise what they like
        raise InputError(
            f"the chat template of {tokenizer.name_or_path!r} cannot write this ({one_line(error)})"
        ) from error


def direct_answer(answer: int | str) -> str:
    """How an example states an answer at once."""
    return f" {answer}"


def cot_answer(lines: Sequence[str], answer: int | str) -> str:
    """How an example reasons: one step a line, then the answer behind ``####`` (the format of GSM8K)."""
    return "\n" + chain(lines, answer)


def chain(lines: Sequence[str], answer: int | str) -> str:
    """A chain of thought: one step a line, then the answer behind ``####``."""
    return "\n".join([*lines, f"#### {answer}"])


def experts(question: str) -> str:
    """Ask a chat model to search within one reply: the prompt of Hulbert 2023 (tree-of-thought-prompting, MIT licence).

    Put it through :func:`chat`. Three imagined experts go on step by step and leave when they see an error, so generating,
    judging and pruning all happen in the text; nothing outside checks that they do.
    """
    return (
        "Imagine three different experts are answering this question. All experts will write down 1 step of their "
        "thinking, then share it with the group. Then all experts will go on to the next step, etc. If any expert "
        f"realises they're wrong at any point then they leave. The question is: {question}"
    )
