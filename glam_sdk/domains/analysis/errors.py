"""Declare what goes wrong with analyses."""

from __future__ import annotations

from datetime import datetime

from glam_sdk.errors import ConflictError, NotFoundError, detail


class AnalysisInProgressError(ConflictError):
    """A user's analysis is running, and there is one at a time."""

    code = "ANALYSIS_IN_PROGRESS"
    message = "Another analysis is already in progress"
    current_analysis_id: object = None
    user_id: object = None
    started_at: datetime | str | None = None


class AnalysisNotFoundError(NotFoundError):
    """An analysis does not exist, or not for this user."""

    code = "ANALYSIS_NOT_FOUND"
    resource = "analysis"
    analysis_id: object = detail(default=None, into="resource_id", as_text=True)
    user_id: object = None


class AnalysisNotCancellableError(ConflictError):
    """An analysis is in a state it can't be cancelled in."""

    code = "ANALYSIS_NOT_CANCELLABLE"
    analysis_id: object = None
    current_status: str | None = None
    reason: str | None = None


class NoCurrentAnalysisError(NotFoundError):
    """A user has no completed analysis to look at."""

    code = "NO_CURRENT_ANALYSIS"
    message = "No completed analysis available"
    resource = "current_analysis"
    user_id: object = None
