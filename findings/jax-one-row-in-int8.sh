#!/usr/bin/env bash
# jax 0.12.0.1, CPU: one row times an int8 matrix takes several times as long as two rows.
#
# Behaviour: for x [1, 896] and w [896, 4864], int8, jax.lax.dot_general with preferred_element_type int32
# takes 3 or more times as long as the same call with x [2, 896]; the products are exact and equal. It is
# every matrix of an int8 language model that writes one chain. Seen with jax 0.10.2 as well, on a CPU with
# AVX512-VNNI: 7.9 ms for one row, 1.0 ms for two. Best of 15 in turn, so that other work on the machine does not decide.
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
x = jnp.asarray(rng.integers(-127, 128, (2, 896)), jnp.int8)
w = jnp.asarray(rng.integers(-127, 128, (896, 4864)), jnp.int8)
product = jax.jit(
    lambda x, w: jax.lax.dot_general(x, w, (((1,), (0,)), ((), ())), preferred_element_type=jnp.int32)
)
one, two = x[:1].block_until_ready(), x
same = bool((product(one, w) == product(two, w)[:1]).all())
times = {1: [], 2: []}
for _ in range(15):
    for rows, some in ((1, one), (2, two)):
        start = time.perf_counter()
        product(some, w).block_until_ready()
        times[rows].append(time.perf_counter() - start)
slow, fast = (1e3 * min(t) for t in times.values())
print(f"jax {jax.__version__}: one row {slow:.1f} ms, two rows {fast:.1f} ms, ratio {slow / fast:.1f}, same values: {same}")
sys.exit(0 if same and slow > 1.8 * fast else 1)
PY
