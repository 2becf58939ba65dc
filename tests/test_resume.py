"""Interrupted and run again: what is kept, under which name, and that every script reaches what it
would have reached.
"""

import dataclasses
import functools
import importlib.util
import multiprocessing
import os
import signal
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ROOT

from jaxreason import resume
from jaxreason.course.options import Options
from jaxreason.course.run import Run
from jaxreason.decoding import budget_forcing, completions
from jaxreason.decoding.sampling import Sampler
from jaxreason.evaluation.intervals import Interval
from jaxreason.evaluation.results import Results
from jaxreason.models import decoder
from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.hf import LanguageModel
from jaxreason.tasks import game24_training
from jaxreason.training import loop

# ---- files and their names


def test_a_digest_is_that_of_the_values_and_their_structure():
    key = jax.random.key(3)
    values = [
        (),
        None,
        (None,),
        1,
        1.0,
        "1",
        True,
        [1, 2],
        (1, 2),
        {"a": 1},
        {"b": 1},
        b"1",
        key,
        jax.random.fold_in(key, 1),
        np.arange(3),
        np.arange(3).astype(np.int32),
        np.arange(3.0),
        np.arange(3)[None],
        Sampler(),
        Sampler(0.5),
    ]
    digests = [resume.digest(value) for value in values]
    assert len(set(digests)) == len(values)
    assert digests == [resume.digest(value) for value in values]
    assert resume.digest(jnp.arange(3)) == resume.digest(np.arange(3).astype(np.int32))


def test_a_tree_is_loaded_as_it_was_saved(tmp_path):
    rng = np.random.default_rng(0)
    like = {"w": jnp.zeros(3), "n": (np.zeros(()), jnp.int32(0)), "none": None}
    tree = {
        "w": jnp.asarray(rng.normal(size=3), jnp.float32),
        "n": (np.float64(1 / 3), jnp.int32(7)),
        "none": None,
    }
    resume.save(tmp_path / "a" / "b.npz", tree)
    found = resume.load(tmp_path / "a" / "b.npz", like)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()
    assert [type(x) for x in jax.tree.leaves(found)] == [np.ndarray, *[type(jnp.zeros(1))] * 2]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.npz"]


def test_once_is_once(tmp_path):
    made = []

    def make():
        made.append(1)
        return np.arange(3)

    for _ in range(2):
        np.testing.assert_array_equal(
            resume.once(tmp_path / "x.npz", np.zeros(3), make), np.arange(3)
        )
    assert len(made) == 1
    resume.once(None, np.zeros(3), make)
    assert len(made) == 2

    def stopped():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resume.once(tmp_path / "y.npz", np.zeros(3), stopped)
    assert not (tmp_path / "y.npz").exists()


# ---- chains


def test_chains_go_on_where_they_were_interrupted(model, tmp_path, monkeypatch):
    """With waits, whose state is kept too; no chain is drawn twice, and none is taken from a call
    with other arguments.
    """
    waits = np.arange(5)[:, None] % 2
    drawn, queue = [], completions.generate_queue

    def run(store=None, seed=0, model=model, **more):
        return budget_forcing.complete_within(
            model,
            jax.random.key(seed),
            ["Tom", "has", "apples", "Tom has", "Wait"],
            waits=waits,
            sampler=Sampler(1.0),
            store=store,
            max_new_tokens=6,
            num_samples=2,
            rows=3,
            **more,
        )

    whole = run()

    def counted(*args, stop_after=None, **given):
        for chains, rollout in queue(*args, **given):
            drawn.extend(chains)
            yield chains, rollout
            if len(drawn) == 6:
                raise KeyboardInterrupt

    monkeypatch.setattr(completions, "generate_queue", counted)
    again = f"run the same command again to go on .*{tmp_path}"
    with pytest.raises(KeyboardInterrupt, match=again):
        run(tmp_path)
    drawn.append(-1)  # so that it is not stopped again
    resumed = run(tmp_path)
    assert sorted(drawn) == [-1, *range(10)]
    assert resumed.texts == whole.texts
    jax.tree.map(np.testing.assert_array_equal, resumed[1:], whole[1:])
    force = budget_forcing.force  # in another process it is another object
    same = types.FunctionType(force.__code__, force.__globals__, force.__name__)
    monkeypatch.setattr(budget_forcing, "force", same)
    run(tmp_path)
    assert len(drawn) == 11
    other = model._replace(params=jax.tree.map(lambda x: x + 1e-3, model.params))
    for changed in ({"seed": 1}, {"continuations": ("Tom ",)}, {"model": other}):
        before = len(drawn)
        run(tmp_path, **changed)
        assert len(drawn) == before + 10, changed
    drawn.clear()
    with pytest.raises(KeyboardInterrupt, match="^$"):  # nothing is kept, and nothing promised
        run()


