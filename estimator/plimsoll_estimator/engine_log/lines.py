"""The lines of a log as their writer meant them: without colours, times, prefixes of kubectl, docker or the runtime; with their worker.

Called by `reader`. What comes in is text from outside: any text at all gives lines, never an exception, and bounds hold in characters,
lines and characters of a line. Knows how logs are carried and how vLLM heads its lines; knows nothing of what they say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.outside import parse_json_object

MOST_CHARACTERS: Final = 4 << 20
MOST_LINES: Final = 40_000
LONGEST_LINE: Final = 16 << 10
MOST_FOLLOWING: Final = 12
"""A message wrapped by a narrow terminal is taken together again over so many lines."""

_COLOURS: Final = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]|\x1b\][^\x07\x1b]{0,80}\x07|\[[0-9;]{1,9}m")
"""ANSI's escapes; copies of a log often have lost the escape character itself."""
_LEVELS: Final = "DEBUG|INFO|WARNING|ERROR|CRITICAL"
_HEAD: Final = re.compile(
    rf"\b({_LEVELS}) +(?:\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d{{1,6}})? +)?(?:\[[^\]\s]{{1,120}}:\d{{1,6}}\]|[\w./]{{1,80}}:\d{{1,6}}\]) ?"
)
"""vllm/logger.py: _FORMAT. Until 0.7 without the brackets; people leave the time away."""
_WORKER: Final = re.compile(
    r"\(((?:Vllm|Ray)?Worker\w*|EngineCore\w*|APIServer\w*|ApiServer\w*)((?:[ =-]\w{1,20}){0,2}) pid=(\d{1,9})[^()]{0,60}\) ?"
)
"""vllm/utils/system_utils.py: _add_prefix; Ray writes the like of its own."""
_PARTS: Final = re.compile(r"(?<![A-Z])((?:DP|PP|TP)\d{1,4})(?=_|$)")
_RANK: Final = re.compile(r"rank[ =](\d{1,4})")
_CARRIERS: Final = re.compile(
    r"^(?:\[pod/[^\]]{1,300}\] ?|[\w.-]{1,80} +\| |\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?\]? ?"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S{1,80} \S{1,80}: |(?:stdout|stderr) [FP] ?|\[rank\d{1,4}\]: ?)"
)
"""kubectl --prefix, docker compose, timestamps of either, the journal, the container runtime's own file, torch's ranks."""
_PARTIAL: Final = re.compile(r"^\S{20,40} (?:stdout|stderr) P ")


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `level` is empty where it has no head of vLLM's logger; `following` are lines without one that come after it."""

    worker: str
    process: str
    level: str
    message: str
    following: tuple[str, ...] = ()


def lines_of(text: str) -> tuple[tuple[Line, ...], bool]:
    """The lines that are read, and whether some were not: of a text that is too long its beginning and its end are."""
    cut = len(text) > MOST_CHARACTERS
    if cut:
        text = text[: MOST_CHARACTERS * 3 // 4] + "\n" + text[-MOST_CHARACTERS // 4 :]
    rows = text.splitlines()
    if len(rows) > MOST_LINES:
        cut = True
        rows = rows[: MOST_LINES * 3 // 4] + rows[-MOST_LINES // 4 :]
    cut = cut or any(len(row) > LONGEST_LINE for row in rows)
    found = [line for row in _whole(rows) if (line := _line(row[:LONGEST_LINE])).message]
    return tuple(_with_following(found)), cut


def _whole(rows: Sequence[str]) -> Iterator[str]:
    """Rows of a runtime's file put together where it had cut them (its tag P)."""
    begun = ""
    for row in rows:
        if _PARTIAL.match(row) and len(begun) < LONGEST_LINE:
            begun += _PARTIAL.sub("", row) if begun else _PARTIAL.sub(lambda match: match[0].replace(" P ", " F "), row)
            continue
        yield begun + (_carried(row) if begun else row)
        begun = ""
    if begun:
        yield begun


def _carried(row: str) -> str:
    for _ in range(4):
        shorter = _CARRIERS.sub("", row, count=1)
        if shorter == row:
            break
        row = shorter
    return row


def _line(row: str) -> Line:
    row = _COLOURS.sub("", row) if "\x1b" in row or "m" in row else row
    row = _carried(row)
    if row.startswith("{") and (found := _of_json(row)) is not None:
        return found
    head = _HEAD.search(row)
    if head is not None:
        process, worker = _writer(row[: head.start()])
        return Line(worker, process, head[1], row[head.end() :].rstrip())
    label, end = None, 0
    while (label := _WORKER.match(row, end)) is not None:
        end = label.end()
    process, worker = _writer(row[:end])
    rest = _carried(row[end:])
    if rest.startswith("{") and (found := _of_json(rest)) is not None:
        return Line(found.worker or worker, found.process or process, found.level, found.message)
    return Line(worker, process, "", rest.rstrip())


def _writer(prefix: str) -> tuple[str, str]:
    """(process, worker) of the last label in what stands before a message."""
    labels = list(_WORKER.finditer(prefix[-400:]))
    if not labels:
        return "", ""
    kind, more, pid = labels[-1][1], labels[-1][2], labels[-1][3]
    return f"{kind}{more}", _worker_of(kind + more, pid)


def _worker_of(name: str, pid: str) -> str:
    """TP1, PP0_TP1, DP0, `rank 3`; `pid 12` where a worker has no rank in its name."""
    if parts := _PARTS.findall(name.replace(" ", "_").replace("=", "_")):
        return "_".join(parts)
    if (rank := _RANK.search(name)) is not None:
        return f"rank {rank[1]}"
    return f"pid {pid}" if name.startswith(("Ray", "VllmWorkerProcess")) else ""


def _of_json(row: str) -> Line | None:
    """A line of a JSON formatter (`message`), or of docker's own file (`log`)."""
    try:
        said = parse_json_object(row, "log line", most_bytes=LONGEST_LINE)
    except InvalidInput:
        return None
    if isinstance(said.get("log"), str):
        inner = said["log"].strip("\r\n")
        return None if inner.startswith("{") and '"log"' in inner else _line(inner)
    message = said.get("message")
    if not isinstance(message, str):
        return None
    level = said.get("levelname", said.get("level"))
    name, pid = said.get("processName"), said.get("process")
    process = name if isinstance(name, str) and name.startswith(("Worker", "VllmWorker", "EngineCore", "APIServer", "ApiServer")) else ""
    inner = _line(_COLOURS.sub("", message).split("\n")[0][:LONGEST_LINE]) if not message.startswith("{") else None
    if inner is not None and inner.level:
        return inner
    return Line(
        _worker_of(process, str(pid)) if process else "",
        process[:80],
        level.upper() if isinstance(level, str) and re.fullmatch(_LEVELS, level.upper()) else "INFO",
        " ".join(message.split("\n")).rstrip(),
    )


def _with_following(lines: Sequence[Line]) -> Iterator[Line]:
    for index, line in enumerate(lines):
        following = []
        for later in lines[index + 1 : index + 1 + MOST_FOLLOWING]:
            if later.level or (later.process and later.process != line.process):
                break
            following.append(later.message)
        yield Line(line.worker, line.process, line.level, line.message, tuple(following)) if following else line
