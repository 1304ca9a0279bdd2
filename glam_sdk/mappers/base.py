"""State what a hand-written mapper between DTOs and a model offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

ModelT = TypeVar("ModelT")
CreateT = TypeVar("CreateT", bound=BaseModel)
UpdateT = TypeVar("UpdateT", bound=BaseModel)
ResponseT = TypeVar("ResponseT", bound=BaseModel)


class BaseMapper(ABC, Generic[ModelT, CreateT, UpdateT, ResponseT]):
    """Map where model and DTOs differ; where they agree by name, :class:`CRUDMapper` does it.

    Write the two abstract methods; the others stand on them.
    """

    @abstractmethod
    def create_to_model(self, dto: CreateT) -> ModelT:
        """Make a new model of what a caller sent."""

    @abstractmethod
    def model_to_response(self, model: ModelT) -> ResponseT:
        """Make what a caller gets of a model."""

    def models_to_responses(self, models: Iterable[ModelT]) -> list[ResponseT]:
        """Make what a caller gets of many models, in their order."""
        return [self.model_to_response(model) for model in models]

    def update_to_dict(self, dto: UpdateT) -> dict[str, Any]:
        """Return the values of an update without those that are None.

        A value can therefore not be set to NULL this way; ``CRUDMapper.patch_model`` tells a field
        that was set to None from one that was not set.
        """
        values = {name: getattr(dto, name) for name in type(dto).model_fields}
        return {name: value for name, value in values.items() if value is not None}
