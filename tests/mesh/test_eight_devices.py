"""On eight devices: every mesh computes what one device computes.

Started by tests/test_mesh.py, for JAX counts devices once.
"""

import dataclasses
import functools
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import random_params
from jax.sharding import Mesh, PartitionSpec

from jaxreason import InputError, Sampler, complete, load_model, make_mesh, step_scores
from jaxreason.course import lesson
from jaxreason.course.options import read_options
from jaxreason.decoding import continuous, stop
from jaxreason.decoding.logprobs import choice_logprobs
from jaxreason.mesh import describe, gather, mesh_of, shard_batch, shard_params, sharding
from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.hf import LanguageModel
from jaxreason.rewards import reward_model
from jaxreason.search import lm_evaluators, lm_mcts, lm_tasks, tree_of_thoughts, word_problems
from jaxreason.training import grpo, grpo_device, grpo_text
from jaxreason.training.checkpoint import Checkpoints
from jaxreason.training.loop import fit, init_state, make_update
from jaxreason.training.sft import Document, pack, sft_loss

TX = optax.adamw(1e-2)
GRADIENTS = optax.chain(
    optax.trace(decay=0.0), optax.scale(-0.1)
)  # gradient descent that keeps the gradient


def batch_fn(step: int):
    rng = np.random.default_rng([3, step])
    documents = (
        Document(rng.integers(1, 90, n).astype(np.int32), (rng.random(n) < 0.7).astype(np.float32))
        for n in rng.integers(4, 25, 1000)
    )
    return pack(documents, 16, 32, 0)


@pytest.fixture(scope="module")
def loss_fn(cfg):
    return functools.partial(sft_loss, cfg=cfg)


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


@pytest.fixture(scope="module")
def one_layer(cfg, tokenizer):
    """A random model that often ends its lines and texts."""
    shallow = dataclasses.replace(cfg, num_hidden_layers=1)
    params = random_params(shallow)
    ends = jnp.array([*tokenizer("\n").input_ids, tokenizer.eos_token_id])
    params["embed"] = {"embedding": params["embed"]["embedding"].at[ends].mul(3.0)}
    return LanguageModel(params, shallow, tokenizer, "random", "")


def on_mesh(model, spec):
    return model._replace(params=shard_params(model.params, make_mesh(spec)))


def assert_close(found, expected, tolerance=1e-5):
    for a, b in zip(
        jax.tree.leaves(gather(found)), jax.tree.leaves(jax.device_get(expected)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_there_are_eight():
    assert jax.device_count() == 8


@pytest.mark.parametrize(
    ("path", "shape", "spec"),
    [
        (("layers", "attention", "q", "kernel"), (2, 8, 16), (None, "fsdp", "model")),
        (("layers", "attention", "o", "kernel"), (2, 16, 8), (None, "model", "fsdp")),
        (("layers", "attention", "q", "bias"), (2, 16), (None, "model")),
        (("layers", "mlp", "down", "kernel"), (2, 12, 8), (None, "model", "fsdp")),
        (
            ("layers", "mlp", "down", "kernel"),
            (2, 13, 8),
            (None, None, "fsdp"),
        ),  # 13 cannot be cut in two
        (("layers", "mlp_norm", "scale"), (2, 8), ()),
        (("layers", "attention", "q", "scale"), (2, 16), (None, "model")),  # of int8, by output
        (("layers", "mlp", "down", "scale"), (2, 8), ()),
        (("embed", "embedding"), (64, 8), ("model", "fsdp")),
        (("head", "kernel"), (8, 64), ("fsdp", "model")),
        (("q", "a"), (2, 8, 4), (None, "fsdp", "model")),  # of LoRA
        (("head", "kernel"), (8,), ()),  # of a reward model
        (("head", "bias"), (), ()),
    ],
)
def test_the_rules(path, shape, spec):
    assert sharding(path, shape, make_mesh("data=2,fsdp=2,model=2")).spec == PartitionSpec(*spec)
    assert sharding(path, shape, make_mesh("data=8")).is_fully_replicated


@pytest.mark.parametrize(
    "mesh", [Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("data", "model"))]
)
def test_loading_puts_a_part_on_every_device(tiny, mesh):
    spread = load_model("tiny", mesh=mesh)
    assert tiny.cfg.vocab_size % 2  # which two devices cannot share evenly
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(tiny.params),
        jax.tree.leaves(spread.params),
        strict=True,
    ):
        assert a.devices() == {jax.devices()[0]} and b.devices() == set(jax.devices()[:4])
        for shard in b.addressable_shards:
            np.testing.assert_array_equal(shard.data, np.asarray(a)[shard.index])
        name = jax.tree_util.keystr(path)
        parts = 1 if "norm" in name or "embed" in name else 2
        assert b.addressable_shards[0].data.size * parts == b.size, name
    whole = load_model("tiny", mesh=Mesh(jax.devices(), "data"))
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(whole.params))


