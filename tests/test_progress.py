"""Progress bars say so while JAX compiles, and only then."""

import io

import jax
import jax.numpy as jnp

from jaxreason.progress import progress_bar


def test_a_bar_says_compiling_while_jax_compiles():
    step = jax.jit(lambda x: x * 3 + 1)
    x = jnp.arange(7)
    shown = []
    with progress_bar(range(3), description="train", unit="step", file=io.StringIO()) as bar:
        bar.set_description = shown.append
        for _ in bar:
            step(x)
            shown.append("step")
    assert shown == ["train (compiling)", "train", "step", "step", "step"]
    jax.jit(lambda x: x - 5)(x)  # the bar is closed
    assert len(shown) == 5


def test_a_bar_without_description_is_not_shown():
    shown = io.StringIO()
    assert list(progress_bar(range(3), description=None, unit="step", file=shown)) == [0, 1, 2]
    assert shown.getvalue() == ""
