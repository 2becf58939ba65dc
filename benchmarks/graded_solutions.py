"""The grader against GSM8K's own: ``python -m benchmarks.graded_solutions FILE``.

FILE is grade_school_math/data/example_model_solutions.jsonl of github.com/openai/grade-school-math
(MIT licence, Cobbe et al. 2021): 5,276 solutions by four models, each with a flag that says whether
it is right. Ends with status 1 where `is_correct` disagrees with a flag.
"""

import json
import sys
from pathlib import Path

from jaxreason.answers.verify import is_correct


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__.partition("\n")[0])
    solutions = agreed = 0
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        problem = json.loads(line)
        for model in (value for value in problem.values() if isinstance(value, dict)):
            solutions += 1
            if is_correct(model["solution"], problem["ground_truth"]) == model["is_correct"]:
                agreed += 1
            else:
                said, gold = model["solution"][-80:], problem["ground_truth"][-20:]
                print(f"flag {model['is_correct']}: {said!r}, gold {gold!r}")
    print(f"{agreed} of {solutions} agree")
    sys.exit(agreed < solutions)


if __name__ == "__main__":
    main()
