"""Official binaries of the control plane's programs, from a stand-in on this machine: used only where their published checksums hold."""

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.controlplane import assets, downloads
from tests.controlplane.assets import Family
from tests.controlplane.downloads import Fetcher, Published, Release, sum_of

PROGRAM = b"#!/bin/sh\necho Kubernetes v1.36.3\n"
SUM = hashlib.sha256(PROGRAM).hexdigest()


@contextmanager
def stand_in(files: dict[str, bytes], *, short: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """A server of these files; of those in `short` it sends half and closes."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path not in files:
                return self.send_error(404)
            body = files[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.path in short else body)
            return None

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def one(base: str, name: str = "tool", sums: str = "tool.sha256", member: str = "") -> Release:
    return Release(version="1.0.0", files=(Published(url=f"{base}/{name}", sums_url=f"{base}/{sums}", members={"tool": member}),))


SUMS = [
    ("one sum alone", SUM, "tool", SUM),
    ("one sum alone, with a line's end and capitals", f"{SUM.upper()}\n", "tool", SUM),
    ("sums and names", f"{'0' * 64}  other\n{SUM}  tool\n", "tool", SUM),
    ("sums and names of files read as bytes", f"{SUM} *tool\n", "tool", SUM),
    ("of other files only", f"{'0' * 64}  other\n{'1' * 64}  more\n", "tool", None),
    ("of one other file", f"{'0' * 64}  other\n", "tool", None),
    ("a release's assets", json.dumps({"assets": [{"name": "other"}, {"name": "tool", "digest": f"sha256:{SUM}"}]}), "tool", SUM),
    ("assets without a digest", json.dumps({"assets": [{"name": "tool", "digest": None}]}), "tool", None),
    ("assets with another kind of digest", json.dumps({"assets": [{"name": "tool", "digest": "md5:00"}]}), "tool", None),
    ("a page of a proxy", "<html>sign in</html>", "tool", None),
    ("half of a JSON document", '{"assets": [', "tool", None),
    ("nothing", "", "tool", None),
]


@pytest.mark.parametrize(("why", "text", "name", "found"), SUMS, ids=[row[0] for row in SUMS])
def test_a_published_sum_is_read_in_every_form(why: str, text: str, name: str, found: str | None) -> None:
    assert sum_of(text, name) == found


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def fetcher(said: list[str]) -> Fetcher:
    return Fetcher(say=said.append, environ={})


def test_a_program_is_taken_where_its_checksum_holds(tmp_path: Path, fetcher: Fetcher, said: list[str]) -> None:
    with stand_in({"/tool": PROGRAM, "/tool.sha256": SUM.encode()}) as (base, _):
        found = fetcher.fetch(one(base), tmp_path / "got")
    assert found == {"tool": tmp_path / "got" / "tool"}
    assert found["tool"].read_bytes() == PROGRAM
    assert found["tool"].stat().st_mode & 0o111
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["tool"]
    assert said == []


def test_a_program_is_taken_out_of_an_archive_and_nothing_else_of_it(tmp_path: Path, fetcher: Fetcher) -> None:
    body = archive(linux__tool=PROGRAM, linux__README=b"x")
    with stand_in({"/t.tar.gz": body, "/SHA256SUMS": f"{hashlib.sha256(body).hexdigest()}  t.tar.gz\n".encode()}) as (base, _):
        found = fetcher.fetch(one(base, "t.tar.gz", "SHA256SUMS", "linux/tool"), tmp_path / "got")
    assert found is not None
    assert found["tool"].read_bytes() == PROGRAM
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["tool"]


REFUSED = [
    ("there is no such release", {}, (), False),
    ("no checksum is published", {"/tool": PROGRAM}, (), False),
    ("the checksum is none", {"/tool": PROGRAM, "/tool.sha256": b"<html>"}, (), False),
    ("the file is missing", {"/tool.sha256": SUM.encode()}, (), False),
    ("the file ends early", {"/tool": PROGRAM, "/tool.sha256": SUM.encode()}, ("/tool",), False),
    ("the checksum does not hold, which is said", {"/tool": PROGRAM + b"#", "/tool.sha256": SUM.encode()}, (), True),
]


@pytest.mark.parametrize(("why", "files", "short", "aloud"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_not_what_was_published_is_not_used(
    why: str, files: dict[str, bytes], short: tuple[str, ...], aloud: bool, tmp_path: Path, fetcher: Fetcher, said: list[str]
) -> None:
    with stand_in(files, short=short) as (base, _):
        assert fetcher.fetch(one(base), tmp_path / "got") is None
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"
    assert bool(said) == aloud
    assert not aloud or "published is" in said[0]


def test_an_archive_without_the_program_is_not_used(tmp_path: Path, fetcher: Fetcher) -> None:
    body = archive(linux__other=PROGRAM)
    with stand_in({"/t.tar.gz": body, "/SHA256SUMS": f"{hashlib.sha256(body).hexdigest()}  t.tar.gz\n".encode()}) as (base, _):
        assert fetcher.fetch(one(base, "t.tar.gz", "SHA256SUMS", "linux/tool"), tmp_path / "got") is None


def test_a_machine_without_a_network_waits_once_and_says_nothing(tmp_path: Path, fetcher: Fetcher, said: list[str]) -> None:
    with stand_in({}) as (base, _):
        pass  # nobody listens there any more
    assert fetcher.fetch(one(base), tmp_path / "got") is None
    assert fetcher.unreachable == {base.removeprefix("http://")}
    with stand_in({"/tool": PROGRAM, "/tool.sha256": SUM.encode()}) as (again, asked):
        fetcher.unreachable.add(again.removeprefix("http://"))
        assert fetcher.fetch(one(again), tmp_path / "got") is None
        assert asked == []
    assert said == []


def test_it_can_be_switched_off(tmp_path: Path, said: list[str]) -> None:
    with stand_in({"/tool": PROGRAM, "/tool.sha256": SUM.encode()}) as (base, asked):
        assert Fetcher(say=said.append, environ={downloads.SWITCH: "0"}).fetch(one(base), tmp_path / "got") is None
        assert asked == []


@pytest.mark.parametrize("family", assets.FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_every_family_has_a_release_that_holds_all_of_its_programs(family: Family, arch: str) -> None:
    assert family.released is not None
    release = family.released(arch)
    assert {program for file in release.files for program in file.members} == set(family.programs)
    for file in release.files:
        assert file.url.startswith("https://")
        assert file.sums_url.startswith("https://")
        assert f"v{release.version}" in file.url
        assert arch in file.url
    version = assets.parse_version(release.version)
    assert version is not None
    assert family.minimum <= version < family.below


@pytest.mark.parametrize("family", assets.FAMILIES, ids=lambda family: family.name)
def test_what_is_fetched_is_the_release_that_would_be_built(family: Family) -> None:
    assert family.released is not None
    module = (assets.GOMODS / family.name / "go.mod").read_text()
    assert f" v{family.released('amd64').version}\n" in module


def test_fetched_programs_are_kept_and_of_a_fitting_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    family = assets.Family(
        name="tool", programs={"tool": ""}, version_command={"tool": ("--version",)}, minimum=(1, 36), below=(1, 37), ldflags=""
    )
    with stand_in({"/tool": PROGRAM, "/tool.sha256": SUM.encode()}) as (base, asked):
        ours = replace(family, released=lambda arch: one(base))
        fetcher = Fetcher(say=said.append, environ={})
        found = assets.fetched(ours, fetcher)
        assert found is not None
        assert found["tool"].is_relative_to(tmp_path)
        assert assets.fetched(ours, fetcher) == found
        assert len(asked) == 2, "kept programs are not fetched again"
        assert assets.fetched(replace(ours, minimum=(1, 37), below=(1, 38)), fetcher) is None
    assert len(said) == 1
    assert said[0].endswith("their checksums hold")
