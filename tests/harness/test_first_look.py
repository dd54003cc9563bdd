"""The first minute of the demo: an answer for every example before anything but the command's own two libraries is there."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.first_look import BASE, ROOT, follow, lines_about, verdict_on

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_has_its_sentence_and_an_answer(path: Path) -> None:
    said = verdict_on(path)
    lines = lines_about(path, said)
    assert lines[0].startswith(f"examples/{path.name}: ")
    assert len(lines[0]) > len(path.name) + 30, "what the example shows"
    plan = said.get("plan")
    told = str(plan["max_model_len"]) if plan else said["message"]
    assert told in lines[1]


@pytest.mark.thorough
def test_it_needs_the_commands_own_libraries_and_no_more() -> None:
    wanted = {line.strip().split('"')[1].split(">")[0] for line in dependencies()}
    assert set(BASE.values()) == wanted
    code = (
        "import runpy, sys, pathlib\n"
        "look = runpy.run_path('tests/e2e/first_look.py', run_name='look')\n"
        "look['answers']()\n"
        "sys.exit(bool({'kopf', 'kubernetes', 'httpx', 'uvicorn', 'prometheus_client', 'pytest'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(f"examples/{path.name}: " in done.stdout for path in EXAMPLES)


def dependencies() -> list[str]:
    text = (ROOT / "pyproject.toml").read_text()
    return [line for line in text.partition("\ndependencies = [")[2].partition("\n]")[0].splitlines() if line.strip()]


def test_the_programs_are_found_with_the_standard_library_alone() -> None:
    code = (
        "import runpy, sys\n"
        "sys.path.insert(0, 'tests/controlplane')\n"
        "runpy.run_path('tests/controlplane/assets.py', run_name='look')\n"
        "sys.exit(bool({'yaml', 'pydantic', 'cryptography'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("status", [0, 3])
def test_what_is_said_about_the_programs_is_shown_and_their_status_counts(
    status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    with log.open("wb") as out:
        programs = subprocess.Popen(["sh", "-c", f"echo building; sleep 0.2; echo built; exit {status}"], stdout=out)
    assert follow(programs, log) == status
    assert capsys.readouterr().out == "building\nbuilt\n"
