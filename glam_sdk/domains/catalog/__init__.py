"""Hold the catalogue's errors, events and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glam_sdk._internal.lazy import lazy_exports
from glam_sdk.domains.catalog.errors import (
    ItemNotFoundError,
    ParentSyncNotFoundError,
    SyncInProgressError,
    SyncNotCancellableError,
    SyncNotFoundError,
    SyncNotResumableError,
)

if TYPE_CHECKING:
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

_EVENTS = (
    "AiEnriched",
    "AnalyzeItems",
    "EnrichWithAi",
    "ImagesProcessed",
    "ItemsAnalyzed",
    "ProcessImages",
    "SyncCompleted",
    "SyncFailed",
    "SyncInitial",
    "SyncStarted",
    "SyncUpdate",
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

# Errors alone need no pydantic; the events are imported when one is asked for.
__getattr__, _ = lazy_exports(__name__, dict.fromkeys(_EVENTS, f"{__name__}.events"))
