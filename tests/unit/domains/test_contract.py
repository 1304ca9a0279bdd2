"""Prove the table of domain errors that services rely on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from glam_sdk.domains import analysis, catalog, notification, profile, selfie
from glam_sdk.errors import (
    ConflictError,
    DomainError,
    GlamBaseError,
    InfrastructureError,
    NotFoundError,
    ValidationError,
)

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
AT = datetime(2026, 1, 15, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a class and what it states."""

    cls: type[GlamBaseError]
    base: type[GlamBaseError]
    code: str
    message: str = ""
    always: dict[str, object] = field(default_factory=dict)
    keywords: dict[str, object] = field(default_factory=dict)
    as_key: dict[str, str] = field(default_factory=dict)
    """Keyword → the other key its value lands under, as text."""
    status: int | None = None

    def details(self, *names: str) -> dict[str, object]:
        shown = dict(self.always)
        for name in names:
            value = self.keywords[name]
            target = self.as_key.get(name)
            shown[target or name] = str(value) if target else value
        return shown


def missing(resource: str) -> dict[str, object]:
    return {"resource": resource}


ROWS = [
    Row(
        catalog.SyncInProgressError,
        ConflictError,
        "SYNC_IN_PROGRESS",
        "Another sync is already in progress",
        keywords={"current_sync_id": "s-1", "merchant_id": ID},
    ),
    Row(
        catalog.SyncNotFoundError,
        NotFoundError,
        "SYNC_NOT_FOUND",
        always=missing("sync"),
        keywords={"sync_id": ID},
        as_key={"sync_id": "resource_id"},
    ),
    Row(
        catalog.SyncNotResumableError,
        ConflictError,
        "SYNC_NOT_RESUMABLE",
        keywords={"sync_id": "s-1", "sync_status": "done", "reason": "finished"},
    ),
    Row(
        catalog.SyncNotCancellableError,
        ConflictError,
        "SYNC_NOT_CANCELLABLE",
        keywords={"sync_id": "s-1", "sync_status": "done"},
    ),
    Row(
        catalog.ItemNotFoundError,
        NotFoundError,
        "ITEM_NOT_FOUND",
        always=missing("item"),
        keywords={"item_id": 7, "merchant_id": ID},
        as_key={"item_id": "resource_id"},
    ),
    Row(
        catalog.ParentSyncNotFoundError,
        NotFoundError,
        "PARENT_SYNC_NOT_FOUND",
        always=missing("parent_sync"),
        keywords={"parent_sync_id": ID},
        as_key={"parent_sync_id": "resource_id"},
    ),
    Row(
        profile.ProfileNotFoundError,
        NotFoundError,
        "PROFILE_NOT_FOUND",
        always=missing("profile"),
        keywords={"user_id": ID, "profile_id": "p-1"},
    ),
    Row(
        profile.ProfileAlreadyExistsError,
        ConflictError,
        "PROFILE_ALREADY_EXISTS",
        always={"conflicting_resource": "profile"},
        keywords={"user_id": ID, "existing_profile_id": "p-1"},
    ),
    Row(
        profile.ProfileCreationFailedError,
        DomainError,
        "PROFILE_CREATION_FAILED",
        keywords={"user_id": ID, "reason": "no name"},
        status=422,
    ),
    Row(
        analysis.AnalysisInProgressError,
        ConflictError,
        "ANALYSIS_IN_PROGRESS",
        "Another analysis is already in progress",
        keywords={"current_analysis_id": "a-1", "user_id": ID, "started_at": AT},
    ),
    Row(
        analysis.AnalysisNotFoundError,
        NotFoundError,
        "ANALYSIS_NOT_FOUND",
        always=missing("analysis"),
        keywords={"analysis_id": ID, "user_id": ID},
        as_key={"analysis_id": "resource_id"},
    ),
    Row(
        analysis.AnalysisNotCancellableError,
        ConflictError,
        "ANALYSIS_NOT_CANCELLABLE",
        keywords={"analysis_id": "a-1", "current_status": "done", "reason": "finished"},
    ),
    Row(
        analysis.NoCurrentAnalysisError,
        NotFoundError,
        "NO_CURRENT_ANALYSIS",
        "No completed analysis available",
        always=missing("current_analysis"),
        keywords={"user_id": ID},
    ),
    Row(
        selfie.SelfieNotFoundError,
        NotFoundError,
        "SELFIE_NOT_FOUND",
        always=missing("selfie"),
        keywords={"selfie_id": ID, "user_id": ID},
        as_key={"selfie_id": "resource_id"},
    ),
    Row(
        selfie.InvalidImageFormatError,
        ValidationError,
        "INVALID_IMAGE_FORMAT",
        keywords={"provided_format": "gif", "supported_formats": ["jpeg", "png"]},
    ),
    Row(
        selfie.ImageTooLargeError,
        ValidationError,
        "IMAGE_TOO_LARGE",
        keywords={"size_bytes": 9, "max_size_bytes": 8},
    ),
    Row(
        selfie.ImageTooSmallError,
        ValidationError,
        "IMAGE_TOO_SMALL",
        keywords={"width": 1, "height": 0, "min_width": 64, "min_height": 64},
    ),
    Row(
        selfie.NoFaceDetectedError,
        ValidationError,
        "NO_FACE_DETECTED",
        "No face detected in the image",
    ),
    Row(
        selfie.MultipleFacesDetectedError,
        ValidationError,
        "MULTIPLE_FACES_DETECTED",
        "Multiple faces detected in the image",
        keywords={"face_count": 2},
    ),
    Row(
        selfie.PoorImageQualityError,
        ValidationError,
        "POOR_IMAGE_QUALITY",
        "Image quality too low for analysis",
        keywords={"quality_score": 0.0, "min_quality_score": 0.5, "quality_issues": ["dark"]},
    ),
    Row(
        notification.NotificationNotFoundError,
        NotFoundError,
        "NOTIFICATION_NOT_FOUND",
        always=missing("notification"),
        keywords={"notification_id": ID, "merchant_id": ID},
        as_key={"notification_id": "resource_id"},
    ),
    Row(
        notification.TemplateNotFoundError,
        NotFoundError,
        "TEMPLATE_NOT_FOUND",
        always=missing("template"),
        keywords={"template_name": "welcome", "template_type": "email"},
        as_key={"template_name": "resource_id"},
    ),
    Row(
        notification.TemplateRenderError,
        ValidationError,
        "TEMPLATE_RENDER_ERROR",
        keywords={"template_name": "t", "missing_variables": ["name"], "render_error": "x"},
    ),
    Row(
        notification.InvalidRecipientError,
        ValidationError,
        "INVALID_RECIPIENT",
        always={"field": "recipient"},
        keywords={"recipient": "nobody", "reason": "no domain"},
        as_key={"recipient": "value"},
    ),
    Row(
        notification.PreferencesNotFoundError,
        NotFoundError,
        "PREFERENCES_NOT_FOUND",
        always=missing("notification_preferences"),
        keywords={"user_id": ID},
        as_key={"user_id": "resource_id"},
    ),
    Row(
        notification.EmailProviderError,
        InfrastructureError,
        "EMAIL_PROVIDER_ERROR",
        always={"retryable": True},
        keywords={"provider": "ses", "provider_error_code": "E1", "provider_message": "no"},
        as_key={"provider": "service"},
    ),
    Row(
        notification.UnsubscribedError,
        ConflictError,
        "UNSUBSCRIBED",
        "Recipient has unsubscribed from notifications",
        keywords={"user_id": ID, "notification_type": "promo", "unsubscribed_at": AT},
    ),
]

