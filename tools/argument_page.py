"""Writes docs/arguments.md: the class of the arguments that public manifests name most, with its proof, and what is refused.

    python -m tools.argument_page [OUT]

Classes are from the tables that the parser of extraArgs asks, so page and verdict cannot differ. How often a flag is named was counted
once, in the repositories and at the commits that tests/data/public_flags.json names.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from plimsoll_estimator.argument_effects import Effect, admits, effect_of, effects
from plimsoll_estimator.argument_table import ArgumentRow, flags_of
from plimsoll_estimator.engine_version import NEWEST_KNOWN, EngineVersion

ROOT = Path(__file__).parents[1]
DEFAULT_OUT = ROOT / "docs" / "arguments.md"
COUNTED = ROOT / "tests" / "data" / "public_flags.json"
KEPT = ROOT / "tests" / "data" / "rendered" / "answers.jsonl"
RUNS = ROOT / "tests" / "data" / "engine_runs.jsonl"
SHOWN = 100
RELEASES = ("0.8.5", "0.10.2", "0.11.0", "0.19.1", "0.25.1", "0.33.0")
CLASSES = """| class | means |
|---|---|
| neutral | vLLM's own code makes the same specs and plan |
| rule | what it takes is worked out |
| host | it takes host memory, which is in the pod's request |
| model | it changes the model's shape, and is applied to it |
| reserve | there is no exact rule: a stated part of each GPU is held, and the interval is wider by as much on both sides |
| refused | it contradicts the plan, or the pod |
| unruled | there is no rule: refused, unless a FitPolicy has `unruledFlags: Reserve` (intervals double, the pessimistic end counts) |

A flag that is switched off (`--no-...`) is neutral, and so is a value that means the default. A flag that no table has yet is unruled.
"""
CONNECTORS = """`--kv-transfer-config` names a connector. What it holds beside the cache is counted: a reserve on each GPU,
and in host memory `cpu_bytes_to_use` of an engine (Offloading, SimpleCPUOffload), `lmcache.max_local_cpu_size` of each worker (LMCache,
5 GB by default) or `mem_pool_size_gb` of each worker (P2pNccl, 32 GiB by default). NIXL and Mooncake register the cache itself. A
MultiConnector is the sum of its connectors. Layers that keep less than full attention are still planned in groups where the release
and every connector can; else all are planned as full attention, which takes more. A connector from outside vLLM, or one whose size
nothing states, is unruled.

`kv_role` is noted with the plan: prefill (`kv_producer`) and decode (`kv_consumer`) are two InferenceDeployments, and each fits by itself.
"""
PUT_TO_THE_ENGINE = """`make engine-config` draws deployments at random and puts their arguments to a release's own parser and
`create_engine_config`, with a GPU stood in for, until so many are admitted (then what was rendered is asked as well as what was written)
and so many refused by a rule of the engine's configuration. A refused list is asked about twice: as it was written, and without all that
its refusal does not need, since the engine names the first fault that it meets and a refusal of ours alone would hide behind another. A
list differs where one refuses and the other does not, or where a value of the plan is another: class, dtype, method of quantisation,
lengths, batches, parallel sizes, caching, runner, graphs.

| what a run does not count | because |
|---|---|
| answers for want of a tokenizer, or of Ray, which the images have | they say nothing of the list; the run says how many |
| a list that would run on the older engine (V0), and that the release refuses | nothing is admitted there either way |
| block sizes of models with states, tokens of a batch that must hold a video | the configuration settles them after it is made |
| the largest graph, where it is the limit itself or the last step of the release's ladder below it | the same limit |
| what only a worker says as it builds the model | no configuration can say it; some were built (below) |
| refusals that are Plimsoll's own: what is a field's to say, a secret, an argument without a rule | no release is asked |

Of refusals that only a worker makes, those of two seeds were put to 0.25.1's own classes, built on no device (2026-11-30, 12 lists): 11
are refused there too. The other was a false refusal, of fp8 blocks that are made as weights are loaded, and is none any more.

