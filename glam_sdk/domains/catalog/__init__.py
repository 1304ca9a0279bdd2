"""Hold the catalogue's errors."""

from glam_sdk.domains.catalog.errors import (
    ItemNotFoundError,
    ParentSyncNotFoundError,
    SyncInProgressError,
    SyncNotCancellableError,
    SyncNotFoundError,
    SyncNotResumableError,
)
from glam_sdk.domains.catalog.events import (
    AiEnriched,
    AnalyzeItems,
    EnrichWithAi,
    ImagesProcessed,
    ItemsAnalyzed,
    ProcessImages,
    SyncCompleted,
    SyncFailed,
    SyncInitial,
    SyncStarted,
    SyncUpdate,
)

__all__ = [
    "AiEnriched",
    "AnalyzeItems",
    "EnrichWithAi",
    "ImagesProcessed",
    "ItemNotFoundError",
    "ItemsAnalyzed",
    "ParentSyncNotFoundError",
    "ProcessImages",
    "SyncCompleted",
    "SyncFailed",
    "SyncInProgressError",
    "SyncInitial",
    "SyncNotCancellableError",
    "SyncNotFoundError",
    "SyncNotResumableError",
    "SyncStarted",
    "SyncUpdate",
]
