#!/usr/bin/env bash
# mctx 0.0.71: prior logits of -1e9 are no mask. Of two possible and four such actions, whose prior
# probability is 0 in float32, gumbel_muzero_policy gives visits to all six: its sequential halving
# plans for as many actions as there are logits, and clips scores at -1e9 from below. With the
# argument invalid_actions the same four get none.
# Seen: visits [7 3 1 1 1 7] of 20 without the argument, [10 0 0 0 0 10] with it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mctx==0.0.71 jax==0.10.2 jaxlib==0.10.2
cat > "$folder/show.py" <<'PY'
import jax
import jax.numpy as jnp
import mctx

logits = jnp.array([[0.0, -1e9, -1e9, -1e9, -1e9, 0.0]])
masked = logits[0] < -1e8
print("prior", jax.nn.softmax(logits)[0])


def recurrent_fn(params, key, action, embedding):
    zero = jnp.zeros(1)
    return mctx.RecurrentFnOutput(reward=zero, discount=zero + 1, prior_logits=logits, value=zero), embedding


root = mctx.RootFnOutput(prior_logits=logits, value=jnp.zeros(1), embedding=jnp.zeros(1))
found = []
for given in (None, masked[None]):
    policy = jax.jit(lambda key, given=given: mctx.gumbel_muzero_policy(
        (), key, root, recurrent_fn, num_simulations=20, invalid_actions=given))
    visits = policy(jax.random.key(0)).search_tree.summary().visit_counts[0].astype(int)
    print("without" if given is None else "with", "invalid_actions:", visits)
    found.append(int((visits * masked).sum()))
assert found[0] >= 4 and found[1] == 0, f"the behaviour changed: {found} visits to masked actions"
PY
cd "$folder"
"$folder/venv/bin/python" show.py
