"""Finished chains on disk: a run that was stopped at any moment goes on, and another run that wants
the same chains reads them.
"""

import contextlib
import hashlib
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxreason.decoding.rollout import Rollout
from jaxreason.errors import InputError

TABLE = "CREATE TABLE IF NOT EXISTS chains (id BLOB PRIMARY KEY, chain BLOB, crc INTEGER)"


def weights_digest(params: Any) -> bytes:
    """Of the values of all parameters, with names and types: a second for a billion bytes."""
    made = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.ascontiguousarray(leaf)
        made.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        made.update(array.reshape(-1).view(np.uint8))
    return made.digest()


class ChainStore:
    """Chains by 32 bytes that tell all that determines them, in one SQLite file.

    Every group of chains is written in one transaction, so a kill loses at most the last group.

    Args:
      folder: the file ``chains.sqlite`` is made in it.
      rule_state: arrays of numpy, as the state of the chains' rule has them; or None.

    Raises:
      InputError: from every method, if the file is damaged or cannot be written.
    """

    def __init__(self, folder: Path, rule_state: Any = None):
        self.path = folder / "chains.sqlite"
        self.like = jax.tree.map(lambda x: np.asarray(x).dtype, rule_state)
        with self._reported(), contextlib.ExitStack() as on_error:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = sqlite3.connect(self.path)
            on_error.callback(self.file.close)
            # Chains are not lost with the process, only with the power; and no commit waits.
            self.file.execute("PRAGMA journal_mode=WAL")
            self.file.execute("PRAGMA synchronous=NORMAL")
            self.file.execute(TABLE)
            on_error.pop_all()

    def close(self) -> None:
        """Ends the use of the file."""
        self.file.close()

    def put(self, ids: list[bytes], rollout: Rollout) -> None:
        """Keeps k chains: their ids, and arrays ``[k, T]`` and ``[k]``."""
        chains = [_pack(rollout, i) for i in range(len(ids))]
        rows = [(key, c, zlib.crc32(key + c)) for key, c in zip(ids, chains, strict=True)]
        with self._reported(), self.file:
            self.file.executemany("INSERT OR REPLACE INTO chains VALUES (?, ?, ?)", rows)

    def get(self, ids: list[bytes], max_new_tokens: int) -> tuple[np.ndarray, Rollout]:
        """The chains that are there: their places in ``ids``, and arrays ``[k, T]``."""
        found = []
        with self._reported():
            for place, key in enumerate(ids):
                row = self.file.execute("SELECT chain, crc FROM chains WHERE id = ?", (key,))
                if (stored := row.fetchone()) is not None:
                    if zlib.crc32(key + stored[0]) != stored[1]:
                        raise sqlite3.DatabaseError("a chain's checksum is wrong")
                    found.append((place, stored[0]))
        places = np.array([place for place, _ in found], int)
        return places, _unpack([chain for _, chain in found], max_new_tokens, self.like)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # full, read-only, locked
            raise InputError(f"{str(self.path)!r} cannot be used: {error}") from error
        except (sqlite3.DatabaseError, OSError) as error:
            raise InputError(
                f"{str(self.path)!r} is damaged ({error}): remove it, and its chains are drawn anew"
            ) from error


def _pack(rollout: Rollout, i: int) -> bytes:
    """Number of tokens, whether it ended, tokens, log-probabilities, state of the rule."""
    keep = rollout.mask[i]
    head = np.array([keep.sum(), rollout.finished[i]], np.int32)
    state = [np.asarray(x[i]) for x in jax.tree.leaves(rollout.rule_state)]
    parts = [head, rollout.tokens[i][keep], rollout.logprobs[i][keep], *state]
    return b"".join(part.tobytes() for part in parts)


def _unpack(chains: list[bytes], max_new_tokens: int, like: Any) -> Rollout:
    count, dtypes = len(chains), jax.tree.leaves(like)
    tokens = np.zeros((count, max_new_tokens), np.int32)
    logprobs, mask = np.zeros(tokens.shape, np.float32), np.zeros(tokens.shape, bool)
    finished, states = np.zeros(count, bool), [np.zeros(count, dtype) for dtype in dtypes]
    for i, chain in enumerate(chains):
        length, finished[i] = np.frombuffer(chain, np.int32, 2)
        tokens[i, :length] = np.frombuffer(chain, np.int32, length, offset=8)
        logprobs[i, :length] = np.frombuffer(chain, np.float32, length, offset=8 + 4 * length)
        mask[i, :length] = True
        offset = 8 + 8 * length
        for state, dtype in zip(states, dtypes, strict=True):
            state[i] = np.frombuffer(chain, dtype, 1, offset=offset)[0]
            offset += dtype.itemsize
    return Rollout(
        tokens=tokens,
        logprobs=logprobs,
        mask=mask,
        finished=finished,
        rule_state=jax.tree.unflatten(jax.tree.structure(like), states),
    )
