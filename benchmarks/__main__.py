"""Run every benchmark, or those that are named, each in a process of its own on one thread; then fill in the pages.

python -m benchmarks [NAME ...]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.page import write_pages
from mamo.cli.warm import MALLOC

# In the order of the page.
BENCHMARKS = (
    "training_step",
    "step_profile",
    "evaluation",
    "data",
    "memory",
    "pipeline",
    "step_counts",
    "growth",
)
# As the workflow sets it for its jobs (workflow/rules/common.smk).
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    **MALLOC,
}


def main() -> int:
    """The status of the first that fails; the others are run all the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; none: all")
    names = parser.parse_args().names
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}: there are {', '.join(BENCHMARKS)}")
    status = 0
    for name in names or BENCHMARKS:
        print(name, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}"],
            env=os.environ | ENVIRONMENT,
            cwd=Path(__file__).parents[1],
        )
        status = status or done.returncode
    write_pages()
    return status


if __name__ == "__main__":
    sys.exit(main())
