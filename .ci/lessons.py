"""``python .ci/lessons.py OUT LESSON...``: runs lessons as ``jaxreason lesson`` does, with --quick.

Each has a process of its own. Their imports take seconds and are the same for all, so they come
first, and the processes are forked from there.
"""

import importlib
import os
import sys

from jaxreason.course import cli

out, *lessons = sys.argv[1:]
for module in ("jaxreason.api", "jaxreason.course.lesson"):
    importlib.import_module(module)
for name in lessons:
    if (child := os.fork()) == 0:
        sys.argv = ["jaxreason", "lesson", name, "--quick", "--out", out]
        cli.main()
        break
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"lesson {name} ended with exit status {status}")
