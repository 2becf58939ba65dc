"""Tokens: text survives the round trip, digits stay single, padding is on the left."""

import copy
import random
import re

import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from jaxreason.answers.extract import extract_answer
from jaxreason.decoding.completions import decode
from jaxreason.decoding.stop import compile_stop
from jaxreason.errors import InputError
from jaxreason.models.tokens import (
    EOS,
    PAD,
    build_tokenizer,
    check_vocabulary,
    encode_prompts,
    end_of_turn_ids,
    load_tokenizer,
    pad_left,
    token_bytes,
)

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
    planes = [
        (0, 0x80),
        (0x80, 0xD800),
        (0xE000, 0x10000),
        (0x10000, 0x110000),
    ]  # all but the surrogates
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
    pieces = [
        token_bytes(tokenizer)[i]
        for i in tokenizer("has 1204+77", add_special_tokens=False).input_ids
    ]
    assert pieces == [b"has", b" ", b"1", b"2", b"0", b"4", b"+", b"7", b"7"]
    assert not any(len(p) > 1 and any(chr(b).isdigit() for b in p) for p in token_bytes(tokenizer))


def test_special_tokens_and_order_do_not_depend_on_the_words():
    one, other = build_tokenizer(["x", "a"]), build_tokenizer(["a", "b", "a"])
    for tokenizer in (one, other):
        assert (
            tokenizer.pad_token,
            tokenizer.pad_token_id,
            tokenizer.eos_token,
            tokenizer.eos_token_id,
        ) == (
            PAD,
            0,
            EOS,
            1,
        )
        assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert (
        len(one) == 2 + 256 + 2
    )  # the words' letters are bytes already: only " x" and " a" are new
    assert len(other) == 2 + 256 + 2


