"""Change a database's schema step by step with Alembic, safely with many instances starting."""

from glam_sdk.database.migrations.environment import run_migrations
from glam_sdk.database.migrations.runner import MigrationManager
from glam_sdk.database.migrations.templates import create_alembic_env_template

__all__ = ["MigrationManager", "create_alembic_env_template", "run_migrations"]
