"""What every lesson script shares: its options, its model and output folder, its figures and ``results.json``."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import tyro

from jaxreason.errors import InputError
from jaxreason.evaluate import Interval, Results
from jaxreason.models.hf import LanguageModel, load_model


@dataclasses.dataclass(frozen=True)
class Options:
    """Options that all lessons take."""

    model: str = "tiny"  # a shipped model, a directory, a .gguf file, or a Hugging Face id
    problems: int = 500  # number of held-out problems
    seed: int = 0  # of the problems and of the sampling
    out: Path = Path("outputs")  # results and figures go to OUT/NN_name/
    quick: bool = False  # a smoke run on a few problems: seconds, wide intervals


QUICK_PROBLEMS = 24


@dataclasses.dataclass(frozen=True)
class Lesson:
    """A lesson under way; made by :func:`start`."""

    name: str
    options: Options
    folder: Path
    model: LanguageModel
    key: jax.Array
    problems: int
    results: Results

    def figure(self, figure: plt.Figure, name: str) -> None:
        """Saves ``OUT/NN_name/name.png``; a notebook shows it as well."""
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
        path = self.results.write(self.folder)
        print(f"\n{self.results.table()}\n\nwritten to {path.parent}{os.sep}")


def in_notebook() -> bool:
    """Whether this runs inside a Jupyter kernel, where there is no command line."""
    return "ipykernel" in sys.modules


def start(name: str, problems: int = 500) -> Lesson:
    """Reads the command line, loads the model, makes the output folder.

    Bad input ends the program with one line and exit status 2; in a notebook, where there is no command line, it raises.

    Raises:
      InputError: in a notebook only.
    """
    defaults = Options(problems=problems)
    options = (
        defaults if in_notebook() else tyro.cli(Options, default=defaults, prog=name, description=f"Lesson {name}")
    )
    if in_notebook():
        return _start(name, options)
    plt.switch_backend("agg")
    with clean_exit():
        return _start(name, options)


def _start(name: str, options: Options) -> Lesson:
    if options.problems < 1:
        raise InputError(f"--problems is {options.problems}: expected at least 1")
    model = load_model(options.model)
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
    results = Results(name, model=identity, seed=options.seed, problems=count)
    print(f"lesson {name}: {count} held-out problems, model {model.name} ({model.num_params:,} parameters), {device()}")
    return Lesson(name, options, folder, model, jax.random.key(options.seed), count, results)


def device() -> str:
    """The accelerator JAX runs on, its count and its memory, in a line."""
    first = jax.devices()[0]
    stats = first.memory_stats() or {}
    memory = f", {stats['bytes_limit'] / 2**30:.0f} GiB each" if "bytes_limit" in stats else ""
    cores = f", {os.cpu_count()} cores" if first.platform == "cpu" else ""
    return f"{jax.device_count()} x {first.device_kind}{memory}{cores}, jax {jax.__version__}"


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
