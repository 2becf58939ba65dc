"""How every lesson starts: it loads the model, makes the output folder and says what it runs on."""

import dataclasses
import functools
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import matplotlib.pyplot as plt
from jax.sharding import Mesh

from jaxreason import resume
from jaxreason.course.chains import chain_length
from jaxreason.course.machine import device, keep_compiled
from jaxreason.course.options import Given, Options, in_notebook
from jaxreason.course.run import Run
from jaxreason.decoding import prompts
from jaxreason.decoding.memory import check_decoding
from jaxreason.errors import InputError, clean_exit
from jaxreason.evaluation.intervals import detectable
from jaxreason.evaluation.results import Results
from jaxreason.files import check_folder, writing_to
from jaxreason.hosts import initialize
from jaxreason.mesh import divide_cpu, make_mesh
from jaxreason.models.fastest import ROWS, explain
from jaxreason.models.hf import LanguageModel, load_model
from jaxreason.models.names import shipped
from jaxreason.models.precision import arithmetic


def start(given: Given, *, cpu_devices: int = 1) -> Run:
    """Loads the model and makes the output folder.

    Bad input ends the program with one line and exit status 2. A notebook has no command line, so
    there it raises.

    Args:
      given: from :func:`jaxreason.course.options.read_options`.
      cpu_devices: how many devices a CPU is divided into for a shipped model, if ``--mesh`` does
        not say. The small matrices of small models keep one core busy: two devices decode about
        1.4 times as many tokens on two cores. A large model stays whole: its matrices keep all
        cores busy, and there is memory for it once.

    Raises:
      InputError: in a notebook only.
    """
    keep_compiled()
    options = given.options
    if options.mesh is None and options.model in shipped():
        given = given._replace(options=dataclasses.replace(options, mesh=divide_cpu(cpu_devices)))
    if in_notebook():
        return _start(given)
    plt.switch_backend("agg")
    sys.excepthook = _excepthook
    with clean_exit():
        run = _start(given)
    sys.excepthook = functools.partial(_excepthook, unfinished=run.unfinished)
    return run


def _start(given: Given) -> Run:
    options = given.options
    mesh = _make_mesh(options.mesh)
    dtype = options.dtype
    if dtype == "auto" and given.trains and jax.default_backend() == "cpu":
        dtype = "float32"
    model = load_model(options.model, dtype, mesh, options.rows or ROWS)
    if not options.chat:
        model.tokenizer.chat_template = None  # prompted in plain text, as a model without one is
    max_new_tokens = options.max_new_tokens or chain_length(model)
    run = Run(
        name=given.name,
        options=options,
        folder=_make_folder(options.out, given.name),
        model=model,
        key=jax.random.key(options.seed),
        task=options.task,
        problems=given.num_problems,
        chains=options.chains,
        seeds=options.seeds,
        max_new_tokens=max_new_tokens,
        rows=options.rows or _default_rows(model),
        as_measured=model.name in shipped() and options.task == given.task,
        results=Results(
            given.name,
            model={"name": model.name, "params": model.num_params, "sha256": model.sha256},
            seed=options.seed,
            problems=given.num_problems,
            settings=_settings(options, model, max_new_tokens),
        ),
    )
    _announce(run)
    if dtype == "auto" and (explained := explain(model.cfg, options.rows or ROWS)):
        print(f"arithmetic: {explained}")
    _check_memory(run, mesh)
    if run.unfinished.exists():
        print(f"goes on where a run was interrupted; to begin anew, delete {run.unfinished}")
    return run


def _default_rows(model: LanguageModel) -> int:
    """More of a small model keep an accelerator busy; on a CPU they would leave its caches."""
    on_cpu = jax.default_backend() == "cpu"
    return 512 if model.name in shipped() and not on_cpu else ROWS


def _make_mesh(spec: str | None) -> Mesh | None:
    if not spec:
        return None
    if "JAX_COORDINATOR_ADDRESS" in os.environ:  # several hosts; before any device is asked for
        initialize()
    return make_mesh(spec)


def _make_folder(out: Path, name: str) -> Path:
    folder = out / name
    check_folder(out, name)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _settings(options: Options, model: LanguageModel, max_new_tokens: int) -> dict[str, Any]:
    """What else the figures depend on, for ``results.json``."""
    settings = {
        "task": options.task,
        "arithmetic": arithmetic(model.params),
        "chains": options.chains,
        "max_new_tokens": max_new_tokens,
    }
    if options.seeds is not None:
        settings["seeds"] = options.seeds
    if options.mesh:
        settings["mesh"] = options.mesh
    settings["chat"] = prompts.has_template(model.tokenizer)
    return settings


def _announce(run: Run) -> None:
    """The first line a lesson prints."""
    of_task = f" of {run.task}" if run.task else ""
    print(
        f"lesson {run.name}: {run.problems} held-out problems{of_task}, model {run.model.name} "
        f"({run.model.num_params:,} parameters, {arithmetic(run.model.params)['weights']}), "
        f"{device()}"
    )
    if run.problems:
        points = 100 * detectable(run.problems)
        print(
            f"{run.problems} problems show a difference of {points:.0f} points in 4 of 5 runs, if "
            "two methods disagree on a fifth of them; smaller ones need more --problems"
        )


def _check_memory(run: Run, mesh: Mesh | None) -> None:
    """Refuses chains that fit with no prompt at all now, not when the lesson reaches them."""
    total = run.problems * (run.chains or 1)
    check_decoding(
        run.model.cfg,
        rows=min(run.rows, total),
        total=total,
        prompt_tokens=0,
        new_tokens=run.max_new_tokens,
        dtype=arithmetic(run.model.params)["cache"],
        mesh=mesh,
    )


def _excepthook(
    kind: type[BaseException],
    error: BaseException,
    traceback: TracebackType | None,
    unfinished: Path | None = None,
) -> None:
    """Ends a script as :func:`clean_exit` would; no context manager surrounds its body."""
    if not isinstance(error, InputError | KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    plain_interrupt = isinstance(error, KeyboardInterrupt) and not str(error)
    if plain_interrupt and unfinished is not None and unfinished.exists():
        error = KeyboardInterrupt(f"interrupted; {resume.again(unfinished)}")
    with clean_exit():
        raise error