each_row = pytest.mark.parametrize("row", ROWS, ids=[row.cls.__name__ for row in ROWS])


@each_row
def test_a_class_has_the_base_code_status_and_message_of_the_table(row: Row) -> None:
    """Codes and statuses are on the wire; the status is the base's unless the table says so."""
    assert row.cls.__bases__ == (row.base,)
    assert row.cls.code == row.code
    assert row.cls.status == (row.status or row.base.status)
    assert row.cls.message == row.message
    if row.message:
        assert str(row.cls()) == row.message


@each_row
def test_each_keyword_lands_in_details_alone_and_with_the_others(row: Row) -> None:
    """The keys in details are what old consumers read."""
    assert row.cls("Given.").details == row.always
    for name, value in row.keywords.items():
        assert row.cls("Given.", **{name: value}).details == row.details(name)
    assert row.cls("Given.", **row.keywords).details == row.details(*row.keywords)


@pytest.mark.parametrize("domain", [analysis, catalog, notification, profile, selfie])
def test_a_domain_exports_exactly_the_errors_of_the_table(domain) -> None:
    """A class is neither forgotten in the table nor in the package."""
    listed = {row.cls.__name__ for row in ROWS if row.cls.__module__ == f"{domain.__name__}.errors"}
    exported = {n for n in domain.__all__ if n.endswith("Error")}
    assert listed == exported
