"""Declare what goes wrong with user profiles."""

from __future__ import annotations

from glam_sdk.errors import ConflictError, DomainError, NotFoundError


class ProfileNotFoundError(NotFoundError):
    """A user has no profile, or the profile does not exist."""

    code = "PROFILE_NOT_FOUND"
    resource = "profile"
    user_id: object = None
    profile_id: object = None


class ProfileAlreadyExistsError(ConflictError):
    """A user has a profile and can't get a second one."""

    code = "PROFILE_ALREADY_EXISTS"
    conflicting_resource = "profile"
    user_id: object = None
    existing_profile_id: object = None


class ProfileCreationFailedError(DomainError):
    """A profile could not be made from what was given."""

    code = "PROFILE_CREATION_FAILED"
    status = 422
    user_id: object = None
    reason: str | None = None