def test_a_saved_tokenizer_is_the_same_one(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert (loaded.pad_token_id, loaded.eos_token_id) == (
        tokenizer.pad_token_id,
        tokenizer.eos_token_id,
    )
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert (
            loaded(text, add_special_tokens=False).input_ids == ids and loaded.decode(ids) == text
        )


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
        assert (
            ids.dtype == np.int32
            and ids.tolist() == tokenizer(text, add_special_tokens=False).input_ids
        )


@pytest.mark.parametrize("empty", ["", " ", "\n\t "], ids=ascii)
def test_an_empty_prompt_is_refused(tokenizer, empty):
    with pytest.raises(InputError, match="prompt is empty"):
        encode_prompts(tokenizer, ["Tom", empty], 50)


def test_a_prompt_that_is_too_long_is_refused_with_both_lengths(tokenizer):
    assert len(encode_prompts(tokenizer, ["7" * 20], 20)[0]) == 20
    with pytest.raises(InputError) as error:
        encode_prompts(tokenizer, ["Tom", "7" * 21], 20)
    message = str(error.value)
    assert (
        "'777" in message
        and "21 tokens" in message
        and "at most 20" in message
        and "\n" not in message
    )


@pytest.mark.parametrize(
    ("length", "context", "new", "parts"),
    [
        (
            30,
            512,
            100_000,
            ("30 tokens", "max_new_tokens is 100000", "512 fit", "ask for at most 482 new"),
        ),
        (
            30,
            512,
            483,
            ("30 tokens", "max_new_tokens is 483", "512 fit", "ask for at most 482 new"),
        ),
        (
            3,
            8192,
            10**9,
            ("3 tokens", "max_new_tokens is 1000000000", "8192 fit", "at most 8189 new"),
        ),
        (512, 512, 1, ("512 tokens", "max_new_tokens is 1", "512 fit", "; shorten the prompt")),
        (600, 512, 96, ("600 tokens", "max_new_tokens is 96", "512 fit", "; shorten the prompt")),
        (600, 512, 10**5, ("600 tokens", "max_new_tokens is 100000", "; shorten the prompt")),
        (513, 512, 0, ("513 tokens: at most 512 fit", "; shorten the prompt")),
    ],
)
def test_what_does_not_fit_is_said_in_numbers_that_make_sense(
    tokenizer, length, context, new, parts
):
    with pytest.raises(InputError) as error:
        encode_prompts(tokenizer, ["Tom", "7" * length], context, new)
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert "\n" not in str(error.value) and not re.search(r"[ (]-\d", str(error.value))


def test_what_just_fits_is_taken(tokenizer):
    for length, context, new in ((30, 512, 482), (511, 512, 1), (512, 512, 0)):
        assert len(encode_prompts(tokenizer, ["7" * length], context, new)[0]) == length


def test_text_that_is_not_unicode_is_refused(tokenizer):
    """What Python makes of an argument of the shell that is not UTF-8."""
    with pytest.raises(InputError, match="UTF-8") as error:
        encode_prompts(tokenizer, [b"Tom \xff".decode(errors="surrogateescape")], 50)
    assert "\\udcff" in str(error.value)


@pytest.fixture(scope="module")
def sentencepiece():
    """As Llama 2: spaces are U+2581, other bytes <0xNN>; one added token looks like a byte-level
    piece, one is French.
    """
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{b:02X}>" for b in range(256)),
        "\u2581",
        "a",
        "b",
        "\u2581a",
        "ab",
    ]
    merges = [("\u2581", "a"), ("a", "b")]
    backend = Tokenizer(
        models.BPE(
            {t: i for i, t in enumerate(tokens)}, merges, unk_token="<unk>", byte_fallback=True
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    backend.add_tokens(
        [
            AddedToken("\u0120x", normalized=False),
            AddedToken("<caf\u00e9 \u2581>", normalized=False),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def test_bytes_of_sentencepiece_tokens(sentencepiece):
    pieces = token_bytes(sentencepiece)
    of = {token: pieces[i] for token, i in sentencepiece.get_vocab().items()}
    assert (of["\u2581a"], of["\u2581"], of["ab"], of["</s>"]) == (b" a", b" ", b"ab", b"</s>")
    assert (of["<0x0A>"], of["<0xC3>"]) == (b"\n", b"\xc3")
    assert (
        of["\u0120x"] == "\u0120x".encode()
        and of["<caf\u00e9 \u2581>"] == "<caf\u00e9 \u2581>".encode()
    )
    for text in (" a ab\n\u00e9\U0001f34e b", " ab\u0120xab"):
        ids = sentencepiece(text, add_special_tokens=False).input_ids
        assert b"".join(pieces[i] for i in ids).decode().lstrip() == text.lstrip()


def test_bytes_of_added_tokens_in_a_byte_level_vocabulary():
    """Their letters stand for themselves, where those of other tokens stand for bytes."""
    tokenizer = build_tokenizer(["ab"])
    tokenizer.add_tokens(
        [AddedToken("caf\u00e9", normalized=False), AddedToken("<\uff5cend\u2581of\uff5c>")]
    )
    pieces = token_bytes(tokenizer)
    assert pieces[-2:] == ["caf\u00e9".encode(), "<\uff5cend\u2581of\uff5c>".encode()]
    assert (
        pieces[tokenizer.convert_tokens_to_ids("\u00e9")] == b"\xe9"
    )  # the byte, half of a character


def test_holes_in_the_ids_are_empty(monkeypatch, tokenizer):
    monkeypatch.setattr(
        type(tokenizer), "convert_ids_to_tokens", lambda self, ids: [None for _ in ids]
    )
    assert set(token_bytes(tokenizer)[2:]) == {b""}


def run(stop, ids) -> list[bool]:
    """Whether the chain has ended after each token, by the lookup that generate does on the device."""
    table, state, ended = jnp.asarray(stop.next_state), 0, []
    for i in ids:
        state = int(table[jnp.int32(i), state])
        ended.append(state == table.shape[1] - 1)
    return ended


def test_stop_strings_across_the_tokens_of_sentencepiece(sentencepiece):
    stop = compile_stop(sentencepiece, [" a\u00e9", "\n\n"])
    of = sentencepiece.get_vocab()
    assert run(stop, [of["ab"], of["\u2581a"], of["<0xC3>"], of["<0xA9>"]]) == [
        False,
        False,
        False,
        True,
    ]
    assert run(stop, [of["<0x0A>"], of["a"], of["<0x0A>"], of["<0x0A>"]]) == [
        False,
        False,
        False,
        True,
    ]
    assert run(stop, [of["</s>"]]) == [True]


def test_every_end_of_text_token_stops_and_ids_beyond_the_tokenizer_do_not(tokenizer):
    size = len(tokenizer)
    assert run(compile_stop(tokenizer), [5, size, size + 90, 1]) == [False, False, False, True]
    for end in (
        5,
        size - 1,
        size + 3,
    ):  # the last as where embeddings are padded and the generation config names one
        stop = compile_stop(tokenizer, ["Tom"], eos_ids=[end, 1])
        assert run(stop, [end]) == run(stop, [1]) == [True]
        assert run(stop, [6, size, size + 7]) == [False, False, False]


def test_the_beginning_of_text_is_added_once(sentencepiece):
    plain = sentencepiece("ab", add_special_tokens=False).input_ids
    assert encode_prompts(sentencepiece, ["ab"], 9)[0].tolist() == [1, *plain]
    assert encode_prompts(sentencepiece, ["<s>ab"], 9)[0].tolist().count(1) == 1
    with pytest.raises(InputError, match="at most"):
        encode_prompts(sentencepiece, ["ab"], len(plain))  # it counts


def test_a_tokenizer_without_padding_or_end_pads_with_some_token(tmp_path, sentencepiece):
    sentencepiece.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).pad_token == "</s>"
    PreTrainedTokenizerFast(tokenizer_object=sentencepiece.backend_tokenizer).save_pretrained(
        tmp_path
    )
    bare = load_tokenizer(tmp_path)
    assert bare.eos_token_id is None and bare.pad_token_id == 0
    assert run(compile_stop(bare, eos_ids=[7]), [5, 7]) == [False, True]


# ---- special tokens


@pytest.mark.parametrize("special", [True, False])
def test_tags_of_thoughts_and_answers_stay_and_ends_of_turns_go(special):
    tokenizer = build_tokenizer(["Tom"])
    tags = ["<think>", "</think>", "<answer>", "</answer>"]
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=special) for tag in tags])
    ends = ["<|im_end|>", "<|start|>", "<tool>"]
    tokenizer.add_tokens([AddedToken(end, normalized=False, special=True) for end in ends])

    def read(text: str) -> str:
        ids = np.array([tokenizer(text, add_special_tokens=False).input_ids])
        return decode(tokenizer, ids, np.ones(ids.shape, bool))[0]

    for text in (
        "<think>It is 5.</think>\nThe answer is 7.",
        "It is 5.</think>7",
        "<think>It is 5",
        "<answer>7</answer>",
        "a <think> b </think> c",
        "Tom's 7",
    ):
        assert read(text) == text
        assert read(f"<|start|>{text}<tool><|im_end|><eos><pad>") == text
    assert extract_answer(read("<think>It is 5.</think>The answer is 7.<eos>")) == "7"
    assert extract_answer(read("<think>It is 5.")) is None  # a thought under way is no answer
    assert read("<|start|><eos>") == ""


