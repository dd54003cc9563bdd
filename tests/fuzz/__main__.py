"""`python -m tests.fuzz [--seed N] [--minutes M] [--operations N] [--no-kills]`, or `python -m tests.fuzz show SEED NUMBER`.

Ends with 0 when all that must hold has held.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
from pathlib import Path

from tests.fuzz import recipes
from tests.fuzz.run import Plan, running

WORK = Path(__file__).resolve().parents[2] / ".work"


def show(seed: int, number: int) -> None:
    """Print the specs that a number stands for, one a kind."""
    for plural in recipes.KIND_OF:
        print(json.dumps({plural: recipes.spec(recipes.rng_for(seed, number), plural)}))


def main(arguments: list[str]) -> int:
    """Run; print seed and summary."""
    if arguments[:1] == ["show"]:
        show(int(arguments[1]), int(arguments[2]))
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--operations", type=int, default=0, help="default: 1000 a minute")
    parser.add_argument("--no-kills", action="store_true", help="do not kill the two programs once in the middle")
    chosen = parser.parse_args(arguments)
    plan = Plan(
        seed=chosen.seed, minutes=chosen.minutes, operations=chosen.operations or round(chosen.minutes * 1000), kills=not chosen.no_kills
    )
    WORK.mkdir(exist_ok=True)
    workdir = Path(tempfile.mkdtemp(prefix="fuzz-", dir=WORK))
    print(f"seed {plan.seed}, {plan.operations} operations in {plan.minutes:g} minutes; logs and findings in {workdir}", flush=True)
    with running(plan, workdir) as run:
        run.go()
        print(run.summary())
        return 1 if run.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
