"""Writes tests/golden/NAME.npz, what the default tests compare with in place of torch: python
tests/parity/make_golden.py
"""

import json
from pathlib import Path

import numpy as np
from families import FAMILIES, batch, build, reference_logits

GOLDEN = Path(__file__).parent.parent / "models" / "golden"

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in FAMILIES:
        model = build(name)
        tokens, mask = batch()
        logits = reference_logits(model, tokens, mask).numpy()
        config = json.dumps({**model.config.to_dict(), "architectures": [type(model).__name__]})
        weights = {
            f"weights/{k}": v.numpy().astype(np.float16) for k, v in model.state_dict().items()
        }
        if model.config.tie_word_embeddings:
            del weights["weights/lm_head.weight"]
        np.savez_compressed(
            GOLDEN / f"{name}.npz",
            config=np.frombuffer(config.encode(), np.uint8),
            tokens=tokens.numpy().astype(np.int32),
            mask=mask.numpy().astype(bool),
            logits=logits.astype(np.float32),
            **weights,
        )
    print(sum(path.stat().st_size for path in GOLDEN.glob("*.npz")), "bytes")
