"""The real node's promises that need none: archives as containerd reads them, what a run would leave, who may not ask for one."""

import importlib.metadata
import json
import os
import re
import tarfile
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from tests.controlplane.assets import AssetsError
from tests.controlplane.node import images, machine
from tests.controlplane.node.oci import Image, Layer, write
from tests.controlplane.node.real_node import RealNode
from tests.folders import ROOT


def test_an_archive_holds_the_files_under_their_prefix_as_root_s_and_can_be_read_by_its_digests(tmp_path: Path) -> None:
    (tmp_path / "in" / "bin").mkdir(parents=True)
    (tmp_path / "in" / "bin" / "one").write_text("1")
    (tmp_path / "in" / "two").symlink_to("bin/one")
    out = tmp_path / "image.tar"
    write(Image(name="example.test/one:1", layers=[Layer(folder=tmp_path / "in", prefix="opt/x")], entrypoint=["/one"], user="7"), out)
    with tarfile.open(out) as tar:

        def blob(row: dict[str, str]) -> bytes:
            found = tar.extractfile("blobs/" + row["digest"].replace(":", "/"))
            assert found is not None
            return found.read()

        index = tar.extractfile("index.json")
        assert index is not None
        (described,) = json.loads(index.read())["manifests"]
        manifest = json.loads(blob(described))
        config = json.loads(blob(manifest["config"]))
        (layer,) = manifest["layers"]
        assert described["annotations"]["io.containerd.image.name"] == "example.test/one:1"
        assert (config["config"]["Entrypoint"], config["config"]["User"]) == (["/one"], "7")
        assert config["rootfs"]["diff_ids"] == [layer["digest"]]
        (tmp_path / "layer.tar").write_bytes(blob(layer))
    with tarfile.open(tmp_path / "layer.tar") as files:
        rows = {row.name: row for row in files}
    assert {"./opt/x/bin/one", "./opt/x/two"} <= set(rows)
    assert rows["./opt/x/two"].linkname == "bin/one"
    assert {(row.uid, row.gid) for row in rows.values()} == {(0, 0)}


def test_an_image_is_known_by_what_it_is_made_of(tmp_path: Path) -> None:
    pins = ROOT / "requirements-dev.txt"
    assert images.key_of("a", pins) == images.key_of("a", pins) != images.key_of("b", pins)
    made = [*images._files([ROOT / name for name in images._SOURCES])]
    assert ROOT / "deploy" / "Dockerfile" in made
    assert not [path for path in made if path.suffix == ".pyc"]


def test_what_is_there_afterwards_and_was_not_before_is_named() -> None:
    now = machine.Traces.now()
    assert now.left_by(now) == []
    after = replace(now, links=now.links | {"plimsoll0"}, cgroups=now.cgroups | {"/sys/fs/cgroup/cpu/plimsoll-node-1"})
    assert now.left_by(after) == ["cgroups: /sys/fs/cgroup/cpu/plimsoll-node-1", "links: plimsoll0"]
    assert after.left_by(now) == [], "what was there before is nobody's fault"


def test_outside_its_sandbox_nothing_is_booted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bridge and its routes would be the machine's own."""
    monkeypatch.delenv("NODE_CGROUP", raising=False)
    monkeypatch.delenv(images.PREPARED, raising=False)
    with pytest.raises(RuntimeError, match="make node"), RealNode.boot(tmp_path, images={}):
        pass
    with pytest.raises(AssetsError, match="make node"):
        images.handed()


def test_everything_that_the_image_installs_is_pinned_to_what_the_tests_run_with() -> None:
    """The closure of the runtime's requirements as they are installed here; the Dockerfile holds pip to these pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(row for name, rows in extras.items() if name != "all" for row in rows)]
    rows = [line.split("==") for line in (ROOT / "requirements-dev.txt").read_text().splitlines() if "==" in line]
    pins = {_plain(name): version for name, version in rows}
    seen: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        name = _plain(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])
        if name in seen or ("extra ==" in requirement and not requirement.split(";")[0].strip().endswith("]")):
            continue
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # for another system or Python
            continue
        seen.add(name)
        assert pins.get(name) == found.version, f"{name} {found.version} is not pinned"
        wanted += found.requires or []
    assert {"kopf", "kubernetes", "uvicorn", "httpx", "aiohttp", "pydantic-core"} <= seen
    installs = [line for line in (ROOT / "deploy" / "Dockerfile").read_text().splitlines() if "pip install" in line or " install " in line]
    assert installs
    assert all("-c requirements-dev.txt" in line or "--no-deps" in line for line in installs)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("attribute", "value", "sentence"),
    [
        pytest.param("os.geteuid", lambda: 1000, "needs Linux and root", id="not root"),
        pytest.param("_SEARCH", "/nowhere", "apt-get install --no-install-recommends", id="programs that are not there"),
    ],
)
def test_a_machine_that_can_have_no_node_says_so_in_one_sentence(
    attribute: str, value: object, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(f"tests.controlplane.node.machine.{attribute}", value)
    said = machine.lacks()
    assert sentence in said
    assert "\n" not in said
