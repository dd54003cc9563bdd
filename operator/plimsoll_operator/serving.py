"""How the engine's server is reached: port, protocol, and the names that it answers to. What makes it unreachable is refused by name.

Called by `render`, whose probes and Service follow, and by the decision, which refuses first. Pure; knows of vLLM the flags of its front
end (entrypoints/openai/cli_args.py, entrypoints/launcher.py), and no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from plimsoll_estimator import EngineVersion, InvalidInput, Unsupported, split_arguments
from plimsoll_operator.api import EngineSpec

DEFAULT_PORT: Final = 8000
_FIRST_FREE_PORT: Final = 1024
"""net.ipv4.ip_unprivileged_port_start of Linux, which not every container runtime lowers."""
EXTRA_ARGS: Final = "spec.engine.extraArgs"
# Probes come to the pod's own address, as requests of the Service do.
_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::", "None", ""})
_TLS: Final = frozenset({"--ssl-keyfile", "--ssl-certfile"})
"""With either, uvicorn speaks TLS alone (config.py: is_ssl)."""
_CLIENT_CERTIFICATE: Final = 2  # ssl.CERT_REQUIRED
_SET_BY_FIELDS: Final = {
    "--port": "spec.engine.port",
    "--revision": "spec.model.revision",
}
_NOT_THE_USERS: Final = {
    "--uds": "listens on a socket in the pod's file system, which neither probes nor the Service reach",
    "--grpc": "serves no HTTP: probes and the Service would find nothing",
    "--headless": "starts no API server: where a replica spans nodes the plan says it to its workers",
    "--data-parallel-size-local": "is the plan's to say, where a replica spans nodes",
    "--data-parallel-start-rank": "is the plan's to say, where a replica spans nodes",
    "--config": "names a file that nobody here reads: write its arguments here, and what has a field of spec.engine there",
}
"""What has nothing to do with GPU memory and cannot be said all the same."""

# Who may read the pod, the request or a log of either would read them.
_SECRETS: Final = {
    "--api-key": "name the key in spec.template.env: VLLM_API_KEY with valueFrom.secretKeyRef",
    "--hf-token": "name the hub's token in spec.model.source.huggingFace.tokenSecretRef",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Where the server listens and what it speaks; `named`: the user says which model names it answers to."""

    port: int
    scheme: Literal["HTTP", "HTTPS"]
    named: bool


def serving_of(engine: EngineSpec) -> Serving:
    """As the pods are told it.

    Arguments that cannot be read say nothing: those of a plan that an older release has let pass, or of a vLLM whose arguments nobody
    here knows, for which no pod is made.
    """
    try:
        given = {item.flag for item in split_arguments(engine.extra_args, engine.engine_version)}
    except (InvalidInput, Unsupported):
        given = set()
    return Serving(
        port=DEFAULT_PORT if engine.port is None else engine.port,
        scheme="HTTPS" if given & _TLS else "HTTP",
        named="--served-model-name" in given,
    )


def check_port(engine: EngineSpec) -> None:
    """Raises InvalidInput: the engine has no capability, so that where a node keeps low ports for root it could not listen."""
    if engine.port is not None and engine.port < _FIRST_FREE_PORT:
        limit = f"is a port that only privileged processes may listen on, and the engine has no privilege: {_FIRST_FREE_PORT} or above"
        raise InvalidInput("spec.engine.port", str(engine.port), f"{limit}, such as {DEFAULT_PORT}")


def check_reachable(extra_args: Sequence[str], version: EngineVersion) -> None:
    """Raises InvalidInput naming the flag: it is a field's to say, it holds a secret, or nobody would reach the server."""
    for item in split_arguments(extra_args, version):
        if item.flag in _SECRETS and item.values:
            raise InvalidInput(EXTRA_ARGS, item.spelling, f"holds a secret, which does not belong in arguments: {_SECRETS[item.flag]}")
        written = " ".join(item.tokens)
        if item.flag in _SET_BY_FIELDS:
            meant = "" if item.spelling == item.flag else f"({item.flag}) "
            raise InvalidInput(EXTRA_ARGS, written, f"{meant}is what {_SET_BY_FIELDS[item.flag]} says: set that, and leave it out here")
        if item.flag in _NOT_THE_USERS:
            raise InvalidInput(EXTRA_ARGS, written, _NOT_THE_USERS[item.flag])
        if item.flag == "--host" and item.values and item.values[0] not in _EVERY_ADDRESS:
            limit = "binds one address, and probes and the Service come to the pod's own: leave it out, or write 0.0.0.0 or ::"
            raise InvalidInput(EXTRA_ARGS, written, limit)
        if item.flag == "--api-server-count" and item.values and _number(item.values[0]) < 1:
            limit = "starts no server, as --headless does (vLLM entrypoints/cli/serve.py), and the pod would never be ready: 1 or more"
            raise InvalidInput(EXTRA_ARGS, written, limit)
        if item.flag == "--ssl-cert-reqs" and item.values and _number(item.values[0]) >= _CLIENT_CERTIFICATE:
            limit = "asks every client for a certificate, and the kubelet's probes have none: 1 asks those that have one"
            raise InvalidInput(EXTRA_ARGS, written, limit)


def _number(value: str) -> int:
    """An argument's whole number as argparse reads it (`int`): 02 is 2. What is none is left to the check of values."""
    try:
        return int(value)
    except ValueError:
        return 1
