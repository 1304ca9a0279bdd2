"""Let a start that fails for a reason we understand end with one sentence, not a traceback.

The message already says what is wrong, where the value came from and what to do.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final

from glam_sdk.config import Settings, provenance
from glam_sdk.errors import GlamBaseError

EXIT_CODE: Final = 3
"""Exit code of a worker process that could not start; uvicorn's own for a failed start."""


@contextmanager
def failing_plainly() -> Iterator[None]:
    """Arrange that an error of ours leaving the block is shown as a sentence if nobody catches it.

    Nothing is changed as long as nothing fails. A worker process of a server ends at once, because
    its parent prints the traceback of anything else.
    """
    try:
        yield
    except GlamBaseError as exc:
        if multiprocessing.parent_process() is not None:
            sys.stderr.write(_sentence(exc))
            raise SystemExit(EXIT_CODE) from None  # the sentence is written
        _show_our_errors_as_sentences()
        raise


@contextmanager
def telling_sources(settings: Settings, section: str) -> Iterator[None]:
    """Add to an error of ours where the settings of its component came from.

    Args:
        settings: The service's settings.
        section: Their section; the component has the same name.
    """
    try:
        yield
    except GlamBaseError as exc:
        found = sorted(
            f"{key} from {source}"
            for key, source in provenance(settings).items()
            if key.startswith(f"{section}.") and source.kind != "default"
        )
        name = settings.service.name
        told = f"Settings in force: {', '.join(found)}." if found else "All settings are defaults."
        exc.message = f"{exc.message} {told} See all of them by: glam config {name}"
        exc.args = (exc.message,)
        raise


def _sentence(exc: GlamBaseError) -> str:
    return f"{exc.code}: {exc.message}\n"


def _show_our_errors_as_sentences() -> None:
    previous = sys.excepthook
    if getattr(previous, "__module__", "") == __name__:
        return

    def hook(kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
        if isinstance(exc, GlamBaseError):
            sys.stderr.write(_sentence(exc))
        else:
            previous(kind, exc, trace)

    sys.excepthook = hook
