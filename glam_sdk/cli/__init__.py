"""Be the ``glam`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from glam_sdk._internal.version import __version__
from glam_sdk.cli import database, messaging
from glam_sdk.config import describe, load_settings, notes
from glam_sdk.errors import GlamBaseError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it succeeded, 1 when what it looked at is wrong, 2 for bad usage."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except GlamBaseError as exc:
        sys.stderr.write(f"{exc.code}: {exc.message}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="glam", description="Look after a glam_sdk service.")
    parser.add_argument("--version", action="version", version=f"glam_sdk {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    config = commands.add_parser(
        "config",
        help="show every setting, its value and where it comes from",
        description="Show every setting, its value (secrets masked) and where it comes from.",
    )
    config.add_argument("service", help="name of the service, as given to init()")
    config.add_argument("--env-prefix", help="prefix of its variables, where it has its own")
    config.add_argument("--root", type=Path, help="directory of config/ and .env (default: here)")
    config.add_argument("--set", action="store_true", help="only what is not a default")
    config.set_defaults(run=_config)
    database.add_commands(commands)
    messaging.add_commands(commands)
    return parser


def _config(options: argparse.Namespace) -> int:
    settings = load_settings(options.service, env_prefix=options.env_prefix, root=options.root)
    rows = [row for row in describe(settings) if not options.set or row.source != "default"]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for key, value, source in rows:
        sys.stdout.write(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {source}\n")
    for note in notes(settings):
        sys.stdout.write(f"Note: {note}\n")
    return 0
