"""With what the webhook reaches the API server: tokens, service account, kubeconfig, and what it says where none will do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from plimsoll_operator.webhook.access import Access, AccessError, from_environment, from_kubeconfig


def kubeconfig(folder: Path, user: dict[str, Any], **cluster: Any) -> Path:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://api:6443/"} | cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def test_a_token_file_is_read_again_on_every_request(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n", encoding="utf-8")
    access = from_kubeconfig(kubeconfig(tmp_path, {"tokenFile": "token"}))
    assert (access.server, access.current_token()) == ("https://api:6443", "first")
    (tmp_path / "token").write_text("second\n", encoding="utf-8")
    assert access.current_token() == "second"


def test_in_a_pod_the_service_account_is_used(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t", encoding="utf-8")
    (tmp_path / "ca.crt").write_text("ca", encoding="utf-8")
    access = from_environment({"KUBERNETES_SERVICE_HOST": "fd00::1"}, tmp_path)
    assert (access.server, access.ca_pem, access.current_token()) == ("https://[fd00::1]:443", "ca", "t")


@pytest.mark.parametrize(
    ("user", "cluster", "says"),
    [
        ({"exec": {"command": "login"}}, {}, "exec or auth-provider"),
        ({"auth-provider": {}}, {}, "exec or auth-provider"),
        ({"client-certificate-data": "no base64!"}, {}, "client-certificate"),
        ({"client-key": "missing.pem"}, {}, "client-key"),
        ({}, {"server": ""}, "no server"),
    ],
)
def test_credentials_that_cannot_be_used_are_named(user: dict[str, Any], cluster: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=says):
        from_kubeconfig(kubeconfig(tmp_path, user, **cluster))


@pytest.mark.parametrize("text", ["", "[]", "a: [", "current-context: x", "contexts: 3\n"])
def test_files_that_are_no_kubeconfig_are_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AccessError, match="kubeconfig"):
        from_kubeconfig(path)


def test_nothing_to_reach_the_api_server_with_is_said(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="KUBECONFIG"):
        from_environment({}, tmp_path)


def test_a_token_is_sent_and_redirects_are_not_followed() -> None:
    client = Access(server="http://api", token="secret").client()
    assert client.follow_redirects is False
    request = next(client.auth.sync_auth_flow(httpx.Request("GET", "http://api/x"))) if client.auth else None
    assert request is not None
    assert request.headers["authorization"] == "Bearer secret"
