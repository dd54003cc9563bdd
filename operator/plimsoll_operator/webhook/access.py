"""How the webhook reaches the API server: a kubeconfig ($KUBECONFIG) or the pod's ServiceAccount. Read at start.

Static tokens, token files and client certificates; a token file is read again as it rotates. It refuses kubeconfigs that
want a program or an auth provider run: the process that answers admissions starts no others.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from plimsoll_operator.names import SERVICE_ACCOUNT_FOLDER

_ACCOUNT: Final = Path(SERVICE_ACCOUNT_FOLDER)


class AccessError(Exception):
    """The credentials cannot be used; the message says what is missing or refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Server URL, trust, and one kind of credential. PEM texts; `token_file` wins over `token`."""

    server: str
    ca_pem: str | None = None
    token: str | None = None
    token_file: Path | None = None
    certificate_pem: str | None = None
    key_pem: str | None = None

    def client(self) -> httpx.AsyncClient:
        """An HTTP client with these credentials. Never follows redirects: a token must not travel to another host."""
        return httpx.AsyncClient(base_url=self.server, verify=self._tls(), auth=_Bearer(self), follow_redirects=False, trust_env=False)

    def current_token(self) -> str | None:
        """The bearer token as it is now, or None."""
        if self.token_file is not None:
            return self.token_file.read_text(encoding="utf-8").strip()
        return self.token

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.ca_pem) if self.ca_pem else ssl.create_default_context()
        if self.certificate_pem and self.key_pem:
            # OpenSSL loads client certificates from files only; the file lives as long as this call.
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                file.write(f"{self.certificate_pem}\n{self.key_pem}")
                file.flush()
                context.load_cert_chain(file.name)
        return context


class _Bearer(httpx.Auth):
    def __init__(self, access: Access) -> None:
        self._access = access

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._access.current_token()
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        yield request


def from_environment(environ: Mapping[str, str] = os.environ, account: Path = _ACCOUNT) -> Access:
    """$KUBECONFIG when set, else the pod's ServiceAccount. Raises AccessError."""
    if environ.get("KUBECONFIG"):
        return from_kubeconfig(Path(environ["KUBECONFIG"]))
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").exists():
        raise AccessError("neither KUBECONFIG is set nor is this a pod with a ServiceAccount")
    shown = f"[{host}]" if ":" in host else host
    return Access(server=f"https://{shown}:{port}", ca_pem=(account / "ca.crt").read_text("utf-8"), token_file=account / "token")


def from_kubeconfig(path: Path) -> Access:
    """The current context of one kubeconfig file. Raises AccessError naming what is missing or not supported."""
    try:
        config = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise AccessError(f"{path}: {error}") from error
    if not isinstance(config, Mapping):
        raise AccessError(f"{path}: is no kubeconfig")
    context = _named(path, config, "contexts", "context", str(config.get("current-context")))
    cluster = _named(path, config, "clusters", "cluster", str(context.get("cluster")))
    user = _named(path, config, "users", "user", str(context.get("user")))
    if "exec" in user or "auth-provider" in user:
        raise AccessError(f"{path}: credentials by exec or auth-provider are not supported here: give a token or a client certificate")
    if not cluster.get("server"):
        raise AccessError(f"{path}: the cluster has no server")
    token_file = user.get("tokenFile")
    return Access(
        server=str(cluster["server"]).rstrip("/"),
        ca_pem=_pem(path, cluster, "certificate-authority"),
        token=user.get("token"),
        token_file=path.parent / str(token_file) if token_file else None,
        certificate_pem=_pem(path, user, "client-certificate"),
        key_pem=_pem(path, user, "client-key"),
    )


def _named(path: Path, config: Mapping[str, Any], plural: str, singular: str, name: str) -> Mapping[str, Any]:
    entries = config.get(plural)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and entry.get("name") == name and isinstance(entry.get(singular), Mapping):
            found: Mapping[str, Any] = entry[singular]
            return found
    raise AccessError(f"{path}: has no {singular} named {name!r}")


def _pem(path: Path, entry: Mapping[str, Any], key: str) -> str | None:
    data, file = entry.get(f"{key}-data"), entry.get(key)
    try:
        if data:
            return base64.b64decode(str(data), validate=True).decode()
        return (path.parent / str(file)).read_text("utf-8") if file else None
    except (binascii.Error, UnicodeDecodeError, OSError) as error:
        raise AccessError(f"{path}: {key}: {error}") from error
