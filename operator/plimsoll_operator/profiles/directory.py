"""A checkpoint folder on a file system. Used by `plimsoll profile from-dir`, the reader and `cache`. Reads no more than it is asked for."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from plimsoll_estimator import InvalidInput
from plimsoll_operator.profiles.source import MAX_FILES, NotPermitted, SourceFailure
from plimsoll_operator.reasons import NoShape


class Directory:
    """The files at the top of one folder; links are followed, as the hub's cache is made of links."""

    __slots__ = ("_folder", "_revision")

    def __init__(self, folder: Path, *, revision: str | None) -> None:
        self._folder = folder
        self._revision = revision

    @property
    def kind(self) -> str:
        """Never the path: it would tell the cluster about the machine that made the profile."""
        return "directory"

    @property
    def revision(self) -> str | None:
        """As the caller says: a folder does not know."""
        return self._revision

    def sizes(self) -> Mapping[str, int]:
        """Names and sizes in bytes of regular files. Raises SourceFailure, and InvalidInput above MAX_FILES entries."""
        found: dict[str, int] = {}
        try:
            with os.scandir(self._folder) as entries:
                for count, entry in enumerate(entries):
                    if count >= MAX_FILES:
                        raise InvalidInput(str(self._folder), count, f"holds more than {MAX_FILES} files")
                    if entry.is_file():
                        found[entry.name] = entry.stat().st_size
        except OSError as error:
            raise failure(self._folder, error) from error
        return found

    def read(self, name: str, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`. Raises SourceFailure."""
        try:
            with (self._folder / name).open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            raise failure(self._folder / name, error) from error


def failure(path: Path, error: OSError) -> SourceFailure:
    """What went wrong with a file, and of one that may not be read, whose it is."""
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    sentence = f"{path}: {error.strerror or type(error).__name__}"
    if isinstance(error, PermissionError):
        return NotPermitted(NoShape.UNREACHABLE, f"{sentence}{_whose(path)}")
    return SourceFailure(NoShape.NOT_FOUND if missing else NoShape.UNREACHABLE, sentence)


def _whose(path: Path) -> str:
    """Whose the file is and who asks: by that alone it is seen what to change. Empty where not even that may be seen."""
    try:
        found = path.stat()
    except OSError:
        return f" to user {os.geteuid()}"
    mode = f"mode {stat.S_IMODE(found.st_mode):04o} of user {found.st_uid}, group {found.st_gid}"
    groups = ", ".join(str(number) for number in sorted({os.getegid(), *os.getgroups()}))
    return f" ({mode}, read as user {os.geteuid()}, groups {groups})"
