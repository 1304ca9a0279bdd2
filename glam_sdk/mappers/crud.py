"""Map by name: what a DTO and a model call the same is the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter
from sqlalchemy import inspect
from sqlalchemy.orm import DeclarativeBase

M = TypeVar("M", bound=DeclarativeBase)
R = TypeVar("R", bound=BaseModel)


class CRUDMapper(Generic[M, R]):
    """Make models of DTOs, patch them, and show them: ``CRUDMapper(Order, OrderOut)``.

    Args:
        model: The mapped class.
        response: What callers get; every field is read from the model by name.
    """

    def __init__(self, model: type[M], response: type[R]) -> None:
        self._model = model
        self._known = frozenset(inspect(model).attrs.keys())
        self._one = TypeAdapter(response)
        self._many = TypeAdapter(list[response])  # type: ignore[valid-type]  # made at run time

    def to_model(self, dto: BaseModel, **extra: object) -> M:
        """Return a new model with the DTO's values.

        A field that was left out and whose default is None is not passed on, so that the column's
        own default holds.

        Args:
            dto: What a caller sent.
            **extra: What no caller may say, such as ``merchant_id``; it wins over the DTO.

        Raises:
            ValueError: For a name the model does not have.
        """
        given = ((name, getattr(dto, name)) for name in type(dto).model_fields)
        said = dto.model_fields_set
        values = {name: value for name, value in given if value is not None or name in said}
        return self._model(**self._checked({**values, **extra}))

    def patch_model(self, model: M, dto: BaseModel, **extra: object) -> frozenset[str]:
        """Take over the fields the caller has set, None included; return the names that changed.

        Args:
            model: Is changed in place.
            dto: A field that was left out leaves the model as it is.
            **extra: Taken over as well.

        Raises:
            ValueError: For a name the model does not have; nothing is changed then.
        """
        changed = self._differences(model, {**_set_fields(dto), **extra})
        for name, value in changed.items():
            setattr(model, name, value)
        return frozenset(changed)

    def to_out(self, model: M) -> R:
        """Return what a caller gets of a model."""
        return self._one.validate_python(model, from_attributes=True)

    def list_to_out(self, models: Iterable[M]) -> list[R]:
        """Return what a caller gets of many models, in one validation pass."""
        return self._many.validate_python(list(models), from_attributes=True)

    def is_dirty(self, model: M, dto: BaseModel | None = None) -> bool:
        """Tell whether there is anything to write.

        Args:
            model: Compared with the DTO, or else with the row it was loaded from.
            dto: Whether patching the model with it would change anything.
        """
        if dto is not None:
            return bool(self._differences(model, _set_fields(dto)))
        state = inspect(model)
        if not state.has_identity:
            return True
        return any(
            state.attrs[name].history.has_changes() for name in state.dict.keys() & self._known
        )

    def _differences(self, model: M, values: Mapping[str, object]) -> dict[str, object]:
        checked = self._checked(values)
        return {name: value for name, value in checked.items() if getattr(model, name) != value}

    def _checked(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        unknown = sorted(values.keys() - self._known)
        if unknown:
            raise ValueError(
                f"{self._model.__name__} has no {', '.join(map(repr, unknown))}. "
                f"It has {', '.join(sorted(self._known))}."
            )
        return values


def _set_fields(dto: BaseModel) -> dict[str, object]:
    return {
        name: getattr(dto, name) for name in dto.model_fields_set if name in type(dto).model_fields
    }
