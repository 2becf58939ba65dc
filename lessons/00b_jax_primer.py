# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 00b A JAX primer for people from PyTorch
#
# **You know PyTorch. What do you have to know about JAX to read this course?**
#
# Three things follow from one idea. JAX compiles *functions* of arrays, so it wants functions with
# no side effects:
#
# - arrays do not change;
# - random numbers come from keys that you pass around;
# - parameters are arguments, in nested dicts.
#
# Below are eleven idioms, each in three to eight lines that print something. The PyTorch that you
# would write is named first. At the end all of them work together in one function that scores
# answers with the model of this course.
#
# At the end of this lesson you can
#
# - read every plain algorithm of the course;
# - write a loop, a batch and a gradient in JAX;
# - say why a function was compiled twice, and what a *tracer* is.

# %%
from jaxreason.course.options import read_options

GIVEN = read_options("00b_jax_primer", problems=500)

# %% [markdown]
# `jax.numpy` is numpy on any device. Most names are the same, and so are broadcasting and slices.

# %%
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.course import lesson
from jaxreason.decoding import prompts
from jaxreason.decoding.logprobs import text_logprobs
from jaxreason.models.decoder import forward
from jaxreason.tasks import load_problems

run = lesson.start(GIVEN)

# %% [markdown]
# ## 1. Arrays do not change
#
# PyTorch: `x[1] = 7`. In JAX, `x.at[1].set(7)` gives a new array. Compiled code does not copy it if
# nobody uses the old one.

# %%
x = jnp.zeros(4)
y = x.at[1].set(7.0).at[2:].add(0.5)
print(x, y)

# %% [markdown]
# ## 2. Functions are traced, then compiled
#
# PyTorch: `torch.compile(f)`. `jax.jit(f)` calls `f` once with *tracers*: they have a shape and a
# type, but no values. What `f` does to them becomes a program. So a Python `print` runs while JAX
# traces, and never again. `jax.debug.print` becomes part of the program.


# %%
@jax.jit
def mean_square(x):
    print(f"tracing: x is {x}")
    return (x**2).mean()


print(mean_square(jnp.arange(3.0)))
print(mean_square(jnp.arange(3.0) + 1))  # compiled already: no second trace

# %% [markdown]
# ## 3. Every shape is a program of its own
#
# PyTorch runs any shape. In JAX a new shape is traced and compiled again, which takes seconds for a
# model. That is why the course pads: prompts to a multiple of 32, chains to a fixed length. Values
# that decide a shape or a branch are *static* arguments: another value, another program.

# %%
mean_square(jnp.arange(5.0))  # another shape: traced again
first_token = jax.jit(lambda tokens, size: tokens[:size], static_argnames="size")
print(first_token(jnp.arange(6), size=2), first_token(jnp.arange(6), size=3))

# %% [markdown]
# ## 4. No `if` on values inside of `jit`
#
# PyTorch: `y = a if x > 0 else b`. A tracer has no value, so `if` cannot choose. `jnp.where`
# computes both and picks one for each element. `jax.lax.cond` runs one of two functions.

# %%
try:
    jax.jit(lambda x: x if x > 0 else -x)(-3.0)
except jax.errors.TracerBoolConversionError as error:
    print(str(error).splitlines()[0])
print(jax.jit(lambda x: jnp.where(x > 0, x, -x))(-3.0))

# %% [markdown]
# ## 5. Randomness is a key
#
# PyTorch: `torch.manual_seed(0)` sets a hidden state. In JAX a key is a value: the same key gives
# the same numbers, every time. You make new keys with `split` or, from a number, with `fold_in`.
# Here every chain of a problem has its own key, and every token a key made from that. So a chain
# does not depend on what else is in the batch.

# %%
key = jax.random.key(0)
print(jax.random.uniform(key), jax.random.uniform(key))  # equal
chain_keys = jax.random.split(key, 3)
print([float(jax.random.uniform(jax.random.fold_in(k, 5))) for k in chain_keys])  # for token 5

