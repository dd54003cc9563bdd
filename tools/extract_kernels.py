"""Extracts for which GPUs each release of vLLM carries kernels, from the binaries of published wheels, and writes the table of them.

    python -m tools.extract_kernels [--work DIR] [OUT]

In a CUDA library each kernel lies in a fatbin: a header of 16 bytes, then one entry for each architecture. The architectures that most
fatbins of vLLM's main extension share are those that all its common kernels are built for; special ones (Marlin, FP4) are built for fewer.
Of PyTorch, which a release pins, every architecture of libtorch_cuda counts. A wheel is downloaded with pip, read and removed.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from tools.releases import EVERY_RELEASE, asked

TABLE = "kernels.json"
MAGIC = struct.pack("<I", 0xBA55ED50)
CUBIN = 2
MAIN = re.compile(r"vllm/_C(_stable_libtorch)?\.abi3\.so")
TORCH = re.compile(r"torch/lib/libtorch_cuda\.so")
PLATFORMS = ("manylinux1", "manylinux2014", "manylinux_2_24", "manylinux_2_28", "manylinux_2_31", "manylinux_2_35")
LATER = ("0.14.0", "0.17.0", "0.19.1", "0.20.0", "0.24.0", "0.28.0", "0.33.0")
RELEASES = [*EVERY_RELEASE[: EVERY_RELEASE.index("0.11.2")], *LATER]
"""All until the lists had settled, then the first of each PyTorch, the last with Volta and the newest: a wheel has 300 MB."""
OF_THE_IMAGE = {
    # The official image has PyTorch for CUDA 12.8 where pip takes the one for 12.6. "The minimum cuda capability supported by this library
    # is 7.5": https://github.com/vllm-project/vllm/issues/18818; list: PyTorch's RELEASE.md, CUDA support matrix of 2.7.
    "2.7.0": [75, 80, 86, 90, 100, 120],
    "2.7.1": [75, 80, 86, 90, 100, 120],
}


def groups(library: bytes) -> Counter[tuple[int, ...]]:
    """How many fatbins have which architectures, as binary code (90 is sm_90); intermediate code is not counted."""
    found: Counter[tuple[int, ...]] = Counter()
    at = library.find(MAGIC)
    while at >= 0 and at + 16 <= len(library):
        size = struct.unpack_from("<Q", library, at + 8)[0]
        place, end = at + 16, min(at + 16 + size, len(library))
        archs = set()
        while place + 32 <= end:
            kind, _, header = struct.unpack_from("<HHI", library, place)
            payload = struct.unpack_from("<Q", library, place + 8)[0]
            if header < 32:
                break
            if kind == CUBIN:
                archs.add(struct.unpack_from("<I", library, place + 28)[0])
            place += header + payload
        if archs:
            found[tuple(sorted(archs))] += 1
        at = library.find(MAGIC, at + 4)
    return found


def common(counted: Counter[tuple[int, ...]]) -> list[int]:
    """The architectures of most fatbins; of sets that are equally frequent the larger."""
    sets: list[tuple[int, ...]] = list(counted)
    return list(max(sets, key=lambda archs: (counted[tuple(archs)], len(tuple(archs))))) if sets else []


def read_wheel(package: str, release: str, machine: str, wanted: re.Pattern[str], work: Path) -> dict[str, Any] | None:
    """What a wheel's libraries are built for and what it requires; None where none was published for the machine."""
    kept = work / f"{package}-{release}-{machine}.json"
    if kept.exists():
        before: dict[str, Any] | None = json.loads(kept.read_text())
        return before
    found: dict[str, Any] | None = None
    with tempfile.TemporaryDirectory(dir=work) as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--python-version", "3.12"]
        command += [part for platform in PLATFORMS for part in ("--platform", f"{platform}_{machine}")]
        if not subprocess.run([*command, "-d", folder, f"{package}=={release}"], stderr=subprocess.DEVNULL, check=False).returncode:
            found = read_file(next(Path(folder).glob("*.whl")), wanted)
    kept.write_text(json.dumps(found))
    return found


def read_file(path: Path, wanted: re.Pattern[str]) -> dict[str, Any]:
    """The same of a wheel that is here."""
    counted: Counter[tuple[int, ...]] = Counter()
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            if wanted.fullmatch(name):
                counted += groups(wheel.read(name))
        metadata = next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    torch = re.search(r"^Requires-Dist: torch\s*\(?==([\d.]+)", metadata, re.MULTILINE)
    every = sorted({arch for archs in counted for arch in archs})
    return {"common": common(counted), "every": every, "torch": torch[1] if torch else None}


def main() -> None:
    """Write the table."""
    releases: dict[str, dict[str, Any]] = {}
    torches: dict[str, dict[str, Any]] = {}
    with asked(__doc__, TABLE) as (out, work):
        for release in RELEASES:
            row: dict[str, Any] = {}
            for machine in ("x86_64", "aarch64"):
                found = read_wheel("vllm", release, machine, MAIN, work)
                if found is not None:
                    row |= {machine: found["common"], "torch": found["torch"]}
            releases[release] = row
        for version in sorted({row["torch"] for row in releases.values()}):
            found = read_wheel("torch", version, "x86_64", TORCH, work)
            of_pip = found["every"] if found is not None else []
            torches[version] = {"pip": of_pip, "image": OF_THE_IMAGE.get(version, of_pip)}
        lines = [",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in table.items()) for table in (releases, torches)]
        out.write_text(f'{{"releases": {{\n{lines[0]}\n}},\n"torch": {{\n{lines[1]}\n}}}}\n')
        print(f"{len(releases)} releases -> {out}")


if __name__ == "__main__":
    main()
