"""A lesson under way: it asks the model, keeps what takes long, and writes what it reports."""

import dataclasses
import functools
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from transformers import PreTrainedTokenizerBase

from jaxreason import resume
from jaxreason.course.chains import failed_prompt
from jaxreason.course.machine import device
from jaxreason.course.options import Options
from jaxreason.course.report import Report
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import Completions, complete
from jaxreason.decoding.sampling import Sampler
from jaxreason.files import writing_to
from jaxreason.hosts import is_first
from jaxreason.mesh import mesh_of
from jaxreason.models.hf import LanguageModel, load_model
from jaxreason.models.names import shipped

AT_ONCE_TOKENS = 32  # a real model's direct answer; a longer text is no answer at once


@dataclasses.dataclass(frozen=True)
class Run(Report):
    """A lesson under way. :func:`jaxreason.course.lesson.start` makes it."""

    name: str  # of the lesson and its folder
    options: Options
    model: LanguageModel
    key: jax.Array  # of the seed
    task: str | None
    problems: int  # held-out problems; fewer in a smoke run
    chains: int | None  # sampled per problem
    seeds: int | None  # training runs
    max_new_tokens: int  # of a chain
    rows: int  # chains decoded at a time

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """For the prompts: the tokenizer of a chat model, or None where prompts are plain text."""
        return self.model.tokenizer if prompts.has_template(self.model.tokenizer) else None

    @functools.cached_property
    def toy(self) -> LanguageModel:
        """A shipped model, for what a lesson shows in plain code: its own, or ``tiny``."""
        return self.model if self.model.name in shipped() else load_model("tiny")

    @property
    def mesh(self) -> Mesh | None:
        """The devices that the model is spread over, or None if there is one. For other models."""
        return mesh_of(self.model.params)

    def complete(
        self,
        key: jax.Array,
        texts: Sequence[str],
        *,
        sampler: Sampler,
        num_samples: int = 1,
        at_once: bool = False,
        stop_strings: Sequence[str] = (),
        description: str | None = None,
    ) -> Completions:
        """:func:`jaxreason.decoding.completions.complete` with the options of the lesson.

        Args:
          key, texts, sampler, num_samples, description: as there.
          at_once: the prompts ask for the answer alone. A real model may not heed this, so it gets
            few tokens.
          stop_strings: where shipped models stop. Other chat models end their turn, and other
            plain-text models stop where they would ask the next question.

        Returns:
          The completions. Each text starts with what its prompt already began of the model's turn,
          such as ``<think>``.
        """
        max_new_tokens = self.max_new_tokens
        if self.model.name not in shipped():
            stop_strings = () if self.tokenizer else ("\nQ:",)
            if at_once:
                max_new_tokens = min(AT_ONCE_TOKENS, max_new_tokens)
        written = complete(
            self.model,
            key,
            texts,
            sampler=sampler,
            max_new_tokens=max_new_tokens,
            num_samples=num_samples,
            stop_strings=stop_strings,
            rows=self.rows,
            description=description,
            store=self.store,
        )
        openings = [prompts.opening(text) for text in texts]
        whole = [
            [opening + text for text in row]
            for opening, row in zip(openings, written.texts, strict=True)
        ]
        return written._replace(texts=whole)

    def note_failure(self, written: Completions, correct: np.ndarray) -> None:
        """Says why next to nothing is right, if that is so: the prompt, or the model.

        Args:
          written: chains for prompts that ask for reasoning.
          correct: bool ``[G, N]``, which of them are right.
        """
        failed = failed_prompt(self.model, written)
        if failed:
            print(f"\nnote: {failed}")
        elif correct.mean() < 0.1:
            print(
                f"\nnote: {correct.mean():.1%} of the chains are right, next to nothing to find. "
                "Try an easier task, such as --task arithmetic:1-2, or a larger model."
            )

    @functools.cached_property
    def unfinished(self) -> Path:
        """Where this run keeps its parts until it is finished.

        Runs share the folder only if they have the same options, model, device and code.
        """
        options = dataclasses.replace(self.options, out=Path())
        code = (resume.sources(), _script())
        leaves = jax.tree.leaves(self.model.params)
        numbers = sorted({leaf.dtype.name for leaf in leaves})  # "auto" may choose others next time
        digest = resume.digest(options, self.model.sha256, numbers, device(), code)
        return self.folder / "unfinished" / digest

    @functools.cached_property
    def store(self) -> Path:
        """Where chains are kept, so that an interrupted run goes on.

        A lesson that needs the same chains later reads them too, if the code has not changed.
        Nothing but the reader removes them.
        """
        return self.options.out / "chains" / resume.sources()

    def kept(self, name: str, *determined_by: Any) -> Path:
        """The folder for a part that takes long, such as a training. Chains have :attr:`store`.

        An interrupted lesson finds its files there again. They are removed when it is finished.

        Args:
          name: of the part.
          determined_by: what else the part depends on, such as constants that a reader may change
            in a notebook.
        """
        folder = re.sub(r"[^\w.]+", "_", name)
        if determined_by:
            folder += f"-{resume.digest(*determined_by)}"
        return self.unfinished / folder

    def finish(self) -> None:
        """Prints the measurements, writes ``OUT/NN_name/results.json`` and drops the kept parts.

        At the end it names every file that it wrote.

        Raises:
          InputError: the file cannot be written. The measurements are printed all the same, and
            the same command can go on from the kept parts.
        """
        if not is_first():
            return
        print(f"\n{self.results.table()}\n")
        with writing_to(self.folder):
            path = self.results.write(self.folder)
        shutil.rmtree(self.unfinished, ignore_errors=True)
        print("written:", *self.figures, path, sep="\n  ")


def _script() -> bytes | None:
    """The source of the lesson; None in a notebook."""
    path = getattr(sys.modules["__main__"], "__file__", None)
    return Path(path).read_bytes() if path and os.path.exists(path) else None
