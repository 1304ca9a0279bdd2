"""Set the logs up from settings: format, levels, outputs and limits."""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opentelemetry import metrics
from opentelemetry._logs import LoggerProvider
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from glam_sdk.config import Settings
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry import log_levels, logs, stdlib_logging
from glam_sdk.telemetry.log_chain import OWN_LOGGER
from glam_sdk.telemetry.log_file import RotatingFile
from glam_sdk.telemetry.log_output import LineWriter, StandardOutput
from glam_sdk.telemetry.log_repeats import RepeatLimiter
from glam_sdk.telemetry.metrics import get_meter

_UNKNOWN: Final = "unknown_service"  # until init names it


@dataclass(slots=True)
class _Outputs:
    """Hold the writers of this process; standard output's lives as long as the process."""

    stdout: LineWriter | None = None
    file: LineWriter | None = None
    opened: RotatingFile | None = None
    counted_by: Callable[[], MeterProvider | None] = lambda: None

    def all(self) -> list[LineWriter]:
        return [writer for writer in (self.stdout, self.file) if writer is not None]


_outputs = _Outputs()


def configure_logging(
    settings: Settings, *, service: str | None = None, provider: LoggerProvider | None = None
) -> None:
    """Point structlog and the standard library at our chain, and the chain at its outputs.

    Call it after the meter provider is set, so that lost lines are counted in it.

    Args:
        settings: Of the service.
        service: Name in the lines, where ``OTEL_SERVICE_NAME`` gives another one.
        provider: Where OTLP log records go, or None.
    """
    chain = logs.pipeline()
    chain.repeats = RepeatLimiter(settings.log.repeat_limit, settings.log.repeat_window_s)
    logs.configure(
        service=service or settings.service.name,
        environment=settings.service.environment,
        console=_is_console(settings),
        provider=provider,
    )
    chain.write = open_outputs(settings)
    stdlib_logging.adopt()
    log_levels.apply_levels(settings.log.level, settings.log.levels)
    _count_losses()


def flush(timeout_s: float) -> bool:
    """Write what is waiting; False when the time was up."""
    deadline = time.monotonic() + timeout_s
    done = [out.flush(max(0.0, deadline - time.monotonic())) for out in _outputs.all()]
    return all(done)


def details() -> dict[str, int]:
    """Return what the health report shows of the lines themselves, over all outputs."""
    return {
        "log_lines_queued": sum(writer.waiting for writer in _outputs.all()),
        "log_lines_lost": sum(writer.lost_total for writer in _outputs.all()),
        "log_lines_held_back": logs.pipeline().repeats.held_total,
    }


def open_outputs(settings: Settings) -> Callable[[bytes], None]:
    """Return what writes a line to standard output and, where there is one, to the log file."""
    if _outputs.stdout is None:
        early = logs.pipeline().write  # what was logged before keeps its place
        ours = (
            early if isinstance(early, LineWriter) else LineWriter(StandardOutput(), name="stdout")
        )
        _outputs.stdout = _reporting(ours)
    close_file()
    _outputs.file = _open_file(settings)
    first, second = _outputs.stdout, _outputs.file
    if second is None:
        return first.write  # a method costs less than an object that can be called

    def write_both(line: bytes) -> None:
        first.write(line)
        second.write(line)

    return write_both


def close_file() -> None:
    """Write what is waiting for the log file and close it."""
    if _outputs.file is not None:
        _outputs.file.close()
    if _outputs.opened is not None:
        _outputs.opened.close()
    _outputs.file = _outputs.opened = None


def _file_path(settings: Settings) -> Path | None:
    name, mode = settings.service.name, settings.log.file_mode
    if mode == "off":
        return None
    wanted = mode == "on" or settings.service.environment == "prod"
    usual = Path("logs") / f"{name}.log" if wanted and name != _UNKNOWN else None
    return settings.log.file or usual


def _open_file(settings: Settings) -> LineWriter | None:
    path = _file_path(settings)
    if path is None:
        return None
    file = RotatingFile(
        path, max_bytes=settings.log.file_max_bytes, backups=settings.log.file_backups
    )
    try:
        file.open()
    except OSError as exc:
        _tell("log.file_unavailable", {"path": str(path), "reason": str(exc)})
        return None
    _outputs.opened = file
    return _reporting(LineWriter(file, name="file"))


def _reporting(writer: LineWriter) -> LineWriter:
    writer.tell, writer.on_idle = _tell, _write_due_repeats
    return writer


def _tell(event: str, fields: dict[str, Any]) -> None:
    logs.pipeline().log("warning", OWN_LOGGER, event, fields)


def _write_due_repeats() -> None:
    chain = logs.pipeline()
    if chain.repeats.is_due:
        chain.write_repeats()


def _count_losses() -> None:
    """Report in a metric what was not written; once for each meter provider."""
    provider = metrics.get_meter_provider()
    if _outputs.counted_by() is provider:
        return
    _outputs.counted_by = weakref.ref(provider)
    get_meter("glam_sdk.telemetry").create_observable_counter(
        conv.GLAM_LOG_DROPPED_LINES,
        callbacks=[_losses],
        unit="{line}",
        description="Log lines that were not written: lost by an output, or held back as repeats.",
    )


def _losses(_: CallbackOptions) -> Iterable[Observation]:
    for writer in _outputs.all():
        yield Observation(writer.lost_total, {conv.GLAM_REASON: f"{writer.name}_lost"})
    held = logs.pipeline().repeats.held_total
    yield Observation(held, {conv.GLAM_REASON: "repeated"})


def _is_console(settings: Settings) -> bool:
    if settings.log.format != "auto":
        return settings.log.format == "console"
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return settings.service.environment == "dev" and is_terminal