# %% [markdown]
# ## 6. Parameters are pytrees
#
# PyTorch: `model.state_dict()`. A *pytree* is any nesting of dicts, lists and tuples with arrays as
# leaves, and `jax.tree` works on all leaves at once. Our models stack their layers: one array holds
# the same matrix of every layer.

# %%
params = run.toy.params
print({name: x.shape for name, x in params["layers"]["mlp"]["gate"].items()}, "3 layers, stacked")
print(sum(x.size for x in jax.tree.leaves(params)), "parameters")
halved = jax.tree.map(lambda x: x / 2, params)  # as for every tensor of a state_dict
print(float(params["norm"]["scale"][0]), float(halved["norm"]["scale"][0]))

# %% [markdown]
# ## 7. `vmap` writes the batch dimension
#
# PyTorch: `torch.func.vmap`, or code with a batch axis everywhere. Write a function of one thing,
# and `jax.vmap` makes it a function of many. `in_axes` says which arguments have many: 0 is their
# axis, None is shared by all.


# %%
def draw(key, temperature):
    logits = jnp.array([2.0, 1.0, 0.0])
    return jax.random.categorical(key, logits / temperature)


keys = jax.random.split(jax.random.key(1), 8)
print(jax.vmap(draw, in_axes=(0, None))(keys, 1.0))  # eight draws at one temperature
print(jax.vmap(draw)(keys, jnp.linspace(0.01, 5.0, 8)))  # each at its own

# %% [markdown]
# ## 8. `grad` makes a function
#
# PyTorch: `loss.backward()`, then `p.grad`. `jax.grad(loss)` is a function that returns the
# gradient by the first argument, as a pytree of the same shape. `jax.lax.stop_gradient` is
# `detach()`.


# %%
def loss(params, x, target):
    return ((params["w"] * x + params["b"] - target) ** 2).mean()


line = {"w": jnp.float32(1.0), "b": jnp.float32(0.0)}
value, grads = jax.value_and_grad(loss)(line, jnp.arange(4.0), jnp.arange(4.0) * 3)
print(value, grads)
print(jax.tree.map(lambda p, g: p - 0.1 * g, line, grads))  # a step of gradient descent

# %% [markdown]
# ## 9. Loops are `scan`, `fori_loop` and `while_loop`
#
# PyTorch: a Python `for`. Under `jit` a Python loop is unrolled: its body is compiled once for each
# step. `jax.lax.scan` compiles it once. Its body takes what is carried along and one element, and
# gives the next carry and one output. `fori_loop` counts: its body takes the number of the step and
# the carry, and gives the next carry. `while_loop` stops when a condition says so. Our decoder is
# one.


# %%
def add(total, x):
    return total + x, total + x  # what is carried on, and what is kept of this step


total, running = jax.lax.scan(add, 0.0, jnp.arange(1.0, 6.0))
print(total, running)
print(jax.lax.while_loop(lambda x: x < 100, lambda x: 2 * x, 3))

# %% [markdown]
# ## 10. Where arrays are, and when
#
# PyTorch: `x.to("cuda")`, `x.cpu()`, `torch.cuda.synchronize()`. JAX puts arrays on the first
# accelerator without being asked. `np.asarray` brings one back to the host. Calls return before the
# work is done, so a timing needs `block_until_ready`.

# %%
x = jnp.ones((1500, 1500))
print(x.devices(), type(np.asarray(x)))
(x @ x).block_until_ready()  # compiles
began = time.perf_counter()
product = x @ x
returned = time.perf_counter() - began
product.block_until_ready()
print(f"returned after {returned:.4f} s, done after {time.perf_counter() - began:.4f} s")

# %% [markdown]
# ## 11. Donation: memory that may be used again
#
# PyTorch's `optimizer.step()` writes into the parameters. A JAX update returns new ones, which
# would need twice the memory. `donate_argnums` gives an argument away: its memory becomes that of
# the result. After that the old array is gone.

# %%
update = jax.jit(lambda params, step: params - 0.1 * step, donate_argnums=0)
before = jnp.ones(3)
after = update(before, jnp.arange(3.0))
print(after, "the old array is deleted:", before.is_deleted())

