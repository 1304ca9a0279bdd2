"""Hold the errors of user profiles."""

from glam_sdk.domains.profile.errors import (
    ProfileAlreadyExistsError,
    ProfileCreationFailedError,
    ProfileNotFoundError,
)

__all__ = [
    "ProfileAlreadyExistsError",
    "ProfileCreationFailedError",
    "ProfileNotFoundError",
]