Every run with its figures, in the order in which they were made. The first run of a seed on a release is its score before anything of
it was seen; what it showed is mended where a later run says 0. A seed and a number draw the same wish again:
`python -m tests.engine show SEED NUMBER RELEASE`. From seed 301129 on, names of attention backends are drawn
too, and sizes of graphs that are said in several places; variables of the environment are not.
"""
KEPT_MANIFESTS = """`tests/data/rendered` has deployments as people write them, with the nodes to plan on and what is rendered of them:
families of models, ways of quantisation, tensor parallel sizes from 1 to 8, stages, experts and engines side by side, several nodes, MIG
and time-shared cards, weights from claims, images, buckets and a hub's cache without a network, gated models, adapters, drafts, prefill and
decode. The API server takes every object in strict mode, and the list that each pod starts vLLM with was put to its own release. What
the configuration holds is what the plan says: parallel sizes, lengths, batches, dtype, quantisation and type of the cache. A list that
changes makes a test fail until it is put to the engine again: `make engine-manifests ENGINE=VENV/bin/python RELEASE=0.19.1`. Public
manifests that were imported are on [their own page](import.md#public-manifests-and-what-vllm-says-of-them).
"""
MIB, GIB = 1 << 20, 1 << 30


def rows_of(version: EngineVersion) -> dict[str, ArgumentRow]:
    """A release's flags by their own name."""
    return {row.flag: row for _, row in sorted(flags_of(version).items())}


def refused(version: EngineVersion) -> list[str]:
    """Flags of which a release's user can say nothing but the default."""
    return [flag for flag, row in sorted(rows_of(version).items()) if not admits(row, version)]


def size(count: int) -> str:
    """Bytes as a person says them."""
    return f"{count / GIB:g} GiB" if count >= GIB else f"{count // MIB} MiB"


def said(effect: Effect) -> str:
    """What is done about an argument, and the proof."""
    held = [f"{size(effect.gpu_bytes)} of each GPU in reserve"] if effect.gpu_bytes else []
    held += [f"{size(effect.host_bytes)} of host memory a rank"] if effect.host_bytes else []
    held += ["a copy of a rank's weights in host memory"] if effect.whole_weights else []
    why = effect.why[:1].upper() + effect.why[1:]
    return f"{why.rstrip('.')}.{' ' + '; '.join(held)[:1].upper() + '; '.join(held)[1:] + '.' if held else ''}"


def line(flag: str, row: ArgumentRow, version: EngineVersion) -> tuple[str, str]:
    """Classes and sentences of a flag: of its values first, then of the rest."""
    own = [effect for effect in effects().get(flag, ()) if effect.values and effect.holds(version, effect.values[0])]
    rest = effect_of(row, version)
    kinds = list(dict.fromkeys(effect.kind for effect in (*own, rest)))
    words = [f"`{'`, `'.join(effect.values)}`: {said(effect)}" for effect in own]
    return ", ".join(kinds), " ".join([*words, f"{'Else: ' if own else ''}{said(rest)}"]).replace("|", "\\|")


def runs() -> list[str]:
    """A row of each run, oldest first, with whether it was the first of its seed on the release."""
    found, seen = [], set()
    for one in map(json.loads, RUNS.read_text().splitlines()):
        first = "yes" if (one["seed"], one["release"]) not in seen else ""
        seen.add((one["seed"], one["release"]))
        cells = (one["date"], one["release"], one["seed"], f"{one['each']} each", one["lists"], one["differ"], first)
        found.append(f"| {' | '.join(map(str, cells))} |")
    return found


def passed() -> list[str]:
    """A row of each release: deployments and lists of the manifests that are kept, and how many lists it configures as planned."""
    told = [json.loads(text) for text in KEPT.read_text().splitlines()]
    own = [one for one in told if not one["list"].startswith("imported/")]
    found = []
    for release in sorted({one["release"] for one in own}, key=EngineVersion.parse):
        rows = [one for one in own if one["release"] == release]
        deployments = {one["list"].rpartition("/")[0] for one in rows}
        found.append(f"| {release} | {len(deployments)} | {len(rows)} | {sum('resolved' in one for one in rows)} |")
    return found


def shares() -> list[str]:
    """A row of each release: how many flags it knows, and how many of them are refused."""
    found = []
    for text in RELEASES:
        release = EngineVersion.parse(text)
        known, none = rows_of(release), refused(release)
        found.append(f"| {text} | {len(known)} | {len(none)} | {100 * len(none) / len(known):.0f} % |")
    return found


def page() -> str:
    """The whole page."""
    counted = json.loads(COUNTED.read_text())
    version, rows = NEWEST_KNOWN, rows_of(NEWEST_KNOWN)
    most = [(flag, count) for flag, count in counted["files_naming"].items() if flag in rows][:SHOWN]
    files = sum(source["files"] for source in counted["sources"])
    where = ", ".join(f"[{one['repository']}](https://github.com/{one['repository']}) ({one['date']})" for one in counted["sources"])
    named = sum(count for flag, count in most)
    stopped = sum(count for flag, count in most if not admits(rows[flag], version))
    lines = [
        "# Arguments of vLLM",
        "",
        "What `spec.engine.extraArgs` may hold, and what each argument takes. Written by `python -m tools.argument_page` from the tables",
        "that the parser asks; rows are kept in the estimator's `data/argument_classes.json`, by release and value.",
        "",
        CLASSES,
        "## How much is refused",
        "",
        "Flags of which nothing but the default may be said. The reasons are [below](#what-is-refused).",
        "",
        "| vLLM | flags | refused | share |",
        "|---|---|---|---|",
        *shares(),
        "",
        "## The flags that are named most",
        "",
        f"Of {version}, by the number of files that name them among {files} that run vLLM in {where}. Of {named} such mentions "
        f"{stopped} are of a flag that is refused: those of engines over several nodes, which the plan lays out itself.",
        "",
        "| flag | files | class | what is done, and where vLLM has it |",
        "|---|---|---|---|",
    ]
    for flag, count in most:
        kinds, words = line(flag, rows[flag], version)
        lines.append(f"| `{flag}` | {count} | {kinds} | {words} |")
    lines += ["", "## What is refused", "", f"By {version}, whatever the value.", "", "| flag | class | reason |", "|---|---|---|"]
    for flag in refused(version):
        effect = effect_of(rows[flag], version)
        lines.append(f"| `{flag}` | {effect.kind} | {said(effect)} |")
    lines += [
        "",
        "## KV connectors",
        "",
        CONNECTORS,
        "## Put to the engine itself",
        "",
        PUT_TO_THE_ENGINE,
        "| date | vLLM | seed | admitted, refused | lists answered | differed | first of the seed |",
        "|---|---|---|---|---|---|---|",
        *runs(),
        "",
        "## Manifests that are kept",
        "",
        KEPT_MANIFESTS,
        "| vLLM | deployments | lists asked | configured as planned |",
        "|---|---|---|---|",
        *passed(),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_OUT
    out.write_text(page())
    print(out)


if __name__ == "__main__":
    main()