# %% [markdown]
# ## All of it together
#
# How probable does the model find an answer? It is a *language model*: for each token it gives the
# log-probabilities of the next one. The log-probability of an answer is the sum over its tokens.
# The function below is for one text. `vmap` makes it one for many texts that share the parameters,
# and `jit` compiles it.

# %%
toy = run.toy


def answer_logprob(params, tokens, of_answer):
    """Tokens ``[T]`` and a mask ``[T]`` -> log p(answer | prompt)."""
    positions = jnp.arange(len(tokens))
    logits, _ = forward(params, tokens[None], positions[None], cfg=toy.cfg)  # [1, T, V]
    logprobs = jax.nn.log_softmax(logits[0, :-1])  # row t is about token t + 1
    chosen = jnp.take_along_axis(logprobs, tokens[1:, None], axis=1)[:, 0]
    return jnp.where(of_answer[1:], chosen, 0.0).sum()


score = jax.jit(jax.vmap(answer_logprob, in_axes=(None, 0, 0)))

# %% [markdown]
# One program needs one shape, so all texts are padded to the same length. A mask says which tokens
# count: those of the answer, not those of the prompt nor the padding behind. Attention looks back
# only, so the padding changes nothing in front of it.


# %%
def padded(prompts: list[str], answers: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and mask ``[G, T]`` of prompts with their answers and the end of the text."""
    heads = toy.tokenizer(prompts, add_special_tokens=False).input_ids
    ends = [answer + toy.tokenizer.eos_token for answer in answers]
    tails = toy.tokenizer(ends, add_special_tokens=False).input_ids
    tokens, of_answer = np.zeros((len(heads), 128), int), np.zeros((len(heads), 128), bool)
    for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        tokens[row, : len(head) + len(tail)] = head + tail
        of_answer[row, len(head) : len(head) + len(tail)] = True
    return tokens, of_answer


problems = load_problems("arithmetic:2-6", "test", run.problems, seed=run.options.seed)
questions = [prompts.direct(p.question) for p in problems]
right = [f" {p.answer}" for p in problems]
wrong = [f" {p.answer + 1}" for p in problems]
logprob = {
    "right_answer": np.asarray(score(toy.params, *padded(questions, right))),
    "one_more": np.asarray(score(toy.params, *padded(questions, wrong))),
}

# %% [markdown]
# The library has the same function for long texts and many devices. Both agree. Asked at once, the
# model finds the right answer only 1.7 times as probable as the number after it. It knows about how
# large the answer is. The next lesson lets it think first.

# %%
library = text_logprobs(toy, questions, right)
assert np.allclose(logprob["right_answer"], library, atol=1e-3)
for name, values in logprob.items():
    run.measure(f"log_probability/{name}", values)

# %% [markdown]
# Last, a gradient through all of this: how each parameter should change so that the right answers
# become more probable. It is a pytree like the parameters. Lesson 04 computes such a gradient, and
# lessons 08 and 09 train with them.


# %%
def loss_of_answers(params):
    return -score(params, *padded(questions[:8], right[:8])).mean()


grads = jax.grad(loss_of_answers)(toy.params)
norm = jax.tree.map(lambda g: round(float(jnp.linalg.norm(g)), 2), grads)
print(norm["embed"], norm["layers"]["mlp"])

# %% [markdown]
# ## When it does not work
#
# - **ConcretizationTypeError** or **TracerBoolConversionError**: Python asked a tracer for its
#   value, by `if`, `int()`, or as a shape. Use `jnp.where`, or make the argument static.
# - **Every call is slow**: it compiles every time. Print inside of the function to see how often it
#   is traced: a new shape, a new static value, or a `jit` of a new lambda in a loop.
# - **UnexpectedTracerError**: a tracer was kept in a global or a list. Return it instead.
# - **Equal random numbers**: a key was used twice. Split it, or fold something in.
# - **Array has been deleted**: it was donated. Keep the result in its place.
#
# ## Exercises
#
# `jaxreason check 00` has four short ones on arrays, keys, pytrees and `scan`.

# %%
run.finish()
