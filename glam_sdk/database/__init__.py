"""Keep a service's data: engine, unit of work, repository, models and their errors."""

from glam_sdk.database.base import NAMING_CONVENTION, Base
from glam_sdk.database.engine import Database
from glam_sdk.database.mixins import MerchantMixin, SoftDeleteMixin, TimestampedMixin
from glam_sdk.database.repository import Repository
from glam_sdk.database.types import UtcDateTime
from glam_sdk.database.unit_of_work import EventWriter, UnitOfWork

__all__ = [
    "NAMING_CONVENTION",
    "Base",
    "Database",
    "EventWriter",
    "MerchantMixin",
    "Repository",
    "SoftDeleteMixin",
    "TimestampedMixin",
    "UnitOfWork",
    "UtcDateTime",
]
