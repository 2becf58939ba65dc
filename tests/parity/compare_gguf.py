"""A GGUF file read by us and by transformers: python tests/parity/compare_gguf.py FILE

Both dequantise to float32, so their logits should agree but for rounding. A file of 0.5 billion
weights takes both readers 6 GB.
"""

import sys
from pathlib import Path

import jax
import numpy as np
import torch
from transformers import AutoModelForCausalLM

from jaxreason.models.decoder import forward
from jaxreason.models.hf import load_model
from jaxreason.models.tokens import encode_prompts, pad_left

TEXTS = [
    "The capital of France is",
    "Tom has 12 apples and buys 30 more. How many apples does Tom have? Tom has",
    "def reverse(text):\n    return",
]


def logits_of_both(path: Path, tokens: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Ours and theirs, ``[B, T, V]`` float32, of a left-padded batch."""
    positions = np.maximum(np.cumsum(mask, -1) - 1, 0).astype(np.int32)
    model = load_model(path, "float32")
    run = jax.jit(forward, static_argnames="cfg")
    ours, _ = run(model.params, tokens, positions, cfg=model.cfg, segment_ids=mask.astype(np.int32))
    theirs = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    with torch.no_grad():
        arguments = [torch.tensor(x).long() for x in (tokens, mask, positions)]
        names = ("input_ids", "attention_mask", "position_ids")
        logits = theirs(**dict(zip(names, arguments, strict=True))).logits
    return np.asarray(ours), logits.numpy()


if __name__ == "__main__":
    file = Path(sys.argv[1])
    tokenizer = load_model(file, "float32").tokenizer
    # The last one is longer than the window of a Gemma 3.
    texts = [*TEXTS, " ".join(f"{i} squared is {i * i}." for i in range(100))]
    batch = pad_left(encode_prompts(tokenizer, texts, 10_000), tokenizer.pad_token_id)
    ours, theirs = (x[batch.mask] for x in logits_of_both(file, batch.tokens, batch.mask))
    agree = (ours.argmax(-1) == theirs.argmax(-1)).mean()
    print(f"{file.name}: {len(ours)} tokens, logits from {theirs.min():.1f} to {theirs.max():.1f}")
    print(f"largest difference {np.abs(ours - theirs).max():.1e}, same first choice {agree:.1%}")
