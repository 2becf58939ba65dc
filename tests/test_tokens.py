"""Tokens: text survives the round trip, digits stay single, padding is on the left."""

import random

import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.tokens import EOS, PAD, build_tokenizer, encode_prompts, load_tokenizer, pad_left, token_bytes

TEXTS = [
    "Tom has 45 apples.",
    "aabaaab  ab\taab\n\n\nab \r\n x",
    " leading and trailing ",
    "na\u00efve caf\u00e9, \u4f60\u597d, \U0001f34e\U0001f1e9\U0001f1ea, e\u0301, \u200b\ufeff\u00a0",
    "\u0661\u0662\u0663 \u00bd \u00b2 \u2167 1,234.50",
    "don't 'quote' \"it\" \\n <pad <eos ####",
    "\x00\x01\x7f",
]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_random_unicode_comes_back(tokenizer):
    rng, pieces = random.Random(0), token_bytes(tokenizer)
    planes = [(0, 0x80), (0x80, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000)]  # all but the surrogates
    for _ in range(300):
        text = "".join(chr(rng.randrange(*rng.choice(planes))) for _ in range(rng.randrange(1, 30)))
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == text
        assert b"".join(pieces[i] for i in ids) == text.encode()


def test_words_are_one_token_with_and_without_a_space(tokenizer):
    for word in ("Tom", " Tom", "####", " caf\u00e9"):
        (only,) = tokenizer(word, add_special_tokens=False).input_ids
        assert token_bytes(tokenizer)[only] == word.encode()


def test_digits_are_single(tokenizer):
    pieces = [token_bytes(tokenizer)[i] for i in tokenizer("has 1204+77", add_special_tokens=False).input_ids]
    assert pieces == [b"has", b" ", b"1", b"2", b"0", b"4", b"+", b"7", b"7"]
    assert not any(len(p) > 1 and any(chr(b).isdigit() for b in p) for p in token_bytes(tokenizer))


def test_special_tokens_and_order_do_not_depend_on_the_words():
    one, other = build_tokenizer(["x", "a"]), build_tokenizer(["a", "b", "a"])
    for tokenizer in (one, other):
        assert (tokenizer.pad_token, tokenizer.pad_token_id, tokenizer.eos_token, tokenizer.eos_token_id) == (
            PAD,
            0,
            EOS,
            1,
        )
        assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert len(one) == 2 + 256 + 2  # the words' letters are bytes already: only " x" and " a" are new
    assert len(other) == 2 + 256 + 2


def test_a_saved_tokenizer_is_the_same_one(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert (loaded.pad_token_id, loaded.eos_token_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert loaded(text, add_special_tokens=False).input_ids == ids and loaded.decode(ids) == text


@pytest.mark.parametrize("content", [None, "{", "{}", '{"model": 3}'], ids=str)
def test_an_unreadable_tokenizer_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError) as error:
        load_tokenizer(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_pad_left():
    prompt = pad_left([np.array([5, 6, 7]), np.array([8])], pad_id=9, multiple=4)
    assert prompt.tokens.tolist() == [[9, 5, 6, 7], [9, 9, 9, 8]]
    assert prompt.mask.tolist() == [[False, True, True, True], [False, False, False, True]]
    assert prompt.tokens.dtype == np.int32 and prompt.mask.dtype == bool


@pytest.mark.parametrize("longest, width", [(1, 32), (32, 32), (33, 64), (64, 64)])
def test_widths_are_multiples(longest, width):
    prompt = pad_left([np.arange(longest), np.array([8])], pad_id=0)
    assert prompt.tokens.shape == prompt.mask.shape == (2, width)
    assert prompt.mask.sum(-1).tolist() == [longest, 1]


def test_encode_prompts_equals_the_tokenizer(tokenizer):
    texts = ["Tom has 3.", "caf\u00e9 ab"]
    for ids, text in zip(encode_prompts(tokenizer, texts, 50), texts, strict=True):
        assert ids.dtype == np.int32 and ids.tolist() == tokenizer(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize("empty", ["", " ", "\n\t "], ids=ascii)
def test_an_empty_prompt_is_refused(tokenizer, empty):
    with pytest.raises(InputError, match="prompt is empty"):
        encode_prompts(tokenizer, ["Tom", empty], 50)


def test_a_prompt_that_is_too_long_is_refused_with_both_lengths(tokenizer):
    assert len(encode_prompts(tokenizer, ["7" * 20], 20)[0]) == 20
    with pytest.raises(InputError) as error:
        encode_prompts(tokenizer, ["Tom", "7" * 21], 20)
    message = str(error.value)
    assert "'777" in message and "21 tokens" in message and "at most 20" in message and "\n" not in message


def test_text_that_is_not_unicode_is_refused(tokenizer):
    """What Python makes of an argument of the shell that is not UTF-8."""
    with pytest.raises(InputError, match="UTF-8") as error:
        encode_prompts(tokenizer, [b"Tom \xff".decode(errors="surrogateescape")], 50)
    assert "\\udcff" in str(error.value)
