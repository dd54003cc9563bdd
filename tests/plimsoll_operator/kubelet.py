"""A kubelet for the in-memory API server: plays reader pods by running their own program on a folder of the test's."""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from tests.plimsoll_operator import forked
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.controller.resolving.reader_pod import CONTAINER
from plimsoll_operator.names import READER_LABEL
from plimsoll_operator.ports import PERSISTENT_VOLUME_CLAIMS, PODS, Manifest, Resource, key_of

Secrets: TypeAlias = Mapping[tuple[str, str], str]
"""Values by the name of the Secret and its key."""

MADE = "2026-11-25T12:00:00Z"
ENDED = "2026-11-25T12:00:05Z"


def run_container(pod: Manifest, folders: Mapping[str, Path], secrets: Secrets) -> tuple[int, bytes, str]:
    """What a node would do: the container's command with its arguments, volumes and Secrets. (exit status, log, termination message)."""
    (container,) = pod["spec"]["containers"]
    held = {row["name"]: _held_by(row) for row in pod["spec"].get("volumes", ())}
    arguments = [argument.replace("$$", "$") for argument in container["args"]]
    for mount in container.get("volumeMounts", ()):
        arguments = [row.replace(mount["mountPath"], str(folders[held[mount["name"]]]), 1) for row in arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    for row in container["env"]:
        reference = row.get("valueFrom", {}).get("secretKeyRef")
        environment[row["name"]] = secrets[reference["name"], reference["key"]] if reference else row["value"]
    runs, module, *more = container["command"][1:]
    assert runs == "-m", container["command"]
    with tempfile.TemporaryDirectory() as folder:
        log, message = Path(folder) / "log", Path(folder) / "message"
        message.touch()
        status = forked.run(module, [*more, *arguments, f"--termination-log={message}"], environment, log)
        return status, log.read_bytes(), message.read_text("utf-8")


def _held_by(volume: Manifest) -> str:
    """The claim's name, or the image."""
    claim: str | None = volume.get("persistentVolumeClaim", {}).get("claimName")
    return claim if claim is not None else str(volume["image"]["reference"])


class Kubelet(FakeKube):
    """Runs a reader pod as soon as it is made, unless `holds`; `folders` by name of the claim or image, `secrets` by name and key."""

    def __init__(
        self,
        folders: Mapping[str, Path] | None = None,
        secrets: Secrets | None = None,
        *,
        holds: bool = False,
        forge: Callable[[bytes], bytes] | None = None,
    ) -> None:
        super().__init__()
        self.folders, self.secrets, self.holds, self.forge = folders or {}, secrets or {}, holds, forge
        self.made: list[Manifest] = []

    def claim(self, namespace: str, name: str, phase: str = "Bound") -> None:
        manifest = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"namespace": namespace, "name": name}}
        self.create(PERSISTENT_VOLUME_CLAIMS, {**manifest, "status": {"phase": phase}})

    def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        made = super().create(resource, manifest)
        if resource == PODS and READER_LABEL in (manifest["metadata"].get("labels") or {}):
            self.made.append(made)
            made["metadata"]["creationTimestamp"] = MADE
            made["status"] = {"phase": "Pending"}
            made = self.replace(PODS, made)
            if not self.holds:
                self.play(made)
        return made

    def play(self, pod: Manifest) -> None:
        """Run it to its end; a forger answers in its place where there is one."""
        status, log, message = run_container(pod, self.folders, self.secrets)
        self.end(pod, status=status, log=self.forge(log) if self.forge is not None else log, message=message)

    def end(self, pod: Manifest, *, status: int = 0, log: bytes = b"", message: str = "", reason: str = "Completed") -> None:
        terminated = {"exitCode": status, "reason": reason, "finishedAt": ENDED, **({"message": message} if message else {})}
        self.logs[key_of(pod)] = log
        self.stand(pod, "Succeeded" if status == 0 else "Failed", state={"terminated": terminated})

    def stand(self, pod: Manifest, phase: str, *, state: Manifest | None = None, conditions: Iterable[Manifest] = (), **more: Any) -> None:
        latest = self.get(PODS, *key_of(pod))
        assert latest is not None
        rows = [{"name": CONTAINER, "state": state}] if state is not None else []
        latest["status"] = {"phase": phase, "containerStatuses": rows, "conditions": list(conditions), **more}
        self.replace(PODS, latest)
