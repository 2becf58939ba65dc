"""Block expansion: a model with more blocks, to be trained on (LLaMA Pro, Wu et al. 2024).

The projections through which the new blocks write to the residual stream are zero (section 3.2), so
the model computes the same function until it is trained.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxreason.models.decoder import DecoderConfig, Params, init


def deepen(
    params: Params, key: jax.Array, *, cfg: DecoderConfig, num_new_layers: int
) -> tuple[Params, DecoderConfig]:
    """The same function with more blocks on top.

    Args:
      params, cfg: the model.
      key: of the new blocks' other weights.
      num_new_layers: blocks to add.

    Returns:
      Parameters of their own memory, and their config.
    """
    deeper = dataclasses.replace(
        cfg,
        num_hidden_layers=cfg.num_hidden_layers + num_new_layers,
        layer_types=cfg.layer_types + cfg.layer_types[-1:] * num_new_layers,
    )
    new = jax.tree.map(lambda x: x[cfg.num_hidden_layers :], init(key, deeper)["layers"])
    for module, name in (("attention", "o"), ("mlp", "down")):
        new[module][name] = jax.tree.map(jnp.zeros_like, new[module][name])
    layers = jax.tree.map(
        lambda old, more: jnp.concatenate([old, more.astype(old.dtype)]), params["layers"], new
    )
    return {**jax.tree.map(jnp.array, params), "layers": layers}, deeper