# ---- a lesson


def begun(folder, **options):
    given = dataclasses.replace(Options(out=folder.parent), **options)
    model = LanguageModel({}, None, None, "none", "a" * 64)
    results = Results(
        "99_none", model={"name": "none", "params": 0, "sha256": None}, seed=0, problems=1
    )
    return Run(
        name="99_none",
        options=given,
        folder=folder,
        model=model,
        key=jax.random.key(0),
        task=None,
        problems=1,
        chains=None,
        seeds=None,
        max_new_tokens=8,
        rows=8,
        as_measured=False,
        results=results,
    )


def test_what_a_lesson_keeps_is_that_of_its_options_and_gone_when_it_is_finished(
    tmp_path, monkeypatch
):
    folder = tmp_path / "99_none"
    run, other = begun(folder), begun(folder, seed=1)
    places = [
        run.kept("a"),
        run.kept("a", 1),
        run.kept("a", 2),
        run.kept("b"),
        other.kept("a"),
        other.kept("a", 1),
    ]
    assert len(set(places)) == len(places)
    assert begun(folder).kept("a", 1) == places[1]
    assert begun(folder, rows=4).kept("a") != places[0]
    monkeypatch.setattr(resume, "sources", lambda: "other code")
    assert begun(folder).kept("a") != places[0]
    for place in (places[1], places[4]):
        resume.save(place / "x.npz", np.zeros(1))
    run.results.measure("x", Interval(0.0, 0.0, 0.0, 1))
    run.finish()
    assert (
        not places[1].exists() and (places[4] / "x.npz").exists()
    )  # of the other run, which was not finished


# ---- the scripts that train what is shipped


