#!/usr/bin/env bash
# jax 0.12.0.1, CPU: in bfloat16 the gradient of an embedding stops at 256 equal contributions.
#
# Behaviour: table[tokens] in bfloat16 has the gradient 256 for a token that occurs 300, 1000 or 4096 times with
# gradient 1: each term is added to the rounded sum of those before it. jax.ops.segment_sum and .at[].add stop there
# too, while sum, cumsum and the one-hot product of the same numbers are exact. So a frequent token of a large batch
# (a newline, a digit) is trained too little, and the log-probability of a long answer in a packed row is too near 0.
# Convert before the lookup: table.astype(float32)[tokens].astype(bfloat16) has the right gradient.
# Exits 0 while that is so, 1 when it changes. Needs Python 3.12 or later for jax 0.12; jax 0.10.2 does the same.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=
for name in python3 python3.13 python3.12; do
  if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then python=$name; break; fi
done
[ -n "$python" ] || { echo "needs Python 3.12 or later"; exit 2; }
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "jax==0.12.0.1" "jaxlib==0.12.0.1"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PY'
import sys
import jax, jax.numpy as jnp

half, single = jnp.bfloat16, jnp.float32
table = jnp.zeros((8, 4), half)


def gradient(lookup, tokens):
    loss = lambda table: lookup(table, tokens).astype(single).sum()
    return float(jax.jit(jax.grad(loss))(table)[0, 0])


ways = {
    "lookup": lambda table, tokens: table[tokens],
    "one-hot product": lambda table, tokens: jax.nn.one_hot(tokens, 8, dtype=half) @ table,
    "lookup in float32": lambda table, tokens: table.astype(single)[tokens].astype(half),
}
as_described = True
for count in (200, 300, 1000, 4096):
    tokens, ones = jnp.zeros(count, jnp.int32), jnp.ones(count, half)
    found = {name: gradient(lookup, tokens) for name, lookup in ways.items()}
    found |= {"segment_sum": float(jax.ops.segment_sum(ones, tokens, 8)[0]),
              ".at[].add": float(jnp.zeros(8, half).at[tokens].add(ones)[0]),
              "sum": float(ones.sum()), "cumsum": float(jnp.cumsum(ones)[-1])}
    print(f"jax {jax.__version__}, {count} times 1:", ", ".join(f"{k} {v:.0f}" for k, v in found.items()))
    low = ("lookup", "segment_sum", ".at[].add")
    as_described &= all(v == (min(count, 256) if k in low else count) for k, v in found.items())
sys.exit(0 if as_described else 1)
PY
