"""What every lesson script shares: its options, its model and output folder, its figures and ``results.json``."""

import contextlib
import dataclasses
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import jax
import matplotlib.pyplot as plt
import tyro
from jax.sharding import Mesh
from transformers import PreTrainedTokenizerBase

from jaxreason import prompts
from jaxreason.errors import InputError
from jaxreason.evaluate import Interval, Results
from jaxreason.mesh import divide_cpu, initialize, is_first, make_mesh, mesh_of
from jaxreason.models.hf import LanguageModel, default_dtype, load_model, shipped
from jaxreason.rollout import Completions, complete
from jaxreason.sampling import Sampler


@dataclasses.dataclass(frozen=True)
class Options:
    """Options that all lessons take."""

    model: str = "tiny"  # a shipped model, a directory, a .gguf file, or a Hugging Face id
    task: str | None = None  # arithmetic[:LOW-HIGH], gsm8k[:FILE], math500[:FILE] or gym:FAMILY
    problems: int = 500  # number of held-out problems
    seed: int = 0  # of the problems and of the sampling
    chains: int | None = None  # sampled chains per problem
    seeds: int | None = None  # training runs, of as many seeds
    max_new_tokens: int | None = None  # longest chain; if unset 96 of shipped models, 512 of others, 2048 if they think
    rows: int | None = None  # chains decoded at a time; if unset 512 of shipped models, 64 of others; fewer save memory
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: bfloat16 where the device is fast in it
    mesh: str | None = (
        None  # devices to spread over, such as data=4,model=2: prompts along data and fsdp, matrices along fsdp and model
    )
    chat: bool = True  # use the chat template of a model that has one
    out: Path = Path("outputs")  # results and figures go to OUT/NN_name/
    quick: bool = False  # a smoke run on a few problems: seconds, wide intervals


QUICK_PROBLEMS = 24
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
    as_measured: bool  # a shipped model on the lesson's own task, which the sizes of effects in its claims are about
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
        texts: Sequence[str],
        key: jax.Array,
        *,
        sampler: Sampler,
        num_samples: int = 1,
        at_once: bool = False,
        stop_strings: Sequence[str] = (),
        description: str | None = None,
    ) -> Completions:
        """:func:`jaxreason.rollout.complete` with the options of the lesson.

        Args:
          texts, key, sampler, num_samples, description: as there.
          at_once: the prompts ask for the answer alone, which a real model may not heed: it gets few tokens.
          stop_strings: of the shipped models. Other chat models end their turn, and other plain-text models are stopped
            where they would ask the next question.

        Returns:
          The completions, each behind what its prompt began of the model's turn, such as ``<think>``.
        """
        at_most = self.max_new_tokens
        if self.model.name not in shipped():
            stop_strings = () if self.tokenizer else ("\nQ:",)
            at_most = min(AT_ONCE_TOKENS, at_most) if at_once else at_most
        written = complete(
            self.model, texts, key, sampler=sampler, max_new_tokens=at_most, num_samples=num_samples,
            stop_strings=stop_strings, rows=self.rows, description=description,
        )  # fmt: skip
        begun = map(prompts.opening, texts)
        return written._replace(texts=[[b + t for t in row] for b, row in zip(begun, written.texts, strict=True)])

    def prompt_fails(self, written: Completions) -> bool:
        """Whether the model answered at once though asked to reason; prints :func:`failed_prompt`."""
        failed = failed_prompt(self.model, written)
        if failed:
            print(f"\nnote: {failed}")
        return failed is not None

    def figure(self, figure: plt.Figure, name: str) -> None:
        """Saves ``OUT/NN_name/name.png``; a notebook shows it as well."""
        if is_first():
            figure.savefig(self.folder / f"{name}.png", dpi=130)
        if in_notebook():
            plt.show()
        plt.close(figure)

    def claim(self, text: str, interval: Interval, **bounds) -> None:
        """Records a claim with its interval, and prints whether it holds; bounds as in ``Results.claim``."""
        holds = self.results.claim(text, interval, **bounds)
        shown = f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
        print(f"{'holds   ' if holds else 'NOT SEEN'} {text}: {shown} (n={interval.n})")

    def finish(self) -> None:
        """Writes ``OUT/NN_name/results.json`` and prints the measurements."""
        if not is_first():
            return
        path = self.results.write(self.folder)
        print(f"\n{self.results.table()}\n\nwritten to {path.parent}{os.sep}")


def keep_compiled() -> None:
    """Keeps compiled programs in ``~/.cache/jaxreason``, at most 1 GiB: most of a short lesson is compilation, and the next run, or
    another lesson with the same program, is spared it. ``JAX_COMPILATION_CACHE_DIR`` names another folder, and
    ``JAX_ENABLE_COMPILATION_CACHE=false`` keeps none; nor does a home that cannot be written to."""
    if jax.config.jax_compilation_cache_dir is not None:
        return
    folder = os.path.expanduser("~/.cache/jaxreason")
    with contextlib.suppress(OSError):
        os.makedirs(folder, exist_ok=True)
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_compilation_cache_max_size", 2**30)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def in_notebook() -> bool:
    """Whether this runs inside a Jupyter kernel, where there is no command line."""
    return "ipykernel" in sys.modules


