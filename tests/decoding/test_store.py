"""Chains on disk: what was put is what is read, and what is damaged is not believed."""

import contextlib
import sqlite3

import jax
import numpy as np
import pytest

from jaxreason.decoding import budget_forcing
from jaxreason.decoding.rollout import Rollout
from jaxreason.decoding.store import ChainStore, weights_digest
from jaxreason.errors import InputError

T = 7
IDS = [bytes([i]) * 32 for i in range(5)]


def opened(*arguments):
    return contextlib.closing(ChainStore(*arguments))


@pytest.fixture
def rollout():
    """Five chains of 0 to 7 tokens."""
    rng = np.random.default_rng(0)
    mask = np.arange(T) < np.array([0, 3, 7, 1, 6])[:, None]
    return Rollout(
        tokens=np.where(mask, rng.integers(1, 2**31 - 1, mask.shape), 0).astype(np.int32),
        logprobs=np.where(mask, rng.normal(size=mask.shape), 0.0).astype(np.float32),
        mask=mask,
        finished=np.array([False, True, False, True, True]),
        rule_state=budget_forcing.start(np.arange(5)[:, None], None, (5, 1)),
    )


@pytest.fixture
def chains(rollout):
    """With their state flat, as a queue yields it."""
    return rollout._replace(rule_state=jax.tree.map(lambda x: x[:, 0], rollout.rule_state))


def test_what_was_put_is_read_by_another_connection(tmp_path, chains):
    with opened(tmp_path, chains.rule_state) as first:
        first.put(IDS[:3], jax.tree.map(lambda x: x[:3], chains))
        with opened(tmp_path, chains.rule_state) as second:  # before the first is closed
            places, found = second.get(IDS[1:], T)
    assert places.tolist() == [0, 1]
    jax.tree.map(np.testing.assert_array_equal, found, jax.tree.map(lambda x: x[1:3], chains))


def test_nothing_there_is_nothing(tmp_path):
    with opened(tmp_path / "new") as store:
        places, found = store.get(IDS, T)
    assert len(places) == 0 and found.tokens.shape == (0, T)


def test_a_damaged_file_is_named_and_a_changed_chain_not_believed(tmp_path, chains):
    with opened(tmp_path, chains.rule_state) as store:
        store.put(IDS, chains)
    path = tmp_path / "chains.sqlite"
    file = sqlite3.connect(path)
    with contextlib.closing(file), file:  # another token, in a file that SQLite finds in order
        ((chain,),) = file.execute("SELECT chain FROM chains WHERE id = ?", (IDS[2],))
        changed = bytes([chain[8] ^ 1])
        file.execute(
            "UPDATE chains SET chain = ? WHERE id = ?", (chain[:8] + changed + chain[9:], IDS[2])
        )
    with opened(tmp_path, chains.rule_state) as store:
        assert store.get(IDS[:2], T)[0].tolist() == [0, 1]
        with pytest.raises(InputError, match=r"chains.sqlite' is damaged .*checksum.*remove it"):
            store.get(IDS, T)

    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(InputError, match=r"chains.sqlite' is damaged .*remove it"):
        ChainStore(tmp_path, chains.rule_state)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="chains.sqlite'") as error:
        ChainStore(tmp_path / "file" / "folder")
    assert "\n" not in str(error.value)


def test_the_digest_of_weights_tells_values_types_and_names(params):
    same = jax.tree.map(np.array, params)
    assert weights_digest(same) == weights_digest(params)
    others = [
        jax.tree.map(lambda x: x + np.float32(1e-6), params),
        jax.tree.map(lambda x: x.astype(np.float16), params),
        {"other": params},
    ]
    digests = {weights_digest(tree) for tree in [params, *others]}
    assert len(digests) == 4
