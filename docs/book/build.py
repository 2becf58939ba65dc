"""Builds the book: ``python docs/book/build.py``, into outputs/book. Needs the ``docs`` extra.

The site shows the published runs. With ``--execute`` every lesson runs first, as a smoke run, and
its outputs are shown too (about ten minutes). Nothing is fetched from a network. With ``--strict``
a warning, such as a link that leads nowhere, is an error.
"""

import argparse
import os
import sys
from pathlib import Path

from sphinx.cmd.build import build_main

ROOT = Path(__file__).parents[2]
INDEX = """<!doctype html><html lang="en"><meta charset="utf-8"><title>jaxreason</title>
<link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0; url=docs/book/index.html">
<a href="docs/book/index.html">jaxreason: the book</a></html>
"""


def build(out: Path, *, execute: bool = False, strict: bool = False) -> int:
    """Writes the site into a folder; returns 0 if all went well."""
    options = ["-c", str(ROOT / "docs" / "book"), "-d", f"{out}.doctrees", "-j", "auto", "-q"]
    if execute:
        os.environ["JAXREASON_OPTIONS"] = f"--quick --out {out}.runs"
        options += ["-D", "nb_execution_mode=force", "-j", "1"]
    if strict:
        options += ["--fail-on-warning", "--keep-going"]
    status = build_main([*options, str(ROOT), str(out)])
    (out / "index.html").write_text(INDEX)
    return status


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "book")
    parser.add_argument("--execute", action="store_true", help="run the lessons with --quick")
    parser.add_argument("--strict", action="store_true", help="a warning is an error")
    given = parser.parse_args()
    out = given.out.resolve()
    status = build(out, execute=given.execute, strict=given.strict)
    print(out / "index.html")
    sys.exit(status)
