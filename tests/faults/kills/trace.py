"""What a process did to files and said, as strace saw it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

CALLS = (
    "openat", "write", "pwrite64", "fdatasync", "fsync", "ftruncate", "unlink", "rename", "link", "linkat", "sendto",
    "fallocate",
)  # fmt: skip
TRACING = (
    "--seccomp-bpf", "--quiet=attach,personality,thread-execve", "-y", "-xx", "-s", "16777216",
    "-e", f"trace={','.join(CALLS)}",
)  # fmt: skip
"""What strace is told, besides where to write."""

_LINE = re.compile(r"^(\d+) +(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)$")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$")
_RESULT = re.compile(r"\) += (-?\d+)(<[^>]*>)?")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FILE = re.compile(r"^(?:\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})+)>")


class Step(NamedTuple):
    """One call, or one half of it: what was asked for, or that it is done."""

    call: str
    path: str
    other: str = ""
    """Of a change of names, the new one."""
    at: int = 0
    data: bytes = b""
    flags: str = ""
    done: bool = False
    """Of a sync: whether this is its end."""
    thread: int = 0


def read_trace(path: Path, folder: Path) -> list[Step]:
    """What strace wrote of a process that was started in a folder, in the order in which it happened.

    What was under way when the process was killed may have happened or not: the files, as they are, tell which.
    """
    steps: list[Step] = []
    begun: dict[int, Step] = {}
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        if not (match := _LINE.match(line)):
            continue
        thread, rest = int(match[1]), match[2]
        if resumed := _RESUMED.match(rest):
            if not rest.endswith("?") and (step := begun.pop(thread, None)) and _succeeded(resumed[1]):
                if step.call in ("fsync", "fdatasync"):
                    steps.append(step._replace(done=True))
                elif step.call == "openat":
                    steps.append(step)
            continue
        if not (call := _CALL.match(rest)) or call[1] not in CALLS:
            continue
        unfinished = rest.endswith(("<unfinished ...>", "?"))
        step = _step(call[1], call[2], thread, str(folder))
        if step is None or not (unfinished or _succeeded(rest)):
            continue
        if unfinished:
            begun[thread] = step
        if step.call in ("fsync", "fdatasync"):
            steps.append(step)
            if not unfinished:
                steps.append(step._replace(done=True))
        elif step.call != "openat" or not unfinished:
            steps.append(step)
    undone = [step for step in begun.values() if not _is_there(step)]
    return [step for step in steps if not any(step is one for one in undone)]


def _is_there(step: Step) -> bool:
    """Whether a call that never returned has done its work."""
    try:
        content = Path(step.path).read_bytes()
    except OSError:
        return step.call == "unlink"
    if step.call == "pwrite64":
        return content[step.at : step.at + len(step.data)] == step.data
    if step.call == "write":
        return content.endswith(step.data)
    return step.call in ("ftruncate", "fallocate") and len(content) == step.at


def _step(call: str, rest: str, thread: int, folder: str) -> Step | None:
    texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(rest)]
    file = _FILE.match(rest)
    at_file = bytes.fromhex(file[1].replace("\\x", "")).decode() if file else ""
    if call in ("unlink", "rename", "link"):
        paths = [_path(folder, text) for text in texts]
        return Step(call, paths[0], paths[1] if len(paths) > 1 else "", thread=thread)
    if call == "linkat":
        return Step(call, _path(folder, texts[0]), _path(folder, texts[1]), thread=thread)
    if call == "openat":
        return Step(call, _path(at_file, texts[0]), flags=rest, thread=thread)
    if call == "sendto":
        return Step(call, "", data=texts[0] if texts else b"", thread=thread)
    numbers = re.findall(r", (\d+)", _TEXT.sub("", rest))
    if call == "write":
        return Step(call, at_file, data=texts[0] if texts else b"", thread=thread)
    if call == "pwrite64":
        return Step(call, at_file, data=texts[0], at=int(numbers[1]), thread=thread)
    if call == "ftruncate":
        return Step(call, at_file, at=int(numbers[0]), thread=thread)
    if call == "fallocate":  # A mode, where it begins, and how much.
        return Step(call, at_file, at=int(numbers[1]) + int(numbers[2]), thread=thread)
    return Step(call, at_file, thread=thread) if call in ("fsync", "fdatasync") else None


def _succeeded(rest: str) -> bool:
    result = _RESULT.search(rest)
    return result is not None and int(result[1]) >= 0


def _path(folder: str, text: bytes) -> str:
    return str(Path(folder) / text.decode())