def test_int8_is_made_of_the_parts_on_every_device():
    mesh = make_mesh("data=2,fsdp=2,model=2")
    spread, expected = load_model("tiny", "int8", mesh), load_model("tiny", "int8")
    jax.tree.map(np.testing.assert_array_equal, gather(spread.params), expected.params)
    gate = spread.params["layers"]["mlp"]["gate"]
    assert gate["kernel"].sharding.spec == PartitionSpec(None, "fsdp", "model")
    assert gate["scale"].sharding.spec == PartitionSpec(None, "model")


def three_steps(params, loss_fn, mesh):
    """The state after them, and the metrics of each. The optimiser's state is the gradient."""
    state = init_state(shard_params(jax.tree.map(jnp.copy, params), mesh), GRADIENTS)
    update, metrics = make_update(loss_fn, GRADIENTS, num_microbatches=2), []
    places = jax.tree.map(lambda x: x.sharding, state)
    for step in range(3):
        state, found = update(state, batch_fn(step))
        metrics.append(found)
    assert mesh is None or jax.tree.map(lambda x: x.sharding, state) == places
    return state, metrics


@pytest.fixture(scope="module")
def of_one_device(params, loss_fn):
    return jax.device_get(three_steps(params, loss_fn, None))


@pytest.mark.parametrize("spec", ["data=4,model=2", "fsdp=2,model=4"])
def test_losses_and_gradients_are_those_of_one_device(params, loss_fn, of_one_device, spec):
    (state, metrics), (one, expected) = three_steps(params, loss_fn, make_mesh(spec)), of_one_device
    assert_close(metrics, expected)
    assert_close(state, one)
    gradient = state.opt_state[0].trace["layers"]["mlp"]["up"]["kernel"]
    parts = {"data=4,model=2": 2, "fsdp=2,model=4": 8}[spec]
    assert gradient.addressable_shards[0].data.size * parts == gradient.size


def test_chains_are_those_of_one_device(monkeypatch, one_layer):
    """11 prompts, which no mesh divides, in 16 rows; the last four chains go on in a quarter of
    them.
    """
    spread = on_mesh(one_layer, "data=2,fsdp=2,model=2")
    prompts = [f"Tom has {n * 'a'} apples" for n in range(11)]
    monkeypatch.setattr(continuous, "SHRINK_FROM", 32)
    options = {
        "rows": 16,
        "sampler": Sampler(0.7),
        "num_samples": 2,
        "max_new_tokens": 32,
        "stop_strings": ("a", "b"),
    }
    one, many = (complete(m, jax.random.key(0), prompts, **options) for m in (one_layer, spread))
    assert one.texts == many.texts and one.num_tokens.std() > 1
    np.testing.assert_array_equal(one.num_tokens, many.num_tokens)
    np.testing.assert_allclose(one.logprobs, many.logprobs, rtol=1e-4, atol=1e-4)


