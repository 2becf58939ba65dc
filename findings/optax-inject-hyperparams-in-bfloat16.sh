#!/usr/bin/env bash
# optax 0.2.8: inject_hyperparams(adam) makes NaN of all weights that are in bfloat16.
#
# Behaviour: the hyperparameters take the dtype of the weights. In bfloat16 the number next to 1 is 0.996, so Adam's
# b2 = 0.999 becomes 1. The bias correction of the second moment then divides 0 by 0, and every update is NaN from the
# first step on. optax.adam alone keeps 0.999 a number of Python and works. With b2 = 0.95 there is no NaN, but the
# learning rate and b1 are rounded, too.
# Those who meet it want to change or log the learning rate while they train, and hold their weights in bfloat16.
# Pass hyperparam_dtype=jnp.float32.
# Exits 0 while that is so, 1 when it changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "jax==0.10.2" "jaxlib==0.10.2" "optax==0.2.8"
cat > "$work/show.py" <<'PY'
import math
import sys
from functools import partial

import jax.numpy as jnp
import optax


def third_update(make, dtype):
    params, grads = {"w": jnp.ones(2, dtype)}, {"w": jnp.array([0.1, -0.2], dtype)}
    optimizer = make(learning_rate=1e-3)
    state = optimizer.init(params)
    for _ in range(3):
        updates, state = optimizer.update(grads, state, params)
    return [round(float(x), 6) for x in updates["w"]], getattr(state, "hyperparams", {})


ways = {
    "optax.adam": optax.adam,
    "inject_hyperparams": optax.inject_hyperparams(optax.adam),
    "the same, hyperparam_dtype=float32": optax.inject_hyperparams(optax.adam, hyperparam_dtype=jnp.float32),
}
found = {}
for dtype in (jnp.float32, jnp.bfloat16):
    for name, make in ways.items():
        updates, hyperparams = third_update(partial(make), dtype)
        found[name, dtype.__name__] = updates
        b2 = hyperparams.get("b2")
        print(f"{dtype.__name__:<9} {name:<36} updates {updates}", "" if b2 is None else f"b2 = {float(b2):.4f} in {b2.dtype}")
nan = [way for way, updates in found.items() if any(map(math.isnan, updates))]
sys.exit(0 if nan == [("inject_hyperparams", "bfloat16")] else 1)
PY
"$work/venv/bin/python" "$work/show.py"
