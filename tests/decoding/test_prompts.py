"""Prompts: what a model is asked is what the training mixture taught it, token for token."""

import warnings

import numpy as np
import pytest

from jaxreason.answers.extract import extract_answer
from jaxreason.decoding import prompts
from jaxreason.errors import InputError

QUESTION = "Tom has 5 apples. Tom buys 2 more. How many apples are left?"


def test_formats():
    assert prompts.direct(QUESTION) == f"Q: {QUESTION}\nAnswer:"
    assert prompts.zero_shot_cot(QUESTION) == f"Q: {QUESTION}\nLet's think step by step.\n"
    assert prompts.chain(["5+2=7"], 7) == "5+2=7\n#### 7"
    assert prompts.few_shot("b?", [("a?", prompts.direct_answer(3))]) == "Q: a?\nA: 3\n\nQ: b?\nA:"
    assert prompts.few_shot("b?", [("a?", prompts.cot_answer(["1+2=3"], 3))]) == (
        "Q: a?\nA:\n1+2=3\n#### 3\n\nQ: b?\nA:"
    )
    assert prompts.few_shot("b?", []) == "Q: b?\nA:"


@pytest.fixture(scope="module")
def mixture(recipe):
    """1,500 documents: (pieces, the problems they used)."""
    used, rng, found = [], np.random.default_rng(1), []
    sample = recipe.arithmetic.sample_problem

    def spy(*args, **kwargs):
        used.append(sample(*args, **kwargs))
        return used[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe.arithmetic, "sample_problem", spy)
        for _ in range(1500):
            used.clear()
            found.append((recipe.document(rng), list(used)))
    return found


def test_every_arithmetic_document_is_a_prompt_and_its_answer(mixture):
    kinds = {"direct": 0, "cot": 0, "few_shot_direct": 0, "few_shot_cot": 0, "recheck": 0}
    for pieces, used in mixture:
        if not used:
            continue  # Game of 24
        text, last = "".join(p.text for p in pieces), used[-1]
        if len(used) == 3:
            answers = [pieces[1].text, pieces[4].text]
            prompt = prompts.few_shot(
                last.question, list(zip([p.question for p in used[:2]], answers, strict=True))
            )
            assert text == prompt + pieces[-1].text
            kind = "few_shot_cot" if "####" in pieces[-1].text else "few_shot_direct"
            assert all(
                ("####" in a) == (kind == "few_shot_cot") for a in answers
            )  # one style a document
            answer = (
                pieces[-1].text.removeprefix("\n") if kind == "few_shot_cot" else pieces[-1].text
            )
        elif text.startswith(prompts.direct(last.question)):
            kind, answer = "direct", text.removeprefix(prompts.direct(last.question))
        else:
            assert text.startswith(prompts.zero_shot_cot(last.question))
            kind, answer = "cot", text.removeprefix(prompts.zero_shot_cot(last.question))
            if f"\n{prompts.WAIT}\n" in answer:
                kind, answer = "recheck", answer.split(f"\n{prompts.WAIT}\n")[1]
        kinds[kind] += 1
        if kind.endswith("direct"):
            assert answer == prompts.direct_answer(last.answer)
        else:
            *lines, end = answer.split("\n")
            assert answer == prompts.chain(lines, last.answer) and len(lines) == last.num_operations
            assert end == f"#### {last.answer}"
    assert all(count > 20 for count in kinds.values()), kinds  # every behaviour occurs


def test_a_prompt_has_the_tokens_it_was_trained_on(mixture, recipe):
    """Training tokenises a document piece by piece, a user the whole prompt: the borders must not
    matter.
    """
    tokenizer = recipe.build_tokenizer(recipe.words())
    for pieces, _ in mixture[:400]:
        texts = [p.text for p in pieces]
        by_piece = [i for ids in tokenizer(texts, add_special_tokens=False).input_ids for i in ids]
        assert tokenizer("".join(texts), add_special_tokens=False).input_ids == by_piece


def test_prompts_carry_no_loss(mixture):
    for pieces, used in mixture:
        assert pieces[0].weight == 0 and pieces[-1].weight > 0
        for piece in pieces:
            assert not (piece.weight and any(p.question in piece.text for p in used))


TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)


@pytest.fixture
def chat_tokenizer(recipe):
    tokenizer = recipe.build_tokenizer(["Tom"])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def test_chat_is_written_by_the_template(chat_tokenizer):
    assert prompts.chat(chat_tokenizer, "Why?") == "<user>Why?<assistant>"
    assert (
        prompts.chat(chat_tokenizer, "Why?", system="Be brief.")
        == "<system>Be brief.<user>Why?<assistant>"
    )
    assert (
        prompts.chat(chat_tokenizer, "Why?", enable_thinking=False)
        == "<user>Why?<assistant><think></think>"
    )


def test_prompts_for_a_chat_model_go_through_its_template(chat_tokenizer):
    end = "<assistant><think></think>"  # this template knows enable_thinking
    assert (
        prompts.direct("Why?", chat_tokenizer)
        == f"<user>Why?\n\n{prompts.AT_ONCE}{end}The answer is"
    )
    examples = [
        ("a?", prompts.cot_answer(["1+2=3"], 3, chat_tokenizer)),
        ("b?", prompts.direct_answer(4, chat_tokenizer)),
    ]
    assert prompts.few_shot("c?", examples, chat_tokenizer) == (
        f"<user>a?<assistant>1+2=3\nThe answer is 3.<user>b?<assistant>The answer is 4.<user>c?{end}"
    )


@pytest.mark.parametrize(
    ("wording", "filled"),
    [
        ("{question}", "Why?"),
        ("{question} Think first.", "Why? Think first."),
        ("Q: {question}\nA:", "Q: Why?\nA:"),
        ("{question}\nUse \\boxed{}.", "Why?\nUse \\boxed{}."),  # it is no format string
        ("{} {0} {answer} {question} {{x}}", "{} {0} {answer} Why? {{x}}"),
        ("{question} Again: {question}", "Why? Again: Why?"),
        ("100%s {question}", "100%s Why?"),
    ],
)
def test_the_question_goes_where_a_wording_says(wording, filled):
    assert prompts.fill(wording, "Why?") == filled


@pytest.mark.parametrize(
    "wording", ["", "Think first.", "{Question}", "{ question }", "question", "{}", "%s"]
)
def test_a_wording_that_leaves_the_question_out_is_refused(wording):
    with pytest.raises(InputError, match="where the question goes") as error:
        prompts.fill(wording, "Why?")
    assert repr(wording) in str(error.value) and "\n" not in str(error.value)


def test_a_question_may_hold_braces():
    assert prompts.fill("{question}!", "\\frac{1}{2} {question}") == "\\frac{1}{2} {question}!"


def test_no_sentence_of_the_reasoning_prompt_dictates_the_answer(chat_tokenizer):
    """Told how to word its answer, Qwen2.5-Coder-0.5B writes that alone: docs/results_qwen/prompts."""
    asked = prompts.zero_shot_cot("Why?", chat_tokenizer)
    assert asked == "<user>Why?\n\nLet's think step by step.<assistant>"  # free to think
    assert "write" not in asked.lower() and prompts.THE_ANSWER_IS not in asked


def test_the_system_turn(chat_tokenizer):
    end = "<assistant><think></think>"
    asked = f"Why?\n\n{prompts.STEP_BY_STEP}"
    assert prompts.zero_shot_cot("Why?", chat_tokenizer, "Be brief.") == (
        f"<system>Be brief.<user>{asked}<assistant>"
    )
    assert prompts.zero_shot_cot("Why?", chat_tokenizer, "").startswith("<system><user>")
    assert prompts.direct("Why?", chat_tokenizer, "Be brief.") == (
        f"<system>Be brief.<user>Why?\n\n{prompts.AT_ONCE}{end}The answer is"
    )


@pytest.mark.parametrize("ask", [prompts.direct, prompts.zero_shot_cot])
def test_a_system_turn_without_a_chat_template_is_refused(ask, recipe):
    for tokenizer in (None, recipe.build_tokenizer(["Tom"])):
        with pytest.raises(InputError, match="has no chat template"):
            ask("Why?", tokenizer, "Be brief.")


