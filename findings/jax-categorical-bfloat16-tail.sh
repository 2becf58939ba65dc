#!/usr/bin/env bash
# jax 0.10.2: jax.random.categorical on bfloat16 logits does not follow the probabilities.
#
# Behaviour: one token of 85%, and 99 others that share 15%. From float32 logits 15% of 20,000 draws fall
# on the others; from the same logits in bfloat16 about 1% do, for the noise that is added to
# them is drawn and compared in bfloat16. The logits are valid input and no warning says so. Cast them first.
# Exits 0 while that is so, 1 when it changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "jax==0.10.2" "jaxlib==0.10.2"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PY'
import sys
import jax, jax.numpy as jnp, numpy as np

sure = 0
for place in (0, 60, 99):
    probs = np.full(100, 0.15 / 99); probs[place] = 0.85
    half = jnp.log(jnp.asarray(probs, jnp.float32)).astype(jnp.bfloat16)
    shares, firsts = {}, {}
    for dtype in (jnp.float32, jnp.bfloat16):
        draws = np.asarray(jax.random.categorical(jax.random.key(0), half.astype(dtype), shape=(20_000,)))
        others = draws[draws != place]
        shares[dtype.__name__] = len(others) / 20_000
        firsts[dtype.__name__] = float((others < 50).mean()) if len(others) else float("nan")
    print(f"jax {jax.__version__}, the likely token at {place}: share of the others", shares, "of them below 50:", firsts)
    sure += abs(shares["float32"] - 0.15) < 0.01 and abs(shares["bfloat16"] - 0.15) > 0.02
sys.exit(0 if sure else 1)
PY
