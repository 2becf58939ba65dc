"""A GGUF file read by us and by transformers: python tests/parity/compare_gguf.py FILE

Both dequantise to float32, so their logits should agree but for rounding. Of a model with 0.5
billion weights the two take 6 GB.
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
from jaxreason.models.weights import LanguageModel

SHORT = [
    "The capital of France is",
    "Tom has 12 apples and buys 30 more. How many apples does Tom have? Tom has",
    "def reverse(text):\n    return",
]
LONG = " ".join(f"{i} squared is {i * i}." for i in range(70))  # more than Gemma 3's window of 512
run = jax.jit(forward, static_argnames="cfg")


def load_theirs(path: Path) -> torch.nn.Module:
    """The file as transformers reads it."""
    options = {"gguf_file": path.name, "dtype": torch.float32}
    return AutoModelForCausalLM.from_pretrained(path.parent, **options).eval()


@torch.no_grad()
def logits_of_both(
    ours: LanguageModel, theirs: torch.nn.Module, tokens: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ours and theirs, ``[B, T, V]`` float32, of a left-padded batch."""
    positions = np.maximum(np.cumsum(mask, -1) - 1, 0).astype(np.int32)
    segments = mask.astype(np.int32)
    logits, _ = run(ours.params, tokens, positions, cfg=ours.cfg, segment_ids=segments)
    tokens, mask, positions = (torch.tensor(x).long() for x in (tokens, mask, positions))
    expected = theirs(input_ids=tokens, attention_mask=mask, position_ids=positions).logits
    return np.asarray(logits), expected.numpy()


if __name__ == "__main__":
    file = Path(sys.argv[1])
    model, reference = load_model(file, "float32"), load_theirs(file)
    for texts in (SHORT, [LONG]):
        encoded = encode_prompts(model.tokenizer, texts, 10_000)
        batch = pad_left(encoded, model.tokenizer.pad_token_id, multiple=1)
        both = logits_of_both(model, reference, batch.tokens, batch.mask)
        ours, theirs = (logits[batch.mask] for logits in both)
        agree = (ours.argmax(-1) == theirs.argmax(-1)).mean()
        print(
            f"{len(ours)} tokens, logits from {theirs.min():.1f} to {theirs.max():.1f}: largest "
            f"difference {np.abs(ours - theirs).max():.1e}, same first choice {agree:.1%}",
            flush=True,
        )
