"""Describe the error answers of every operation in the OpenAPI schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from glam_sdk.api.envelope import ErrorDetail, Meta
from glam_sdk.api.problem import PROBLEM_JSON, ProblemDetails

_REF: Final = "#/components/schemas/{model}"
_METHODS: Final = frozenset(
    {"get", "put", "post", "delete", "options", "head", "patch", "trace", "query"}
)
# FastAPI's own description of a 422, which is not what we answer.
_REPLACED: Final = "#/components/schemas/HTTPValidationError"
_REPLACED_MODELS: Final = ("HTTPValidationError", "ValidationError")


class ErrorEnvelope(BaseModel):
    """Answer of an operation that failed."""

    error: ErrorDetail
    meta: Meta


def document_errors(app: FastAPI) -> None:
    """Add the error envelope to every operation, as ``4XX``, ``5XX`` and in place of FastAPI's 422.

    What an operation documents itself under one of these keys stays.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        if "ErrorEnvelope" not in schema.get("components", {}).get("schemas", {}):
            _describe(schema)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _describe(schema: dict[str, Any]) -> None:
    answer = {
        "application/json": {"schema": {"$ref": _REF.format(model="ErrorEnvelope")}},
        PROBLEM_JSON: {"schema": {"$ref": _REF.format(model="ProblemDetails")}},
    }
    for operation in _operations(schema):
        responses = operation.setdefault("responses", {})
        if _REPLACED in str(responses.get("422", "")):
            responses["422"] = {"description": "The request is not valid", "content": answer}
        responses.setdefault("4XX", {"description": "The request was refused", "content": answer})
        responses.setdefault("5XX", {"description": "The service failed", "content": answer})
    models: dict[str, Any] = schema.setdefault("components", {}).setdefault("schemas", {})
    for model in _REPLACED_MODELS:
        if _REF.format(model=model) not in str(schema["paths"]):
            models.pop(model, None)
    _, ours = models_json_schema(
        [(ErrorEnvelope, "serialization"), (ProblemDetails, "serialization")],
        ref_template=_REF,
    )
    for name, model_schema in ours["$defs"].items():
        models.setdefault(name, model_schema)


def _operations(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for group in ("paths", "webhooks"):
        for item in schema.get(group, {}).values():
            yield from (operation for name, operation in item.items() if name in _METHODS)
