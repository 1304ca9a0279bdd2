"""Write bytes to standard output and other descriptors, all of them, however they are set up."""

from __future__ import annotations

import os
import select
import sys
import time


class StandardOutput:
    """Write to what ``sys.stdout`` is at the moment, past its buffers."""

    def __call__(self, data: bytes) -> None:
        """Write all of it, however long it takes."""
        stream = sys.stdout
        if stream is None:
            raise OSError("There is no standard output.")
        try:
            descriptor = stream.fileno()
        except (AttributeError, OSError, ValueError):  # captured, or closed
            stream.write(data.decode("utf-8", "backslashreplace"))
            stream.flush()
        else:
            write_all(descriptor, data)


def is_writable(descriptor: int) -> bool:
    """Tell whether a write would not wait."""
    try:
        return bool(select.select([], [descriptor], [], 0)[1])
    except (OSError, ValueError):
        return False


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes to a file descriptor, also to one that somebody made non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            time.sleep(0.005)
