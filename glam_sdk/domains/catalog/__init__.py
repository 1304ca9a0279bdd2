"""Hold the catalogue's errors."""

from glam_sdk.domains.catalog.errors import (
    ItemNotFoundError,
    ParentSyncNotFoundError,
    SyncInProgressError,
    SyncNotCancellableError,
    SyncNotFoundError,
    SyncNotResumableError,
)

__all__ = [
    "ItemNotFoundError",
    "ParentSyncNotFoundError",
    "SyncInProgressError",
    "SyncNotCancellableError",
    "SyncNotFoundError",
    "SyncNotResumableError",
]
