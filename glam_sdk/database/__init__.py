"""Keep a service's data: engine, unit of work, repository, models, migrations and their errors."""

from glam_sdk.database.base import NAMING_CONVENTION, Base
from glam_sdk.database.component import Database
from glam_sdk.database.deletion import INCLUDE_DELETED
from glam_sdk.database.mixins import (
    MerchantMixin,
    SoftDeleteMixin,
    TimestampedMixin,
    UuidKeyMixin,
    VersionedMixin,
)
from glam_sdk.database.old_sessions import (
    DatabaseHealth,
    DatabaseSessionManager,
    get_database_health,
    get_database_manager,
    set_database_manager,
)
from glam_sdk.database.query import KeysetPage, Page
from glam_sdk.database.repository import Repository
from glam_sdk.database.retry import RetryPolicy, retry_transaction
from glam_sdk.database.scope import ALL_MERCHANTS
from glam_sdk.database.telemetry import UNTRACED, DatabaseTelemetry
from glam_sdk.database.types import UtcDateTime
from glam_sdk.database.unit_of_work import EventWriter, UnitOfWork

__all__ = [
    "ALL_MERCHANTS",
    "INCLUDE_DELETED",
    "NAMING_CONVENTION",
    "UNTRACED",
    "Base",
    "Database",
    "DatabaseHealth",
    "DatabaseSessionManager",
    "DatabaseTelemetry",
    "EventWriter",
    "KeysetPage",
    "MerchantMixin",
    "Page",
    "Repository",
    "RetryPolicy",
    "SoftDeleteMixin",
    "TimestampedMixin",
    "UnitOfWork",
    "UtcDateTime",
    "UuidKeyMixin",
    "VersionedMixin",
    "get_database_health",
    "get_database_manager",
    "retry_transaction",
    "set_database_manager",
]
