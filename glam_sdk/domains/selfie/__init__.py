"""Hold the errors of uploaded selfies."""

from glam_sdk.domains.selfie.errors import (
    ImageTooLargeError,
    ImageTooSmallError,
    InvalidImageFormatError,
    MultipleFacesDetectedError,
    NoFaceDetectedError,
    PoorImageQualityError,
    SelfieNotFoundError,
)

__all__ = [
    "ImageTooLargeError",
    "ImageTooSmallError",
    "InvalidImageFormatError",
    "MultipleFacesDetectedError",
    "NoFaceDetectedError",
    "PoorImageQualityError",
    "SelfieNotFoundError",
]
