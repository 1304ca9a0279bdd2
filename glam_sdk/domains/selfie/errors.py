"""Declare what goes wrong with uploaded selfies."""

from __future__ import annotations

from collections.abc import Sequence

from glam_sdk.errors import NotFoundError, ValidationError, detail


class SelfieNotFoundError(NotFoundError):
    """A selfie does not exist, or not for this user."""

    code = "SELFIE_NOT_FOUND"
    resource = "selfie"
    selfie_id: object = detail(default=None, into="resource_id", as_text=True)
    user_id: object = None


class InvalidImageFormatError(ValidationError):
    """An image has a format that can't be read."""

    code = "INVALID_IMAGE_FORMAT"
    provided_format: str | None = None
    supported_formats: Sequence[str] | None = None


class ImageTooLargeError(ValidationError):
    """An image has more bytes than are taken."""

    code = "IMAGE_TOO_LARGE"
    size_bytes: int | None = None
    max_size_bytes: int | None = None


class ImageTooSmallError(ValidationError):
    """An image has too few pixels to be analysed."""

    code = "IMAGE_TOO_SMALL"
    width: int | None = None
    height: int | None = None
    min_width: int | None = None
    min_height: int | None = None


class NoFaceDetectedError(ValidationError):
    """An image shows no face."""

    code = "NO_FACE_DETECTED"
    message = "No face detected in the image"


class MultipleFacesDetectedError(ValidationError):
    """An image shows more faces than one."""

    code = "MULTIPLE_FACES_DETECTED"
    message = "Multiple faces detected in the image"
    face_count: int | None = None


class PoorImageQualityError(ValidationError):
    """An image is too dark, blurred or otherwise poor to be analysed."""

    code = "POOR_IMAGE_QUALITY"
    message = "Image quality too low for analysis"
    quality_score: float | None = None
    min_quality_score: float | None = None
    quality_issues: Sequence[str] | None = None
