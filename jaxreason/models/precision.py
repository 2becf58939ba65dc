"""In which numbers the matrix products are computed: float32, bfloat16 or int8.

The products take nearly all the time of a decoder. Everything else, norms, softmax, sampling and
the residual stream, stays in float32 on a CPU.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxreason.errors import InputError

KINDS = ("float32", "bfloat16", "int8")
MATRICES = ("kernel", "embedding")  # the parameters that products are of


def matmul(x: jax.Array, kernel: jax.Array, scale: jax.Array | None = None) -> jax.Array:
    """``x [..., in] @ kernel [in, out]`` in the kernel's numbers, and the result in those of ``x``.

    Args:
      x: activations.
      kernel: float, or int8 from :func:`quantise`.
      scale: ``[out]`` float32, of an int8 kernel.
    """
    return _contract(x, kernel, scale, axis=0)


def matmul_transposed(x: jax.Array, rows: jax.Array, scale: jax.Array | None = None) -> jax.Array:
    """``x [..., in] @ rows [out, in].T``, likewise: a tied output head reads the embedding as it
    lies.

    With jax 0.12.0 on CPU, one row times the transposed embedding takes four times as long.
    """
    return _contract(x, rows, scale, axis=1)


def _contract(x: jax.Array, w: jax.Array, scale: jax.Array | None, axis: int) -> jax.Array:
    if x.size == x.shape[-1] and w.dtype != jnp.float32 and jax.default_backend() == "cpu":
        # XLA's product of one row uses none of the units for bfloat16 and int8: two rows take a
        # fifth of its time (jax 0.10.2 and 0.12.0.1, findings/jax-one-row-in-int8.sh).
        two = jnp.concatenate([x, x]).reshape(2, -1)
        return _contract(two, w, scale, axis)[:1].reshape(*x.shape[:-1], -1)
    dims = (((x.ndim - 1,), (axis,)), ((), ()))
    if scale is None:
        return jax.lax.dot_general(x.astype(w.dtype), w, dims, preferred_element_type=x.dtype)
    values, of_token = quantise(x, axis=-1)
    summed = jax.lax.dot_general(values, w, dims, preferred_element_type=jnp.int32)
    return (summed.astype(jnp.float32) * of_token * scale).astype(x.dtype)


class Linear(nnx.Linear):
    """``x W + b``, computed in the numbers that W is stored in."""

    def __init__(self, inputs: int, outputs: int, *, int8: bool, rngs: nnx.Rngs, **options):
        super().__init__(inputs, outputs, rngs=rngs, **options)
        self.scale = nnx.Param(jnp.ones(outputs)) if int8 else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = matmul(x, self.kernel[...], None if self.scale is None else self.scale[...])
        return y + self.bias[...].astype(x.dtype) if self.use_bias else y


def quantise(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """int8 values and the float32 scale that is common along ``axis``, so that x = values * scale.

    Symmetric, to the largest of the axis (Dettmers et al. 2022, "LLM.int8()", equation 2); the
    scale keeps the axis, with length 1.
    """
    largest = jnp.abs(x).max(axis, keepdims=True).astype(jnp.float32)
    scale = jnp.maximum(largest, 1e-30) / 127
    return jnp.round(x.astype(jnp.float32) / scale).astype(jnp.int8), scale


def lower(params: dict, cfg: Any, kind: str) -> tuple[dict, Any]:
    """Parameters and config whose products are computed in other numbers.

    Args:
      params: of a decoder, in float32 or bfloat16.
      cfg: its ``DecoderConfig``.
      kind: "float32", "bfloat16" (operands; sums are float32) or "int8" (weights by output channel,
        activations by token; sums are int32). Models in int8 write; they cannot be trained or
        saved.

    Raises:
      InputError: another kind.
    """
    check_kind(kind)

    def lowered(tree: dict) -> dict:
        made = {}
        for name, x in tree.items():
            if isinstance(x, dict):
                made[name] = lowered(x)
            elif name not in MATRICES:
                made[name] = x.astype(jnp.float32)
            elif kind == "int8":
                made |= quantised(name, x)
            else:
                made[name] = x.astype(kind)
        return made

    return lowered(params), dataclasses.replace(cfg, int8=kind == "int8")


def check_kind(kind: str) -> None:
    """That there is such an arithmetic.

    Raises:
      InputError: there is none.
    """
    if kind not in KINDS:
        raise InputError(f"arithmetic {kind!r} is unknown: expected one of {', '.join(KINDS)}")


def quantised(name: str, x: jax.Array) -> dict[str, jax.Array]:
    """A matrix in int8 as a decoder's parameters have it: its values, and a "scale" by output.

    Args:
      name: "kernel", ``[..., in, out]``, or "embedding", ``[out, in]``.
      x: the matrix, which may lie on a mesh.
    """
    axis = -1 if name == "embedding" else -2
    values, scale = _quantise_jit(x, axis)
    return {name: values, "scale": scale.squeeze(axis)}


def arithmetic(params: dict) -> dict[str, str]:
    """In which numbers a decoder computes: "weights" of the matrices, the "sums" of their products,
    and the key-value "cache".
    """
    weights, stream = (
        params["embed"]["embedding"].dtype.name,
        params["norm"]["scale"].dtype.name,
    )
    sums = "int32" if weights == "int8" else stream
    return {"weights": weights, "sums": sums, "cache": stream}


def check_float(params: Any, what: str) -> None:
    """That no parameter is int8.

    Args:
      what: that which they are needed for, such as "training".

    Raises:
      InputError: one is.
    """
    if any(x.dtype == jnp.int8 for x in jax.tree.leaves(params)):
        raise InputError(
            f"the model is in int8, which is for writing: {what} needs float32 or bfloat16; "
            'load it with dtype="float32"'
        )


_quantise_jit = jax.jit(quantise, static_argnums=1)
