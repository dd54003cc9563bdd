"""`python -m tests.engine --python VENV/bin/python --release 0.19.1 [--seed N] [--each 200] [--answers FILE]`.

Draws wishes until so many are admitted and so many refused by the engine's own rules, asks the release, prints each disagreement with the
number that draws its wish again. A refused list is asked about twice: as it was written, and with what its refusal needs alone.
Ends with 0 when there is none. `--runs FILE` adds the figures to the runs that docs/arguments.md shows.
`show SEED NUMBER RELEASE` prints one wish and what Plimsoll says of it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import secrets
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engine.compare import difference, says_nothing
from tests.engine.hearing import Put, card, catalogued, heard
from tests.engine.least import least
from tests.engine.questions import Answered, Asked, answered
from tests.engine.wishes import Wish, draw

MOST_WORDS = 160
MOST_DRAWN = 40
"""Wishes drawn for each that is wanted."""


@dataclass(frozen=True)
class Question:
    """A list of arguments, whose wish it is of, and what is expected of the engine."""

    name: str
    wish: Wish
    kind: str
    asked: Asked


def drawn(seed: int, release: str, each: int) -> tuple[list[Question], Counter[str]]:
    """Questions about wishes, drawn until `each` are admitted and `each` refused by the engine's rules; and how many were of which kind."""
    found: list[Question] = []
    kinds: Counter[str] = Counter()
    alone: set[tuple[str, tuple[str, ...]]] = set()
    for number in range(each * MOST_DRAWN):
        if min(kinds["admitted"], kinds["engine"]) >= each:
            break
        wish = draw(seed, number, release)
        said: Answered = answered(wish)
        kinds[said.kind] += 1
        if said.kind in ("admitted", "engine") and kinds[said.kind] > each:
            continue
        for place, asked in enumerate(said.asked):
            found.append(Question(f"{number}.{place}", wish, said.kind, asked))
            if asked.expects == "refused" and not asked.later:
                shorter, shortest = least(wish, asked)
                if shortest.argv != asked.argv and (wish.product, shortest.argv) not in alone:
                    found.append(Question(f"{number}.{place}, alone", shorter, said.kind, shortest))
                    alone.add((wish.product, shortest.argv))
    return found, kinds


def record(release: str, one: Question, answer: dict[str, Any]) -> str:
    """A question about a wish as it was written, and what the engine answered, as a line of the small form's data."""
    words = answer.get("refused", {}).get("words", "")
    told = {"refused": {"where": answer["refused"]["where"], "words": " ".join(words.split())[:MOST_WORDS]}} if words else answer
    line = {"release": release, "product": one.wish.product, "spec": one.wish.manifest["spec"], "argv": one.asked.argv, **told}
    return json.dumps({key: value for key, value in line.items() if key != "id"}, separators=(",", ":"))


def show(seed: int, number: int, release: str) -> None:
    """Print a wish and what is said of it."""
    wish = draw(seed, number, release)
    said = answered(wish)
    print(wish.product, json.dumps(wish.manifest["spec"], indent=1))
    print(said.kind, said.words)
    for asked in said.asked:
        print(asked.expects, asked.check, " ".join(asked.argv))


def main(arguments: list[str]) -> int:
    """Draw, ask, compare, print."""
    if arguments[:1] == ["show"]:
        show(int(arguments[1]), int(arguments[2]), arguments[3])
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.engine")
    parser.add_argument("--python", required=True, help="a Python that has the release's CPU build")
    parser.add_argument("--release", required=True)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    parser.add_argument("--each", type=int, default=200)
    parser.add_argument("--answers", type=Path, help="add what was agreed on to this file, a line each: the small form's data")
    parser.add_argument("--runs", type=Path, help="add what came out to this file, a line a run")
    chosen = parser.parse_args(arguments)
    questions, kinds = drawn(chosen.seed, chosen.release, chosen.each)
    print(f"vLLM {chosen.release}, seed {chosen.seed}: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()), flush=True)
    asked = [Put(name=one.name, card=card(one.wish.product), argv=one.asked.argv) for one in questions]
    answers = heard(asked, catalogued(), chosen.python)
    wrong, unheard, kept = 0, 0, []
    for one in questions:
        if says_nothing(answers[one.name]):
            unheard += 1
            continue
        differs = difference(one.asked, answers[one.name])
        if differs is None and not one.asked.of_plan and one.kind in ("admitted", "engine"):
            kept.append(record(chosen.release, one, answers[one.name]))
        if differs is not None:
            wrong += 1
            print(f"{one.name} {one.kind}, {one.wish.product}: {differs}\n    vllm serve {' '.join(one.asked.argv)}")
    heard_of = len(questions) - unheard
    print(f"{heard_of} lists answered, {wrong} otherwise; {unheard} not, for want of a file or a package")
    if chosen.answers is not None:
        with chosen.answers.open("a") as out:
            out.writelines(f"{line}\n" for line in kept)
    if chosen.runs is not None:
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        told = {"release": chosen.release, "seed": chosen.seed, "date": day, "each": chosen.each, "lists": heard_of, "differ": wrong}
        with chosen.runs.open("a") as out:
            out.write(f"{json.dumps(told)}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
