"""Text to token ids and back: tokenizers from transformers, and left-padded batches of prompts."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from jaxreason.errors import InputError, one_line

PAD, EOS = "<pad>", "<eos>"
# Special tokens that end a chain under whatever name a model's files give as the end of text; the
# list of llama.cpp (src/llama-vocab.cpp, special_eog_ids), without those of middle filling and of
# tool calls.
ENDS_OF_TURN = (
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|end|>",
    "<|return|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "</s>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
)


class Prompt(NamedTuple):
    """A batch of prompts, padded on the left: the next token of every row is the next column."""

    tokens: np.ndarray  # [B, P] int32
    mask: np.ndarray  # [B, P] bool, False on padding


def build_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """A lossless tokenizer for a small world: words, single digits, and bytes.

    Every word is a token, and so is the word with a space before it. Digits stay single tokens, so
    that arithmetic is learned digit by digit; any other text falls back to its UTF-8 bytes and
    comes back unchanged.
    """
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces = {PAD: 0.0, EOS: 0.0} | {
        byte: -10.0 for byte in sorted(pre_tokenizers.ByteLevel.alphabet())
    }
    for word in words:
        for variant in (word, f" {word}"):
            pieces.setdefault(byte_level.pre_tokenize_str(variant)[0][0], -1.0)
    backend = Tokenizer(models.Unigram(list(pieces.items()), unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=PAD, eos_token=EOS, clean_up_tokenization_spaces=False
    )


def load_tokenizer(directory: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model directory.

    Raises:
      InputError: the directory holds no readable tokenizer.
    """
    path = Path(directory) / "tokenizer_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        named = config.get("tokenizer_class")
        # Of these names AutoTokenizer of transformers 4 does not know the second, and that of 5
        # takes Qwen2's own tokenizer for either beside a Qwen2 model.
        plain = named in ("PreTrainedTokenizerFast", "TokenizersBackend")
        kind = PreTrainedTokenizerFast if plain else AutoTokenizer
        tokenizer = kind.from_pretrained(
            str(directory), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers raises many kinds here; the user needs one line
        raise InputError(
            f"tokenizer in {str(directory)!r} cannot be read: expected tokenizer.json "
            f"({one_line(error)})"
        ) from error
    if tokenizer.pad_token_id is None:  # padding is masked: any token will do
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
    """That the embedding has a row for every token. It may have more: many are padded.

    Raises:
      InputError: a token's id is ``vocab_size`` or more.
    """
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if largest >= vocab_size:
        raise InputError(
            f"the tokenizer gives {token[:40]!r} the id {largest}, and the embedding has "
            f"{vocab_size} rows: expected ids below {vocab_size}; take the tokenizer the model was "
            "trained with, or add rows to the embedding"
        )


def end_of_turn_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the special tokens of a name in :data:`ENDS_OF_TURN`, ascending."""
    added = tokenizer.added_tokens_decoder.items()
    return sorted(i for i, token in added if token.special and token.content in ENDS_OF_TURN)


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], context: int, max_new_tokens: int = 0
) -> list[np.ndarray]:
    """Token ids of every prompt, int32 arrays of their own lengths.

    A tokenizer that puts a token before every text (Llama's ``<|begin_of_text|>``) does so here
    too, unless the text begins with it, as one from a chat template does.

    Raises:
      InputError: a prompt is empty, not valid Unicode, or with ``max_new_tokens`` longer than the
        ``context``.
    """
    if not texts:
        return []
    for text in texts:
        if not text.strip():
            raise InputError("prompt is empty: expected a question in words")
        # Surrogates: how Python hands over bytes that are not UTF-8.
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise InputError(f"prompt {text[:40]!r} is not valid text: expected UTF-8")
    first = _leading_ids(tokenizer)
    encoded = [
        np.asarray(ids, np.int32)
        for ids in tokenizer(list(texts), add_special_tokens=False).input_ids
    ]
    encoded = [
        ids if ids[: len(first)].tolist() == first else np.r_[np.int32(first), ids]
        for ids in encoded
    ]
    text, length = max(zip(texts, map(len, encoded), strict=True), key=lambda pair: pair[1])
    room = context - length
    if room < max_new_tokens:
        beside = f" and max_new_tokens is {max_new_tokens}" if max_new_tokens else ""
        fewer = max_new_tokens and room > 0
        fit = f"ask for at most {room} new tokens, or shorten" if fewer else "shorten"
        raise InputError(
            f"prompt {text[:40]!r}... has {length} tokens{beside}: at most {context} fit into the "
            f"context; {fit} the prompt"
        )
    return encoded


def pad_left(sequences: Sequence[np.ndarray], pad_id: int, multiple: int = 32) -> Prompt:
    """A batch padded on the left.

    Args:
      sequences: B arrays of token ids.
      pad_id: the token to pad with.
      multiple: the width is rounded up to a multiple of it, so that few shapes are compiled.
    """
    width = -(-max(map(len, sequences)) // multiple) * multiple
    tokens = np.full((len(sequences), width), pad_id, np.int32)
    mask = np.zeros((len(sequences), width), bool)
    for row, ids in enumerate(sequences):
        tokens[row, width - len(ids) :] = ids
        mask[row, width - len(ids) :] = True
    return Prompt(tokens, mask)


def _leading_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer adds at the front: nothing, or the beginning-of-text token."""
    first = tokenizer("").input_ids[:1]  # with special tokens
    begins = tokenizer.bos_token_id is not None and first == [tokenizer.bos_token_id]
    return first if begins else []


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> list[bytes]:
    """The bytes that each of V token ids stands for; of added and special tokens their names."""
    byte_of = {char: byte for byte, char in bytes_to_unicode().items()}
    added = tokenizer.added_tokens_decoder
    byte_level = "ByteLevel" in repr(tokenizer.backend_tokenizer.decoder)
    pieces = []
    for i, token in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))):
        if token is None:  # a hole in the ids
            pieces.append(b"")
        elif i in added:
            pieces.append(token.encode())
        elif byte_level and all(char in byte_of for char in token):
            # GPT-2, Llama 3, Qwen, SmolLM, and the tiny models
            pieces.append(bytes(byte_of[char] for char in token))
        elif not byte_level and re.fullmatch("<0x[0-9A-F]{2}>", token):
            # sentencepiece with byte fallback: Llama 2
            pieces.append(bytes([int(token[3:5], 16)]))
        else:
            pieces.append((token if byte_level else token.replace("\u2581", " ")).encode())
    return pieces
