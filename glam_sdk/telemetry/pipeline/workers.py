"""Know whether this process is one worker of several, and which of them belong together.

``uvicorn --workers`` starts its workers through ``multiprocessing``, gunicorn forks them; both have
one parent for all, whose id and start time name the group. Other servers name a directory in
``telemetry.workers_dir``.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import uuid
from pathlib import Path

from opentelemetry.sdk.resources import Resource

from glam_sdk.telemetry import conventions as conv


def group_directory(service: str, explicit: Path | None) -> Path | None:
    """Return the directory of this process's group, or None where it works alone.

    Args:
        service: Name of the service; two services under one parent are two groups.
        explicit: The setting.

    Raises:
        OSError: The place for it cannot be used.
    """
    if sys.platform == "win32":  # neither of the servers has several workers there
        return None
    if explicit is not None:
        return explicit / service
    leader = _leader()
    if leader is None:
        return None
    base = Path(tempfile.gettempdir()) / f"glam-metrics-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    if base.is_symlink() or base.stat().st_uid != os.getuid():
        raise PermissionError(f"{base} belongs to somebody else: its sums could be anything.")
    _remove_orphans(base)
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in service)
    return base / f"{leader}-{started(leader)}-{safe}"


def _leader() -> int | None:
    """Return the process that has all workers as its children."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        return parent.pid
    # Also where the application was loaded before the fork: services join when they start.
    return os.getppid() if "gunicorn.arbiter" in sys.modules else None


def started(pid: int) -> str:
    """Return when a process started, so that a reused id is not taken for it; 0 if it has ended."""
    with contextlib.suppress(OSError, IndexError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if state not in {"Z", "X"}:
            return fields[18]
    return "0"


def _remove_orphans(base: Path) -> None:
    """Remove the directories of leaders that have ended."""
    for directory in base.iterdir():
        pid, _, rest = directory.name.partition("-")
        since = rest.partition("-")[0]
        if not pid.isdigit():
            continue
        is_there = True
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            is_there = False
        except OSError:
            continue
        if not is_there or since not in {"0", started(int(pid))}:
            shutil.rmtree(directory, ignore_errors=True)


def group_target(resource: Resource, directory: Path) -> Resource:
    """Return the resource of a whole group: the same whichever worker answers."""
    own = {conv.SERVICE_INSTANCE_ID, "process.pid"}
    shown = {key: value for key, value in resource.attributes.items() if key not in own}
    shown[conv.SERVICE_INSTANCE_ID] = str(uuid.uuid5(uuid.NAMESPACE_URL, directory.as_uri()))
    return Resource(shown, resource.schema_url)
