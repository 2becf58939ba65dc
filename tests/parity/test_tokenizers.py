"""Tokenizers rebuilt from GGUF metadata, against sentencepiece itself and against what transformers
reads there.
"""

import io

import numpy as np
import pytest
import sentencepiece
from test_smollm2 import QUESTIONS, path  # noqa: F401  (a fixture)
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

import jaxreason
from jaxreason.models.gguf_tokenizer import BYTE, CONTROL, NORMAL, SPLITS, UNKNOWN, load_tokenizer
from jaxreason.models.tokens import token_bytes

TEXTS = [
    "The cat sat on the mat.",
    "  two  spaces and a tab\there",
    "na\u00efve caf\u00e9 \U0001f34e, \u4f60\u597d\n\nline",
    "1234 + 5678 = 6912",
    "thethethe catcatcat",
]


def test_splits_are_those_of_transformers():
    for name, split in SPLITS.items():
        assert split == GGUF_PRE_TOKENIZER_SPLITS[name]


@pytest.mark.parametrize("space_first", [True, False])
def test_sentencepiece_with_byte_fallback(space_first):
    corpus = [*QUESTIONS, *(line for line in jaxreason.decoding.rollout.__doc__.split("\n"))] * 20
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_writer=model,
        model_type="bpe",
        vocab_size=460,
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=space_first,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
    )
    reference = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    size = reference.vocab_size()
    kinds = [
        UNKNOWN
        if reference.is_unknown(i)
        else CONTROL
        if reference.is_control(i)
        else BYTE
        if reference.is_byte(i)
        else 1
        for i in range(size)
    ]
    assert kinds.count(NORMAL) > 150 and kinds.count(BYTE) == 256
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [reference.id_to_piece(i) for i in range(size)],
        "tokenizer.ggml.scores": np.array(
            [reference.get_score(i) for i in range(size)], np.float32
        ),
        "tokenizer.ggml.token_type": np.array(kinds),
        "tokenizer.ggml.add_space_prefix": space_first,
        "tokenizer.ggml.bos_token_id": reference.bos_id(),
        "tokenizer.ggml.eos_token_id": reference.eos_id(),
        "tokenizer.ggml.unknown_token_id": reference.unk_id(),
    }
    tokenizer = load_tokenizer(metadata, type("Config", (), {"vocab_size": size}))
    for text in TEXTS + QUESTIONS:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert ids == reference.encode(text), text
        assert tokenizer.decode(ids) == reference.decode(ids)
        assert b"".join(token_bytes(tokenizer)[i] for i in ids).decode() == " " * space_first + text


def test_smollm2s_digits_are_single(path):  # noqa: F811
    """transformers' reading of the file does not know its pre-tokenizer and may join digits, as no
    merge of it does.
    """
    tokenizer = jaxreason.load_model(str(path), "float32").tokenizer
    for text in TEXTS:
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids) == text
        assert b"".join(token_bytes(tokenizer)[i] for i in ids) == text.encode()
    ids = tokenizer("1234 + 5678").input_ids
    assert [token_bytes(tokenizer)[i] for i in ids] == [bytes([c]) for c in b"1234"] + [
        b" +",
        b" ",
    ] + [bytes([c]) for c in b"5678"]
    multiple = [p for p in token_bytes(tokenizer) if len(p.strip()) > 1 and p.strip().isdigit()]
    assert not multiple
