"""Declare what the catalog services tell each other."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from glam_sdk.events import Event


class SyncInitial(Event, subject="cmd.catalog.sync_initial"):
    """Read a merchant's whole catalogue."""

    merchant_id: UUID
    source: str
    sync_type: str
    webhook_url: str | None = None


class _ItemsCommand(Event):
    merchant_id: UUID
    items: list[dict[str, Any]]
    job_id: str | None = None


class SyncUpdate(_ItemsCommand, subject="cmd.catalog.sync_update"):
    """Take over changed items."""


class ProcessImages(_ItemsCommand, subject="cmd.catalog.process_images"):
    """Prepare the images of items."""


class AnalyzeItems(_ItemsCommand, subject="cmd.catalog.analyze_items"):
    """Analyse items."""


class EnrichWithAi(_ItemsCommand, subject="cmd.catalog.enrich_with_ai"):
    """Enrich items."""


class SyncStarted(Event, subject="evt.catalog.sync_started", extra="allow"):
    """A sync has begun; any fields."""


class SyncCompleted(Event, subject="evt.catalog.sync_completed", extra="allow"):
    """A sync is complete; any fields."""


class SyncFailed(Event, subject="evt.catalog.sync_failed", extra="allow"):
    """A sync has failed; any further fields."""

    error_message: str | None = None


class ImagesProcessed(Event, subject="evt.catalog.images_processed", extra="allow"):
    """Images are prepared; any fields."""


class ItemsAnalyzed(Event, subject="evt.catalog.items_analyzed", extra="allow"):
    """Items are analysed; any fields."""


class AiEnriched(Event, subject="evt.catalog.ai_enriched", extra="allow"):
    """Items are enriched; any further fields."""

    enrichment_details: dict[str, Any] | None = None
