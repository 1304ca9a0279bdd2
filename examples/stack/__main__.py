"""Build the stack's programs, or run them until Ctrl-C.

``python -m examples.stack build`` and ``python -m examples.stack run``.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from examples.stack import programs
from examples.stack.stack import Ports, Stack


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m examples.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build what is missing")
    build.add_argument(
        "--minutes", type=float, default=60, help="give up after so long; 0 only looks"
    )
    run = commands.add_parser("run", help="run the stack until Ctrl-C")
    run.add_argument("--data", type=Path, help="folder that keeps the data (default: for once)")
    arguments = parser.parse_args()
    try:
        return _build(arguments.minutes) if arguments.command == "build" else _run(arguments.data)
    except programs.NotAvailableError as exc:
        print(exc, file=sys.stderr)
        return 1


def _build(minutes: float) -> int:
    deadline = time.monotonic() + minutes * 60
    for program in programs.BUILT:
        begun = time.monotonic()
        path = programs.build(program, deadline=deadline) if minutes > 0 else programs.find(program)
        print(f"{path}  ({time.monotonic() - begun:.0f} s)", flush=True)
    return 0


def _run(data: Path | None) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        tempfile.TemporaryDirectory(prefix="glam-stack-") as folder,
        Stack((data or Path(folder)).absolute(), Ports()) as stack,
    ):
        print(f"Services send to  OTEL_EXPORTER_OTLP_ENDPOINT={stack.otlp_endpoint}")
        print(f"Jaeger            {stack.jaeger_url}")
        print(f"Prometheus        {stack.prometheus_url}")
        print(f"Logs              {stack.logs_url}/select/vmui")
        print(f"Scraped services  {stack.targets_file}")
        print("Ctrl-C ends it.", flush=True)
        signal.pause()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