notebook_options = ""  # in a notebook: the options, as on the command line; if empty, those of JAXREASON_OPTIONS


def read_options(name: str, defaults: Options) -> Options:
    """The options on the command line, or in a notebook those in ``notebook_options`` or in ``JAXREASON_OPTIONS``.

    Raises:
      InputError: in a notebook only; elsewhere bad options end the program.
    """
    given, description = notebook_options or os.environ.get("JAXREASON_OPTIONS", ""), f"Lesson {name}"
    if not in_notebook():
        return tyro.cli(Options, default=defaults, prog=name, description=description)
    try:
        return tyro.cli(Options, default=defaults, prog=name, description=description, args=shlex.split(given))
    except SystemExit as end:
        raise InputError(f"options {given!r}: expected those of the command line, such as '--quick'") from end


def start(
    name: str,
    problems: int = 500,
    task: str | None = None,
    chains: int | None = None,
    model: str = "tiny",
    seeds: int | None = None,
    cpu_devices: int = 1,
) -> Lesson:
    """Reads the command line, loads the model, makes the output folder.

    Args:
      name: of the lesson and its folder.
      problems, task, chains, model, seeds: defaults of the options; without a task, chains or seeds the lesson has no such option.
      cpu_devices: into how many devices a CPU is divided for a shipped model, and ``--mesh`` then is ``data=`` as many. The small
        matrices of small models keep one core busy; two devices decode about 1.4 times as many tokens on two cores.

    Bad input ends the program with one line and exit status 2; in a notebook, where there is no command line, it raises.

    Raises:
      InputError: in a notebook only.
    """
    keep_compiled()
    defaults = Options(model=model, problems=problems, task=task, chains=chains, seeds=seeds)
    options = read_options(name, defaults)
    if options.mesh is None and options.model in shipped():  # a large model has large matrices, and is there once
        options = dataclasses.replace(options, mesh=divide_cpu(cpu_devices))
    if in_notebook():
        return _start(name, options, defaults)
    plt.switch_backend("agg")
    sys.excepthook = _excepthook
    with clean_exit():
        return _start(name, options, defaults)


def _start(name: str, options: Options, defaults: Options) -> Lesson:
    if options.problems < 1:
        raise InputError(f"--problems is {options.problems}: expected at least 1")
    for option in ("task", "chains", "seeds"):
        if getattr(options, option) is not None and getattr(defaults, option) is None:
            raise InputError(
                f"--{option} is {getattr(options, option)!r}: this lesson has no such option, leave it out"
            )
    for option in ("chains", "seeds", "max_new_tokens", "rows"):
        if (value := getattr(options, option)) is not None and value < 1:
            raise InputError(f"--{option.replace('_', '-')} is {value}: expected at least 1")
    if options.mesh and "JAX_COORDINATOR_ADDRESS" in os.environ:  # several hosts; before any device is asked for
        initialize()
    mesh = make_mesh(options.mesh) if options.mesh else None
    model = load_model(options.model, default_dtype(options.model) if options.dtype == "auto" else options.dtype, mesh)
    folder = options.out / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"--out {str(options.out)!r} cannot be written to: {error.strerror}; name another folder"
        ) from error
    count = min(options.problems, QUICK_PROBLEMS) if options.quick else options.problems
    identity = {"name": model.name, "params": model.num_params, "sha256": model.sha256}
    length = options.max_new_tokens or chain_length(model)
    dtype = jax.tree.leaves(model.params)[0].dtype.name
    settings = {"task": options.task, "dtype": dtype, "chains": options.chains, "max_new_tokens": length}
    if options.seeds is not None:
        settings["seeds"] = options.seeds
    settings |= {"mesh": options.mesh} if options.mesh else {}
    settings["chat"] = options.chat and prompts.has_template(model.tokenizer)
    results = Results(name, model=identity, seed=options.seed, problems=count, settings=settings)
    of_task = f" of {options.task}" if options.task else ""
    print(f"lesson {name}: {count} held-out problems{of_task}, model {model.name} ({model.num_params:,} parameters, {dtype}), "
          f"{device()}")  # fmt: skip
    rows = options.rows or (512 if model.name in shipped() else 64)
    key = jax.random.key(options.seed)
    as_measured = model.name in shipped() and options.task == defaults.task
    return Lesson(
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


def chain_length(model: LanguageModel) -> int:
    """Tokens that a chain of thought may take by default: 96 of the shipped models, 512 of others, 2048 where they think."""
    if model.name in shipped():
        return 96
    return 2048 if prompts.thinks(model.tokenizer) else 512


def failed_prompt(model: LanguageModel, written: Completions) -> str | None:
    """One line for the reader if more than half of the chains of thought answered at once, else None.

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


def _excepthook(kind: type[BaseException], error: BaseException, traceback) -> None:
    """For the body of a script, which no context manager surrounds."""
    if not isinstance(error, InputError | KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    with clean_exit():
        raise error


@contextlib.contextmanager
def clean_exit() -> Iterator[None]:
    """Ends the program without a traceback: InputError with its one line and status 2, Ctrl-C with status 130."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt as interrupt:
        print(f"\n{interrupt or 'interrupted'}", file=sys.stderr)
        raise SystemExit(130) from None
