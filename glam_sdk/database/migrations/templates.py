"""Write the files that a service's migrations begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from glam_sdk.errors import ConfigurationError

_ENV: Final = '''\
"""Run the migrations of {service}."""

from {module} import {base}

from glam_sdk.database.migrations import run_migrations

# A service that emits or handles events has the outbox's tables too:
# from glam_sdk.outbox import outbox_metadata
# run_migrations({base}.metadata, outbox_metadata, service_name="{service}")
run_migrations({base}.metadata, service_name="{service}")
'''

_SCRIPT: Final = '''\
"""${message.replace(chr(92), "/").replace('"""', "'")}.

Revision ${up_revision}, ${"after " + comma(down_revision) if down_revision else "the first"}.
Made ${create_date}.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Go forward."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Go back."""
    ${downgrades if downgrades else "pass"}
'''

_INI: Final = """\
# For Alembic's own command; `glam db` needs no file.
[alembic]
script_location = {directory}
prepend_sys_path = .
"""


def create_alembic_env_template(service: str, base_module: str) -> str:
    """Return the text of an ``env.py`` that leaves everything to ``run_migrations``.

    Args:
        service: Name of the service, as given to ``init``.
        base_module: Module of its models, such as ``orders.models``; ``orders.models:Tables`` when
            the base class is not called ``Base``.
    """
    module, _, base = base_module.partition(":")
    return _ENV.format(service=service, module=module, base=base or "Base")


def write_environment(directory: Path, service: str, base_module: str) -> list[Path]:
    """Make the directory of a service's migrations; return the files that were written.

    Args:
        directory: Where; ``alembic.ini`` goes beside it, unless there is one.
        service: Name of the service.
        base_module: As for :func:`create_alembic_env_template`.

    Raises:
        ConfigurationError: When there is an environment already; nothing is overwritten.
    """
    if (directory / "env.py").exists():
        raise ConfigurationError(
            f"{directory / 'env.py'} exists already. Remove it, or name another directory."
        )
    (directory / "versions").mkdir(parents=True, exist_ok=True)
    files = {
        directory / "env.py": create_alembic_env_template(service, base_module),
        directory / "script.py.mako": _SCRIPT,
    }
    ini = directory.parent / "alembic.ini"
    if not ini.exists():
        files[ini] = _INI.format(directory=directory.name)
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")
    return list(files)


def require_environment(directory: Path, service: str) -> None:
    """Say what to do where there are no migrations yet.

    Raises:
        ConfigurationError: When the directory has no ``env.py``.
    """
    if not (directory / "env.py").is_file():
        raise ConfigurationError(
            f"There are no migrations in {directory}: it has no env.py. "
            f"Begin with: glam db init {service} --models <module of the models>."
        )