def test_next_words_are_those_of_one_device(one_layer):
    spread = on_mesh(one_layer, "data=4,model=2")
    asked = [f"Tom has {n * 'a'} apples" for n in range(11)]
    one, many = (choice_logprobs(m, asked, ["a", "b"], batch_size=6) for m in (one_layer, spread))
    assert one.shape == (11, 2) and one.std(0).min() > 1e-3
    np.testing.assert_allclose(one, many, atol=1e-5)


def test_rewards_are_those_of_one_device(one_layer, tmp_path):
    rng = np.random.default_rng(1)
    head = {
        "kernel": jnp.asarray(0.1 * rng.normal(size=one_layer.cfg.hidden_size + 2), jnp.float32),
        "bias": jnp.float32(0.1),
    }
    reward = reward_model.from_policy(one_layer, "prm")._replace(
        params={"backbone": one_layer.params, "head": head}
    )
    asked = [f"Tom has {n} apples" for n in range(5)]
    texts = [[f"{n}*7={7 * n}\n{m}+1={m + 1}\n" for m in range(n)] for n in range(1, 6)]
    expected = step_scores(reward, asked, texts)
    assert np.nanstd(expected) > 0.01
    reward_model.save_reward_model(tmp_path, reward)
    policy = on_mesh(one_layer, "data=4,model=2")
    spread = reward_model.load_reward_model(str(tmp_path), policy)
    assert mesh_of(policy.params) == mesh_of(spread.params) == mesh_of(spread.params["head"])
    np.testing.assert_allclose(step_scores(spread, asked, texts), expected, atol=1e-5)
    again = reward_model.load_reward_model(str(tmp_path), mesh=mesh_of(policy.params))
    assert again.params["head"]["bias"].sharding.num_devices == 8
    assert mesh_of(reward_model.from_policy(policy, "orm").params["head"]) == mesh_of(policy.params)


def test_searches_are_those_of_one_device(one_layer):
    """11 prompts, which no mesh divides."""
    asked = [f"Tom has {n * 'a'} apples" for n in range(11)]
    roots = [tree_of_thoughts.State(question) for question in asked]
    task = lm_tasks.reasoning_lines([one_layer.tokenizer.eos_token_id])

    def search(model):
        searcher = lm_mcts.searcher(
            model, task, lm_evaluators.likelihood, at_once=2, width=32, max_line=8
        )
        found = lm_mcts.search(searcher, jax.random.key(0), asked, num_simulations=6)
        trees = lm_mcts.to_trees(found, searcher, roots, word_problems.LINES)
        return found, [[node.state.thoughts for node in tree.nodes] for tree in trees]

    one, lines = search(one_layer)
    many, lines_of_many = search(on_mesh(one_layer, "data=2,fsdp=2,model=2"))
    np.testing.assert_array_equal(one.parents, many.parents)
    np.testing.assert_allclose(one.values, many.values, atol=1e-5)
    assert lines == lines_of_many and len({str(tree) for tree in lines}) > 1


def test_a_checkpoint_of_eight_is_restored_on_four_and_on_one(tmp_path):
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(8, 16)), jnp.float32)

    def loss_fn(params, batch):
        loss = ((batch @ params["up"]["kernel"] - params["scale"]) ** 2).mean()
        return loss, {"loss": loss}

    def fresh(spec: str):
        params = {"up": {"kernel": jnp.copy(kernel)}, "scale": jnp.float32(0.5)}
        return init_state(params if spec == "one" else shard_params(params, make_mesh(spec)), TX)

    def run(state, directory: str, steps: int):
        def batch_fn(step: int) -> np.ndarray:
            return np.random.default_rng(step).normal(size=(8, 8)).astype(np.float32)

        return fit(
            state, make_update(loss_fn, TX), batch_fn, steps, tmp_path / directory, save_every=3
        )

    saved = run(fresh("data=2,fsdp=2,model=2"), "8", 3)
    expected = run(fresh("one"), "whole", 5)
    for spec in ("data=2,model=2", "fsdp=4", "one"):
        checkpoints, like = Checkpoints(tmp_path / "8"), fresh(spec)
        restored = checkpoints.restore(like)
        checkpoints.close()
        assert jax.tree.map(lambda x: x.sharding, restored) == jax.tree.map(
            lambda x: x.sharding, like
        )
        jax.tree.map(np.testing.assert_array_equal, gather(restored), gather(saved))
        resumed = run(restored, spec, 5)
        assert int(resumed.step) == 5
        assert_close(resumed, expected)