def script(name: str, monkeypatch):
    """A module of checkpoints/, without a trace of it behind."""
    monkeypatch.syspath_prepend(str(ROOT / "checkpoints"))
    monkeypatch.setitem(sys.modules, "train", None)
    del sys.modules["train"]
    spec = importlib.util.spec_from_file_location(name, ROOT / "checkpoints" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.pop("train", None)
    return module


STEPS = 7


class Interrupted:
    """In place of a compiled update: it adds up what it is given, so that every step, batch and
    moment counts; Ctrl-C at one step.
    """

    def __init__(self, at: int | None = None):
        self.at, self.steps = at, []

    def __call__(self, loss_fn, tx, *_, **__):
        def update(state, batch):
            seen = np.float32(int(resume.digest(batch), 16) % 997)
            params = jax.tree.map(
                lambda x: jnp.asarray(np.asarray(x) * np.float32(0.9) + seen), state.params
            )
            opt_state = jax.tree.map(
                lambda x: jnp.asarray(np.asarray(x) + np.asarray(seen, x.dtype)), state.opt_state
            )
            self.steps.append(int(state.step))
            if int(state.step) == self.at:
                os.kill(os.getpid(), signal.SIGINT)
            metrics = {"loss": np.float32(seen), "grad_norm": np.float32(seen)}
            return loop.TrainState(params, opt_state, state.step + 1), metrics

        return update


@functools.cache
def small() -> LanguageModel:
    """Of the size that of_train trains, so that both begin with one program."""
    tokenizer = tokenizer_of()
    cfg = DecoderConfig(len(tokenizer), 8, 8, 1, 1, 1, 8, 512)
    return LanguageModel(decoder.init(jax.random.key(0), cfg), cfg, tokenizer, "small", "b" * 64)


def of_train(module, monkeypatch):
    recipe = module.RECIPES["tiny"]._replace(
        hidden_size=8,
        intermediate_size=8,
        num_layers=1,
        num_heads=1,
        num_steps=STEPS,
        rows=2,
        muon=False,
    )
    monkeypatch.setitem(module.RECIPES, "tiny", recipe)
    return lambda work: module.train_model("tiny", 0, work)[0].params


def of_train_value(module, monkeypatch):
    monkeypatch.setattr(module, "STEPS", STEPS)
    # States of fewer numbers, which take less long to list; other tests see none of them.
    pool = functools.cache(game24_training._wide_pool.__wrapped__)
    monkeypatch.setattr(game24_training, "_wide_pool", pool)
    monkeypatch.setattr(game24_training, "WIDE_NUMBERS", 16)
    return lambda work: module.train_model(small(), 0, work).params


def of_train_wait(module, monkeypatch):
    monkeypatch.setattr(module, "STEPS", STEPS)
    monkeypatch.setattr(module, "ROW_LENGTH", 64)
    attempts = module.Attempts(
        (1, 1, 4, 6), ["1+1=2 left 2 4 6\n"], ["1*1=1 left 1 4 6\n1*4=4 left 4 6\n4*6=24 left 24\n"]
    )
    docs = [
        module.tokenise(small().tokenizer, module.example(np.random.default_rng(i), attempts))
        for i in range(4)
    ]
    return lambda work: module.train_model(small(), docs, 0, work).params


def of_train_rm(module, monkeypatch):
    monkeypatch.setattr(module, "ROW_LENGTH", 64)
    return lambda work: module.train_base(small(), 0, STEPS, work).params


def tokenizer_of():
    spec = importlib.util.spec_from_file_location(
        "recipe_of_tests", ROOT / "checkpoints" / "train.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_tokenizer()


@pytest.mark.parametrize("name", ["train", "train_value", "train_wait", "train_rm"])
def test_a_trainer_that_is_interrupted_goes_on_to_the_same_bits(name, tmp_path, monkeypatch):
    module = script(name, monkeypatch)
    monkeypatch.setattr(
        optax, "warmup_cosine_decay_schedule", lambda *_, **__: 1e-3
    )  # they insist on many steps
    train_in = globals()[f"of_{name}"](module, monkeypatch)

    def run(work, at=None):
        update = Interrupted(at)
        monkeypatch.setattr(loop, "make_update", update)
        try:
            return train_in(work), update.steps
        except KeyboardInterrupt as interrupt:
            return interrupt, update.steps

    whole, _ = run(tmp_path / "whole")
    stopped, before = run(tmp_path / "cut", at=3)
    assert (
        f"run the same command again to go on (what is done is kept in {tmp_path / 'cut'})"
        in str(stopped)
    )
    resumed, after = run(tmp_path / "cut")
    assert (before, after) == ([0, 1, 2, 3], [4, 5, 6])
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(resumed), jax.device_get(whole))


def test_a_shard_of_labels_that_is_finished_is_not_made_again(tmp_path, monkeypatch):
    module = script("train_rm", monkeypatch)
    monkeypatch.setattr(module, "SHARD_PROBLEMS", 2)
    calls = []

    def write(policy, key, texts, *, num_samples, **_):
        calls.append(tuple(texts))
        if len(calls) == 3:  # the second shard's rollouts come after its chains
            raise KeyboardInterrupt
        made = [
            [f"1+1=2\n#### {resume.digest(text, key, i)}" for i in range(num_samples)]
            for text in texts
        ]
        zeros = np.zeros((len(texts), num_samples), np.int32)
        return completions.Completions(made, zeros.astype(np.float32), zeros, zeros > 0)

    monkeypatch.setattr(module, "complete", write)
    monkeypatch.setattr("jaxreason.rewards.step_labels.complete", write)
    with pytest.raises(KeyboardInterrupt):
        module.make_labels(None, 0, 2, tmp_path / "cut")
    resumed, _ = module.make_labels(None, 0, 2, tmp_path / "cut")
    assert len(calls) == 5  # two for the first shard, one interrupted, two for the second
    whole, _ = module.make_labels(None, 0, 2, tmp_path / "whole")
    assert [[c._replace(success=c.success.tolist()) for c in shard] for shard in resumed] == [
        [c._replace(success=c.success.tolist()) for c in shard] for shard in whole
    ]


@pytest.mark.parametrize("name", ["train", "train_value", "train_wait", "train_rm"])
def test_a_trainer_does_not_go_on_with_what_other_constants_began(name, monkeypatch):
    module = script(name, monkeypatch)
    working_folder = module.working_folder
    first = working_folder("x-0", vars(module))
    assert " at 0x" not in resume.constants(vars(module))  # the same in every process
    assert working_folder("x-0", vars(module)) == first != working_folder("x-1", vars(module))
    for constant in [c for c in vars(module) if c.isupper()]:
        with monkeypatch.context() as patch:
            patch.setattr(module, constant, "changed")
            assert working_folder("x-0", vars(module)) != first


def test_processes_that_draw_batches_live_through_ctrl_c(recipe, capfd):
    """The terminal sends it to all of them; the trainer still needs their batches to reach the end
    of its step.
    """
    with recipe.drawn_ahead(abs, 1) as batch_fn:
        drawn = [batch_fn(0)]
        [worker] = multiprocessing.active_children()
        os.kill(worker.pid, signal.SIGINT)
        drawn += map(batch_fn, range(1, 9))
    assert drawn == [*range(9)]
    assert "Traceback" not in capfd.readouterr().err