def test_without_a_template_a_tokenizer_changes_nothing(recipe):
    plain = recipe.build_tokenizer(["Tom"])
    assert not prompts.has_template(plain) and not prompts.has_template(None)
    for ask in (
        prompts.direct,
        prompts.zero_shot_cot,
        lambda *args: prompts.few_shot(args[0], [("a", " b")], *args[1:]),
    ):
        assert ask(QUESTION, plain) == ask(QUESTION, None) == ask(QUESTION)
    assert (
        prompts.direct_answer(3, plain) == " 3"
        and prompts.cot_answer(["x"], 3, plain) == "\nx\n#### 3"
    )


def test_a_thought_that_the_template_opens(chat_tokenizer):
    """As DeepSeek-R1's: closed where the answer is asked for at once, and read with the completion
    where it is not.
    """
    assert prompts.thinks(chat_tokenizer)  # its template has the tags
    chat_tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.content }}]{% endfor %}<think>{{ '\\n' }}"
    )
    assert prompts.direct("Why?", chat_tokenizer).endswith("<think>\n\n</think>\n\nThe answer is")
    assert (
        prompts.few_shot("Why?", [("a", "b")], chat_tokenizer)
        == "[a][b][Why?]<think>\n\n</think>\n\n"
    )
    thinking = prompts.zero_shot_cot("Why?", chat_tokenizer)
    assert thinking.endswith("<think>\n") and prompts.opening(thinking) == "<think>\n"
    unfinished, finished = "so 5, no, 6", "so 5</think>It is 6."
    assert extract_answer(prompts.opening(thinking) + unfinished) is None
    assert extract_answer(prompts.opening(thinking) + finished) == "6"
    chat_tokenizer.chat_template = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    assert not prompts.thinks(chat_tokenizer)


def test_what_a_prompt_begins_of_the_answer(chat_tokenizer):
    assert prompts.opening(prompts.direct("Why?", chat_tokenizer)) == "The answer is"
    assert (
        prompts.opening(prompts.direct("Why?"))
        == prompts.opening(prompts.zero_shot_cot("Is <think> a tag?"))
        == ""
    )


@pytest.mark.parametrize(
    ("template", "named"),
    [
        (None, "has no chat template"),
        ("{% for m in", "cannot write this"),
        ("{{ raise_exception('no system turn') }}", "no system turn"),
        (
            "{{ ''.__class__.__mro__[1].__subclasses__() }}",
            "cannot write this",
        ),  # the sandbox holds
    ],
)
def test_a_missing_or_failing_template_is_one_line(chat_tokenizer, template, named):
    chat_tokenizer.chat_template = template
    with pytest.raises(InputError, match=named) as error:
        prompts.chat(chat_tokenizer, "Why?", system="Be brief.")
    assert "\n" not in str(error.value)


USER = "{% for m in messages %}{% if m.role == 'user' %}"
IGNORED = [
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
    "{% for m in messages %}[{{ m.role }}]: {{ m.content }}\n\n{% endfor %}",
    USER + "USER: {{ m.content }}{% else %} ASSISTANT: {{ m.content }}{% endif %}{% endfor %}",
]
BEGUN = [
    TEMPLATE,
    IGNORED[1] + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    USER
    # Llama 2
    + "[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}",
    USER + "Q: {{ m.content }}\nA:{% else %} {{ m.content }}\n{% endif %}{% endfor %}",
    # DeepSeek-R1
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant><think>\n",
]


@pytest.mark.parametrize("template", IGNORED + BEGUN)
def test_a_template_that_does_not_begin_the_models_turn_is_said_once(chat_tokenizer, template):
    prompts._warn_of_template.cache_clear()
    chat_tokenizer.chat_template = template
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for question in ("Why?", "How?", "Why?"):
            prompts.chat(chat_tokenizer, question)
            prompts.direct(question, chat_tokenizer)
    assert len(caught) == (template in IGNORED)
    assert all("ignores add_generation_prompt" in str(warning.message) for warning in caught)
