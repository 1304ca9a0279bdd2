"""Offer ``glam db``: make, apply, take back and check a service's migrations."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from glam_sdk.config import load_settings
from glam_sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from glam_sdk.database.migrations import MigrationManager

_LOGS: Final = {"log": {"level": "WARNING", "format": "console"}}


def add_commands(commands: Any) -> None:
    """Add ``db`` and what it can do to the commands of ``glam``."""
    group = commands.add_parser("db", help="look after the schema of a service's database")
    actions = group.add_subparsers(dest="action", required=True)
    init = _action(actions, "init", _init, "write the files that migrations begin with")
    init.add_argument(
        "--models",
        required=True,
        help="module of the models, as in orders.models, or orders.models:Tables",
    )
    revision = _action(actions, "revision", _revision, "write a migration from the models")
    revision.add_argument("-m", "--message", required=True, help="what it does, in a few words")
    revision.add_argument("--empty", action="store_true", help="leave its content to you")
    upgrade = _action(actions, "upgrade", _upgrade, "apply migrations")
    upgrade.add_argument("revision", nargs="?", default="head", help="up to which (default: all)")
    upgrade.add_argument("--sql", action="store_true", help="print SQL, don't connect")
    downgrade = _action(actions, "downgrade", _downgrade, "take migrations back")
    downgrade.add_argument("revision", help="down to which: an id, -1 or base; from:to with --sql")
    downgrade.add_argument("--sql", action="store_true", help="print SQL, don't connect")
    _action(actions, "current", _current, "show which migration the database is at")
    _action(actions, "check", _check, "tell whether models, migrations and database agree")


def _action(actions: Any, name: str, run: Any, description: str) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(
        name, help=description, description=f"{description[0].upper()}{description[1:]}."
    )
    action.add_argument("service", help="name of the service, as given to init()")
    action.add_argument("--directory", type=Path, default=Path("migrations"))
    action.add_argument("--env-prefix", help="prefix of its variables, where it has its own")
    action.set_defaults(run=run)
    return action


def _migrations(options: argparse.Namespace) -> MigrationManager:
    from glam_sdk.database.migrations import MigrationManager

    # As `python -m` does: env.py imports the models from where the command was started.
    if "" not in sys.path:
        sys.path.insert(0, "")
    settings = load_settings(options.service, env_prefix=options.env_prefix)
    return MigrationManager(
        settings.database, service_name=options.service, directory=options.directory
    )


def _init(options: argparse.Namespace) -> int:
    migrations = _migrations(options)
    _must_have_tables(options.models)
    for file in migrations.init(options.models):
        sys.stdout.write(f"{file}\n")
    return 0


def _revision(options: argparse.Namespace) -> int:
    file = asyncio.run(
        _migrations(options).create_migration(options.message, autogenerate=not options.empty)
    )
    sys.stdout.write(f"{file or 'Models and migrations agree: there is nothing to write.'}\n")
    return 0


def _must_have_tables(models: str) -> None:
    """Refuse what could not be compared with the database; the file would have to be corrected."""
    module, _, base = models.partition(":")
    try:
        tables = getattr(importlib.import_module(module), base or "Base").metadata
    except ImportError as exc:
        raise ConfigurationError(f"The models cannot be imported: {exc}.") from exc
    except AttributeError as exc:
        raise ConfigurationError(
            f"{module} has no base class of models called {base or 'Base'}. "
            f"Name it: --models {module}:<class>."
        ) from exc
    if not tables.tables:
        sys.stderr.write(f"{module} declares no table so far.\n")


def _upgrade(options: argparse.Namespace) -> int:
    if options.sql:
        sys.stdout.write(_migrations(options).offline_sql(options.revision))
        return 0
    return _traced(options, lambda migrations: migrations.upgrade(options.revision))


def _downgrade(options: argparse.Namespace) -> int:
    if options.sql:
        sys.stdout.write(_migrations(options).offline_downgrade_sql(options.revision))
        return 0
    return _traced(options, lambda migrations: migrations.downgrade(options.revision))


def _traced(options: argparse.Namespace, work: Any) -> int:
    """Change the schema as the service, so that the migrations are in its traces."""
    import glam_sdk
    from glam_sdk.database.migrations.templates import require_environment

    require_environment(options.directory, options.service)
    # Standard output is for the answer; what is worth a warning is read by somebody.
    with redirect_stdout(sys.stderr):
        glam_sdk.init(options.service, env_prefix=options.env_prefix, overrides=_LOGS)
        try:
            migrations = _migrations(options)
            asyncio.run(work(migrations))
            revision = asyncio.run(migrations.current_revision())
        finally:
            glam_sdk.shutdown()
    sys.stdout.write(f"{options.service} is at {revision or 'base'}.\n")
    return 0


def _current(options: argparse.Namespace) -> int:
    revision = asyncio.run(_migrations(options).current_revision())
    sys.stdout.write(f"{revision or 'base'}\n")
    return 0


def _check(options: argparse.Namespace) -> int:
    differences = asyncio.run(_migrations(options).check())
    for difference in differences:
        sys.stdout.write(f"{difference}\n")
    if differences:
        return 1
    sys.stdout.write("Models, migrations and database agree.\n")
    return 0