def test_rows_that_do_not_divide_are_one_line(cfg):
    with pytest.raises(
        InputError, match="6 rows does not divide among the 4 parts of mesh data=4,model=2"
    ):
        shard_batch({"tokens": np.ones((6, 3))}, make_mesh("data=4,model=2"))


def test_a_lesson_takes_a_mesh(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["lesson", "--mesh", "data=4,model=2", "--out", str(tmp_path)])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    run = lesson.start(read_options("00_introduction"))
    assert run.results.header["settings"]["mesh"] == "data=4,model=2"
    assert describe(mesh_of(run.model.params)) == "data=4,model=2"


def text_step(model):
    """State and metrics after a step of GRPO with rewards of texts."""
    update = grpo_text.make_text_update(
        model,
        [f"Tom has {n} apples" for n in range(8)],
        lambda prompt, text: float(zlib.crc32(text.encode()) % 2),
        tx=GRADIENTS,
        objective=grpo.Objective(kl_coef=0.1),
        num_samples=2,
        max_new_tokens=24,
    )
    state = init_state(jax.tree.map(jnp.copy, model.params), GRADIENTS)
    return update(state, (np.arange(8), jax.random.key(0)))


@pytest.fixture(scope="module")
def text_step_of_one_device(one_layer):
    return jax.device_get(text_step(one_layer))


@pytest.mark.parametrize("spec", ["data=8", "data=2,fsdp=2,model=2"])
def test_grpo_with_rewards_of_texts_is_that_of_one_device(one_layer, text_step_of_one_device, spec):
    (one, expected), (many, metrics) = text_step_of_one_device, text_step(on_mesh(one_layer, spec))
    assert_close(metrics, expected)
    assert_close(many.params, one.params)
    assert float(expected["zero_variance"]) < 1


def test_a_grpo_step_on_eight_devices_is_the_mean_of_eight_steps(tokenizer):
    """Plain gradient descent: what all devices learn together is the mean of what each learns from
    its part.
    """
    cfg = DecoderConfig(len(tokenizer), 16, 16, 1, 2, 2, 8, 64)
    params, mesh = random_params(cfg), make_mesh("data=8")
    problems = grpo_device.encode_problems(tokenizer, ["Tom has", "Wait has"] * 8, ["5", "7"] * 8)
    options = dict(
        cfg=cfg,
        stop=stop.compile_stop(tokenizer),
        num_samples=8,
        max_new_tokens=3,
        objective=grpo.Objective(),
        reward_fn=lambda rollout, answer: (rollout.tokens[..., 0] % 2).astype(jnp.float32),
    )
    tx, key = optax.sgd(1.0), jax.random.key(5)
    of_all = optax.chain(grpo_device.mean_over_devices(), tx)
    step = jax.jit(
        grpo_device.data_parallel(grpo_device.make_grpo_step(tx=of_all, **options), mesh)
    )
    state, metrics = step(init_state(shard_params(params, mesh), of_all), (problems, key))

    alone = jax.jit(grpo_device.make_grpo_step(tx=tx, **options))
    parts = [
        alone(
            init_state(params, tx),
            (
                jax.tree.map(lambda x, i=i: x[2 * i : 2 * i + 2], problems),
                jax.random.fold_in(key, i),
            ),
        )
        for i in range(8)
    ]
    assert_close(
        state.params,
        jax.tree.map(lambda *x: np.mean(x, 0), *(part.params for part, _ in parts)),
    )
    assert float(metrics["solved"]) == pytest.approx(
        np.mean([float(m["solved"]) for _, m in parts])
    )
    assert len({float(m["solved"]) for _, m in parts}) > 1
