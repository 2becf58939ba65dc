"""The tokenizer of a GGUF file, rebuilt from the file's metadata, as llama.cpp reads them."""

from typing import Any

import numpy as np
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import PreTrainedTokenizerFast

from jaxreason.errors import InputError
from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.tokens import ENDS_OF_TURN

# How text is cut before byte-pair encoding, by tokenizer.ggml.pre.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SPLITS = {
    "llama-bpe": LLAMA3,
    "llama3": LLAMA3,
    "llama-v3": LLAMA3,
    "qwen2": QWEN2,
    "deepseek-r1-qwen": QWEN2,
}
DIGITS = ("smollm", "starcoder", "refact", "command-r")  # single digits, then as GPT-2
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # tokenizer.ggml.token_type


def load_tokenizer(metadata: dict[str, Any], cfg: DecoderConfig) -> PreTrainedTokenizerFast:
    """Tokenizer and chat template.

    Raises:
      InputError: incomplete, or of a kind that is not supported.
    """

    def get(name: str, default: Any = None) -> Any:
        return metadata.get(f"tokenizer.ggml.{name}", default)

    tokens, kinds = get("tokens"), get("token_type")
    if (
        not isinstance(tokens, list)
        or not 1 <= len(tokens) <= cfg.vocab_size
        or len(set(tokens)) < len(tokens)
    ):
        raise InputError(
            f"tokenizer.ggml.tokens is damaged: expected at most {cfg.vocab_size} distinct texts"
        )
    kinds = np.full(len(tokens), NORMAL) if kinds is None else kinds
    if len(kinds) != len(tokens):
        raise InputError(
            f"tokenizer.ggml.token_type has {len(kinds)} entries: expected {len(tokens)}"
        )
    if get("model") == "gpt2":
        backend = _byte_level(tokens, get("merges"), get("pre", "default"))
    elif get("model") == "llama":
        backend = _sentencepiece(tokens, kinds, get("scores"), get("add_space_prefix", True))
    else:
        raise InputError(f"tokenizer {get('model')!r} is not supported: expected 'gpt2' or 'llama'")
    # Some files call an end of turn a word of the user's: it ends a chain all the same, as in
    # llama.cpp.
    kinds = [
        CONTROL if token in ENDS_OF_TURN else kind
        for token, kind in zip(tokens, kinds, strict=True)
    ]
    for kind, special in ((CONTROL, True), (USER_DEFINED, False)):
        added = [
            AddedToken(t, normalized=False, special=special)
            for t, k in zip(tokens, kinds, strict=True)
            if k == kind
        ]
        (backend.add_special_tokens if special else backend.add_tokens)(added)
    if backend.get_vocab_size() != len(tokens):
        raise InputError("tokenizer.ggml.tokens is damaged: added tokens are not all part of it")

    named = {}
    for ours, theirs in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}.items():
        if (i := get(f"{theirs}_token_id")) is not None:
            if not 0 <= int(i) < len(tokens):
                raise InputError(
                    f"tokenizer.ggml.{theirs}_token_id is {i}: expected less than {len(tokens)}"
                )
            named[f"{ours}_token"] = tokens[int(i)]
    # Padding is masked: any token will do.
    named.setdefault("pad_token", named.get("eos_token", tokens[0]))
    begins = get("model") == "llama" or SPLITS.get(get("pre")) is LLAMA3  # llama.cpp's defaults
    if get("add_bos_token", begins) and "bos_token" in named:
        bos = named["bos_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"],
            pair=[bos, "$A", bos, "$B:1"],
            special_tokens=[(bos, tokens.index(bos))],
        )
    template = metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise InputError("tokenizer.chat_template is damaged: expected a text")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=template,
        clean_up_tokenization_spaces=False,
        **named,
    )


def _byte_level(tokens: list[str], merges: list[str] | None, pre: str) -> Tokenizer:
    """Byte-level BPE as GPT-2, Llama 3, Qwen and SmolLM have it."""
    if merges is None:
        raise InputError("lacks the metadata key tokenizer.ggml.merges")
    pairs = [tuple(merge.split(" ")) for merge in merges]
    backend = Tokenizer(
        models.BPE(
            dict(zip(tokens, range(len(tokens)), strict=True)),
            pairs,
            ignore_merges=SPLITS.get(pre) is LLAMA3,
        )
    )
    if pre in SPLITS:
        first = pre_tokenizers.Split(Regex(SPLITS[pre]), "isolated")
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [first, pre_tokenizers.ByteLevel(False, use_regex=False)]
        )
    elif pre in DIGITS:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)]
        )
    elif pre in ("default", "gpt-2"):
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(False)
    else:
        known = ", ".join(["gpt-2", *SPLITS, *DIGITS])
        raise InputError(f"tokenizer.ggml.pre {pre!r} is not supported: expected one of {known}")
    if SPLITS.get(pre) is QWEN2:
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentencepiece(
    tokens: list[str], kinds: np.ndarray, scores: np.ndarray | None, space_first: bool
) -> Tokenizer:
    """Sentencepiece BPE with byte fallback as Llama 2 has it.

    The pair whose text has the highest score merges first.
    """
    if scores is None or len(scores) != len(tokens) or max(map(len, tokens)) > 256:
        raise InputError(
            f"tokenizer.ggml.scores is damaged: expected {len(tokens)} scores of short texts"
        )
    vocab = dict(zip(tokens, range(len(tokens)), strict=True))
    normal = {
        token: float(score)
        for token, kind, score in zip(tokens, kinds, scores, strict=True)
        if kind == NORMAL
    }
    merges = [
        (score, token[:cut], token[cut:])
        for token, score in normal.items()
        for cut in range(1, len(token))
        if token[:cut] in normal and token[cut:] in normal
    ]
    merges.sort(key=lambda merge: (-merge[0], -len(merge[1]), vocab[merge[1]]))
    unknown = next(
        (token for token, kind in zip(tokens, kinds, strict=True) if kind == UNKNOWN), None
    )
    backend = Tokenizer(
        models.BPE(
            vocab,
            [merge[1:] for merge in merges],
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    # A space before every text and behind every special token, as llama.cpp has it; not cut into
    # words.
    space = [normalizers.Prepend("\u2581")] * bool(space_first)
    backend.normalizer = normalizers.Sequence([*space, normalizers.Replace(" ", "\u2581")])
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence(steps + [decoders.Strip(" ", 1, 0)] * bool(space_first))
    return backend
