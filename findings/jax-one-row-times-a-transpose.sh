#!/usr/bin/env bash
# jax 0.12.0.1, CPU: one row times a transposed matrix takes several times the same contraction without.
#
# Behaviour: for x [1, 576] and w [49152, 576], float32, jax.jit(lambda x, w: x @ w.T) takes 3 or more
# times as long as jax.jit(lambda x, w: jnp.einsum("be,ve->bv", x, w)); the values are the same but for
# rounding. It is the output head of a language model with tied embeddings, one chain at a time. With
# jax 0.10.2 the two differ by less than a half. Best of 15 in turn, so that other work on the machine does not decide.
# Exits 0 while that is so, 1 when it changes. Needs Python 3.12 or later for jax 0.12.
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
import sys, time
import jax, jax.numpy as jnp, numpy as np

rng = np.random.default_rng(0)
x, w = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((1, 576), (49152, 576)))
transposed = jax.jit(lambda x, w: x @ w.T)
as_it_lies = jax.jit(lambda x, w: jnp.einsum("be,ve->bv", x, w))
close = bool(jnp.allclose(transposed(x, w), as_it_lies(x, w), atol=1e-3))
times = {transposed: [], as_it_lies: []}
for _ in range(15):
    for f in times:
        start = time.perf_counter()
        f(x, w).block_until_ready()
        times[f].append(time.perf_counter() - start)
slow, fast = (1e3 * min(t) for t in times.values())
print(f"jax {jax.__version__}: x @ w.T {slow:.1f} ms, einsum {fast:.1f} ms, ratio {slow / fast:.1f}, same values: {close}")
sys.exit(0 if close and slow > 1.8 * fast else 1)
PY
