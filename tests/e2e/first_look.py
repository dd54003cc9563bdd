"""The first minute of `make demo`: what Plimsoll says to every example, offline, while the control plane's programs are made ready.

Run as a file by the Python of .venv, in which nothing may be installed yet: needs pydantic and PyYAML, and fetches those two first. Then it
installs the development requirements, waits for the programs and ends with the status of what failed. Decides and checks nothing: the
demo that follows does.
"""

import contextlib
import importlib.util
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NODES = ROOT / "examples" / "cluster" / "nodes.yaml"
LOG = ROOT / ".work" / "assets.log"
BASE = {"pydantic": "pydantic", "shtab": "shtab", "yaml": "pyyaml"}
HOW_LONG = """\
What takes how long on a fresh clone:
  the answers below                        under a minute
  the development requirements             one or two minutes
  the control plane's programs, once       seconds where the cache or PATH has them; a minute or two where their official binaries can be
                                           fetched; else they are built: 9 minutes for kubernetes, 5 for kwok, 3 for helm on two busy cores
  the demo on them                         two minutes
"""


def base_requirements() -> int:
    """Install what the command itself needs, at the pinned versions."""
    missing = [package for module, package in BASE.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return 0
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", "requirements-dev.txt", *missing]
    return subprocess.run(pip, cwd=ROOT, check=False).returncode


def verdict_on(path: Path) -> dict[str, Any]:
    """What `plimsoll plan -o yaml` says of one example on the demo's nodes."""
    import yaml

    from plimsoll_operator.cli import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main(["plan", "-o", "yaml", "-f", str(path), "--nodes", str(NODES)])
    found: dict[str, Any] = yaml.safe_load(out.getvalue())
    return found


def lines_about(path: Path, said: dict[str, Any]) -> list[str]:
    """The example's own sentence, the verdict, and the sizes or the reason."""
    sentence = " ".join(line[2:] for line in path.read_text("utf-8").splitlines() if line.startswith("# "))
    lines = [f"examples/{path.name}: {sentence}", f"  {said['verdict']}"]
    plan = said.get("plan")
    if plan is None:
        lines[-1] += f" ({said['reason']}): {said['message']}"
        offers = said.get("offers", ())
        return [*lines, *(f"    would be admitted: {offer['summary']}" for offer in offers[:2])]
    lines[-1] += f": {plan['gpus_per_replica']} x {' or '.join(plan['gpu_products'])}, tensor parallel size {plan['tensor_parallel_size']},"
    lines[-1] += f" gpu-memory-utilization {plan['gpu_memory_utilization']}, max-model-len {plan['max_model_len']}"
    lines.append(f"    KV cache of {plan['kv_cache_tokens']} tokens: {plan['max_concurrency']} requests of that length at once")
    return [*lines, *(f"    moved: {change['field']} from {change['old']} to {change['new']}" for change in said.get("changes", ()))]


def answers() -> None:
    """Every example on the demo's nodes, and how to ask for oneself."""
    sys.path[:0] = [str(ROOT / "estimator"), str(ROOT / "operator")]
    print("\n== What Plimsoll says to every example, without a cluster\n", flush=True)
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        print("\n".join(lines_about(path, verdict_on(path))), flush=True)
    print("\nEach in full, and with your own nodes: plimsoll plan -f FILE --nodes examples/cluster/nodes.yaml (docs/before-you-apply.md)")


def follow(programs: subprocess.Popen[bytes], said: Path = LOG) -> int:
    """Show what is said about the programs until they are there; return how that ended."""
    with said.open(encoding="utf-8", errors="replace") as log:
        while True:
            ended = programs.poll()
            print(log.read(), end="", flush=True)
            if ended is not None:
                return ended
            time.sleep(0.5)


def main() -> int:
    """Answers first; then everything that the demo needs."""
    began = time.monotonic()
    print(HOW_LONG, flush=True)
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("wb") as log:
        making: list[str | Path] = [sys.executable, ROOT / "tests" / "controlplane" / "assets.py"]
        programs = subprocess.Popen(making, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        status = base_requirements()
        if status == 0:
            answers()
            print(f"\n{time.monotonic() - began:.0f} s so far. Now the requirements and the control plane's programs.\n", flush=True)
            status = subprocess.run(["make", "-s", "venv"], cwd=ROOT, check=False).returncode
        return status or follow(programs)
    finally:
        if programs.poll() is None:  # with the compilers that it has started
            os.killpg(programs.pid, signal.SIGTERM)
            programs.wait()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; what was being built is stopped")
