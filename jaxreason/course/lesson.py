"""What every lesson script shares: its model and output folder, its figures and ``results.json``.
"""

import contextlib
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
import matplotlib.pyplot as plt
from jax.sharding import Mesh
from transformers import PreTrainedTokenizerBase

from jaxreason import resume
from jaxreason.course.options import Given, Options, in_notebook
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import Completions, complete
from jaxreason.decoding.memory import check_decoding
from jaxreason.decoding.sampling import Sampler
from jaxreason.errors import InputError, clean_exit
from jaxreason.evaluation.intervals import Interval
from jaxreason.evaluation.results import VERDICTS, Results
from jaxreason.files import atomic_file, check_folder, writing_to
from jaxreason.hosts import initialize, is_first
from jaxreason.mesh import divide_cpu, make_mesh, mesh_of
from jaxreason.models.hf import LanguageModel, default_dtype, load_model
from jaxreason.models.names import shipped

AT_ONCE_TOKENS = 32  # a real model's direct answer; what is longer is no answer at once
REASONED_TOKENS = 20  # a real model's shortest chain of thought; "The answer is 120." has 9


@dataclasses.dataclass(frozen=True)
class Lesson:
    """A lesson under way; made by :func:`start`."""

    name: str
    options: Options
    folder: Path
    model: LanguageModel
    key: jax.Array
    task: str | None
    problems: int
    chains: int | None
    seeds: int | None
    max_new_tokens: int
    rows: int
    # a shipped model on the lesson's own task, which the sizes of effects in its claims are about
    as_measured: bool
    results: Results

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """For the prompts: the tokenizer of a chat model; None where they are plain text."""
        chat = self.options.chat and prompts.has_template(self.model.tokenizer)
        return self.model.tokenizer if chat else None

    @property
    def mesh(self) -> Mesh | None:
        """The devices that the model is spread over, for other models; None if it is one."""
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
          texts, key, sampler, num_samples, description: as there.
          at_once: the prompts ask for the answer alone, which a real model may not heed: it gets
            few tokens.
          stop_strings: of the shipped models. Other chat models end their turn, and other
            plain-text models are stopped where they would ask the next question.

        Returns:
          The completions, each behind what its prompt began of the model's turn, such as
          ``<think>``.
        """
        at_most = self.max_new_tokens
        if self.model.name not in shipped():
            stop_strings = () if self.tokenizer else ("\nQ:",)
            at_most = min(AT_ONCE_TOKENS, at_most) if at_once else at_most
        written = complete(
            self.model,
            key,
            texts,
            sampler=sampler,
            max_new_tokens=at_most,
            num_samples=num_samples,
            stop_strings=stop_strings,
            rows=self.rows,
            description=description,
        )
        begun = map(prompts.opening, texts)
        return written._replace(
            texts=[[b + t for t in row] for b, row in zip(begun, written.texts, strict=True)]
        )

    def prompt_fails(self, written: Completions) -> bool:
        """Whether the model answered at once though asked to reason; prints :func:`failed_prompt`.
        """
        failed = failed_prompt(self.model, written)
        if failed:
            print(f"\nnote: {failed}")
        return failed is not None

    def figure(self, figure: plt.Figure, name: str) -> None:
        """Saves ``OUT/NN_name/name.png``; a notebook shows it as well.

        Where that fails, as on a full disk, the lesson says so and goes on: its measurements are
          worth more than a figure.
        """
        if is_first():
            try:
                with writing_to(self.folder), atomic_file(self.folder / f"{name}.png") as path:
                    figure.savefig(path, dpi=130)
            except InputError as error:
                print(f"no figure {name}: {error}", file=sys.stderr)
        if in_notebook():
            plt.show()
        plt.close(figure)

    def claim(self, text: str, interval: Interval, **bounds) -> None:
        """Records a claim with its interval, and prints whether it holds; bounds as in
        ``Results.claim``.
        """
        holds = self.results.claim(text, interval, **bounds)
        shown = f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
        print(f"{VERDICTS[holds]:<8} {text}: {shown} (n={interval.n})")

    @functools.cached_property
    def unfinished(self) -> Path:
        """Where a run with these options, this model and this code keeps what it has done, until it
        is finished.
        """
        options = dataclasses.replace(self.options, out=Path())
        script = getattr(sys.modules["__main__"], "__file__", None)
        code = (
            resume.sources(),
            Path(script).read_bytes() if script and os.path.exists(script) else None,
        )
        return (
            self.folder / "unfinished" / resume.digest(options, self.model.sha256, device(), code)
        )

    def kept(self, name: str, *determined_by: Any) -> Path:
        """The folder of a part of the run that takes long: a training, chains of one model. What it
        holds is there again if the lesson was interrupted, and gone when it is finished.

        Args:
          name: of the part.
          determined_by: what else makes it what it is, such as constants that a reader may change
            in a notebook.
        """
        folder = re.sub(r"[^\w.]+", "_", name)
        return self.unfinished / (
            f"{folder}-{resume.digest(*determined_by)}" if determined_by else folder
        )

    def finish(self) -> None:
        """Prints the measurements, writes ``OUT/NN_name/results.json`` and drops what would be
        needed to go on.

        Raises:
          InputError: it cannot be written; the measurements are printed all the same, and the run
            can go on.
        """
        if not is_first():
            return
        print(f"\n{self.results.table()}\n")
        with writing_to(self.folder):
            path = self.results.write(self.folder)
        shutil.rmtree(self.unfinished, ignore_errors=True)
        print(f"written to {path.parent}{os.sep}")


def keep_compiled() -> None:
    """Keeps compiled programs in ``~/.cache/jaxreason``, at most 1 GiB: most of a short lesson is
    compilation, and the next run, or another lesson with the same program, is spared it.
    ``JAX_COMPILATION_CACHE_DIR`` names another folder, and ``JAX_ENABLE_COMPILATION_CACHE=false``
    keeps none; nor does a home that cannot be written to."""
    if jax.config.jax_compilation_cache_dir is not None:
        return
    folder = os.path.expanduser("~/.cache/jaxreason")
    with contextlib.suppress(OSError):
        os.makedirs(folder, exist_ok=True)
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_compilation_cache_max_size", 2**30)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def start(given: Given, *, cpu_devices: int = 1) -> Lesson:
    """Loads the model and makes the output folder.

    Bad input ends the program with one line and exit status 2; in a notebook, where there is no
    command line, it raises.

    Args:
      given: of :func:`jaxreason.course.options.read_options`.
      cpu_devices: into how many devices a CPU is divided for a shipped model, and ``--mesh`` then
        is ``data=`` as many. The small matrices of small models keep one core busy; two devices
        decode about 1.4 times as many tokens on two cores.

    Raises:
      InputError: in a notebook only.
    """
    keep_compiled()
    options = given.options
    if (
        options.mesh is None and options.model in shipped()
    ):  # a large model has large matrices, and is there once
        given = given._replace(options=dataclasses.replace(options, mesh=divide_cpu(cpu_devices)))
    if in_notebook():
        return _start(given)
    plt.switch_backend("agg")
    sys.excepthook = _excepthook
    with clean_exit():
        begun = _start(given)
    sys.excepthook = functools.partial(_excepthook, unfinished=begun.unfinished)
    return begun


def _start(given: Given) -> Lesson:
    name, options = given.name, given.options
    if (
        options.mesh and "JAX_COORDINATOR_ADDRESS" in os.environ
    ):  # several hosts; before any device is asked for
        initialize()
    mesh = make_mesh(options.mesh) if options.mesh else None
    model = load_model(
        options.model,
        default_dtype(options.model) if options.dtype == "auto" else options.dtype,
        mesh,
    )
    folder = options.out / name
    check_folder(options.out, name)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    count = given.num_problems
    identity = {"name": model.name, "params": model.num_params, "sha256": model.sha256}
    length = options.max_new_tokens or chain_length(model)
    dtype = jax.tree.leaves(model.params)[0].dtype.name
    settings = {
        "task": options.task,
        "dtype": dtype,
        "chains": options.chains,
        "max_new_tokens": length,
    }
    if options.seeds is not None:
        settings["seeds"] = options.seeds
    settings |= {"mesh": options.mesh} if options.mesh else {}
    settings["chat"] = options.chat and prompts.has_template(model.tokenizer)
    results = Results(name, model=identity, seed=options.seed, problems=count, settings=settings)
    of_task = f" of {options.task}" if options.task else ""
    print(
        f"lesson {name}: {count} held-out problems{of_task}, model {model.name} ({model.num_params:,} parameters, {dtype}), "
        f"{device()}"
    )
    rows = options.rows or (512 if model.name in shipped() else 64)
    # What no prompt can make fit is refused now, and not when the chains are reached.
    check_decoding(
        model.cfg,
        rows=rows,
        chains=options.chains or 1,
        total=count * (options.chains or 1),
        prompt_tokens=0,
        new_tokens=length,
        dtype=dtype,
        mesh=mesh,
    )
    key = jax.random.key(options.seed)
    as_measured = model.name in shipped() and options.task == given.task
    begun = Lesson(
        name,
        options,
        folder,
        model,
        key,
        options.task,
        count,
        options.chains,
        options.seeds,
        length,
        rows,
        as_measured,
        results,
    )
    if begun.unfinished.exists():
        print(f"goes on where a run was interrupted; to begin anew, delete {begun.unfinished}")
    return begun


def chain_length(model: LanguageModel) -> int:
    """Tokens that a chain of thought may take by default: 96 of the shipped models, 512 of others,
    2048 where they think.
    """
    if model.name in shipped():
        return 96
    return 2048 if prompts.thinks(model.tokenizer) else 512


def failed_prompt(model: LanguageModel, written: Completions) -> str | None:
    """One line for the reader if more than half of the chains of thought answered at once, else
    None.

    Some wordings make a real model answer without reasoning. Its accuracy then says nothing about
    the model, and a vote over its chains is a vote over guesses. The shipped models are left out:
    their language is terse, and a chain of one operation takes them about ten tokens.
    """
    # A chain that was cut off might have gone on.
    share = (written.finished & (written.num_tokens < REASONED_TOKENS)).mean()
    if model.name in shipped() or share <= 0.5:
        return None
    return (
        f"{share:.0%} of the chains of thought have fewer than {REASONED_TOKENS} tokens: "
        "the prompt fails, not the model. It answers without reasoning; try another wording."
    )


def device() -> str:
    """The accelerator JAX runs on, its count and its memory, in a line."""
    first = jax.local_devices()[0]
    stats = first.memory_stats() or {}
    memory = f", {stats['bytes_limit'] / 2**30:.0f} GiB each" if "bytes_limit" in stats else ""
    cores = f", {os.cpu_count()} cores" if first.platform == "cpu" else ""
    return f"{jax.device_count()} x {first.device_kind}{memory}{cores}, jax {jax.__version__}"


def _excepthook(
    kind: type[BaseException], error: BaseException, traceback, unfinished: Path | None = None
) -> None:
    """For the body of a script, which no context manager surrounds."""
    if (
        isinstance(error, KeyboardInterrupt)
        and not str(error)
        and unfinished is not None
        and unfinished.exists()
    ):
        error = KeyboardInterrupt(f"interrupted; {resume.again(unfinished)}")
    if not isinstance(error, InputError | KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    with clean_exit():
        raise error