def test_names_of_the_end_of_a_turn(tokenizer):
    """As llama.cpp has them, where they are special tokens; other special tokens end nothing."""
    for name in (
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<end_of_turn>",
        "<|eom_id|>",
        "</s>",
        "<|end_of_text|>",
    ):
        extended = copy.deepcopy(tokenizer)
        extended.add_tokens([AddedToken(name, special=True), AddedToken("<|start|>", special=True)])
        assert end_of_turn_ids(extended) == [len(tokenizer)]
    for name in (
        "<think>",
        "<|start|>",
        "<|eot|>",
        "</think>",
        "<tool_call>",
        "end",
        "<|im_start|>",
    ):
        extended = copy.deepcopy(tokenizer)
        extended.add_tokens([AddedToken(name, special=True), AddedToken("<|end|>", special=False)])
        assert end_of_turn_ids(extended) == []


@pytest.mark.parametrize("beyond", [-100, -1, 0, 1, 2, 9, 1000])
def test_every_token_has_a_row(tokenizer, beyond):
    """Fewer tokens than rows are usual; one token more is refused, by its name."""
    size = len(tokenizer) - beyond
    if beyond <= 0:
        return check_vocabulary(tokenizer, size)
    with pytest.raises(InputError, match=f"expected ids below {size}") as error:
        check_vocabulary(tokenizer, size)
    assert f"the id {len(tokenizer) - 1}" in str(error.value) and "\n" not in str(error.value)
