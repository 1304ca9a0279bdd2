"""Declare what goes wrong with catalogue syncs and items."""

from __future__ import annotations

from glam_sdk.errors import ConflictError, NotFoundError, detail


class SyncInProgressError(ConflictError):
    """A merchant's catalogue is being synchronised already."""

    code = "SYNC_IN_PROGRESS"
    message = "Another sync is already in progress"
    current_sync_id: object = None
    merchant_id: object = None


class SyncNotFoundError(NotFoundError):
    """A catalogue sync does not exist."""

    code = "SYNC_NOT_FOUND"
    resource = "sync"
    sync_id: object = detail(default=None, into="resource_id", as_text=True)


class SyncNotResumableError(ConflictError):
    """A sync is in a state it can't be taken up from."""

    code = "SYNC_NOT_RESUMABLE"
    sync_id: object = None
    sync_status: str | None = None
    reason: str | None = None


class SyncNotCancellableError(ConflictError):
    """A sync is in a state it can't be cancelled in."""

    code = "SYNC_NOT_CANCELLABLE"
    sync_id: object = None
    sync_status: str | None = None


class ItemNotFoundError(NotFoundError):
    """A catalogue item does not exist, or not for this merchant."""

    code = "ITEM_NOT_FOUND"
    resource = "item"
    item_id: object = detail(default=None, into="resource_id", as_text=True)
    merchant_id: object = None


class ParentSyncNotFoundError(NotFoundError):
    """The sync that another one refers to as its parent does not exist."""

    code = "PARENT_SYNC_NOT_FOUND"
    resource = "parent_sync"
    parent_sync_id: object = detail(default=None, into="resource_id", as_text=True)
