"""Turn DTOs into models and models into DTOs."""

from glam_sdk.mappers.base import BaseMapper
from glam_sdk.mappers.crud import CRUDMapper

__all__ = ["BaseMapper", "CRUDMapper"]
