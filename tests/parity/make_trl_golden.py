"""Writes tests/trl.npz, what test_trl.py compares with: python tests/parity/make_trl_golden.py"""

import tempfile
from pathlib import Path

import numpy as np
from families import build
from trl_losses import REWARDS, VARIANTS, fixed_tensors, on_policy, trl_loss

GOLDEN = Path(__file__).parent.parent / "training" / "trl.npz"
# The embedding is the head too: prompts, chains and their scores all have a part in its gradient.
GRADIENTS = (
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.k_proj.weight",
    "model.layers.1.mlp.down_proj.weight",
)

if __name__ == "__main__":
    fixed = fixed_tensors(build("llama"))
    at_start = on_policy(build("llama"), fixed)
    stored = fixed._asdict() | {"on_policy": at_start.logprobs, "rewards": REWARDS}
    for name in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            loss, advantages, gradients = trl_loss(
                name, at_start if name == "RLOO" else fixed, Path(folder)
            )
        stored |= {f"{name}/loss": np.float32(loss), f"{name}/advantages": advantages}
        stored |= {f"{name}/{key}": gradients[key] for key in GRADIENTS}
    np.savez_compressed(GOLDEN, **stored)
    print(GOLDEN.stat().st_size, "bytes")
