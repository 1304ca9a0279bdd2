"""What the OpenAPI schema says of answers and errors."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from glam_sdk.api import ApiResponse, success_response

ENVELOPE = {"$ref": "#/components/schemas/ErrorEnvelope"}
PROBLEM = {"$ref": "#/components/schemas/ProblemDetails"}


class Item(BaseModel):
    name: str


@pytest.fixture
def schema(app):
    """The schema of an application with one operation."""

    @app.get("/items/{n}", responses={"5XX": {"description": "Own"}, 404: {"description": "None"}})
    async def item(n: int) -> ApiResponse[Item]:
        return success_response(Item(name=str(n)))

    return app.openapi()


def test_the_response_model_is_the_envelope_around_the_data(schema):
    """The model of ``data`` is in the schema, and what may be absent is not required."""
    ok = schema["paths"]["/items/{n}"]["get"]["responses"]["200"]
    assert ok["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/ApiResponse_Item_"
    }
    models = schema["components"]["schemas"]
    assert models["ApiResponse_Item_"]["required"] == ["meta"]
    assert {"$ref": "#/components/schemas/Item"} in (
        models["ApiResponse_Item_"]["properties"]["data"]["anyOf"]
    )
    assert set(models["Meta"]["required"]) == {"request_id", "timestamp"}
    assert set(models["Meta"]["properties"]) == {
        "request_id",
        "correlation_id",
        "trace_id",
        "timestamp",
    }


def test_every_operation_documents_its_errors(schema):
    """4XX and 5XX are the envelope, or problem details; FastAPI's own 422 is replaced."""
    responses = schema["paths"]["/items/{n}"]["get"]["responses"]
    for status in ("4XX", "422"):
        content = responses[status]["content"]
        assert content["application/json"]["schema"] == ENVELOPE
        assert content["application/problem+json"]["schema"] == PROBLEM
    models = schema["components"]["schemas"]
    assert "HTTPValidationError" not in models
    assert set(models["ErrorEnvelope"]["required"]) == {"error", "meta"}
    assert set(models["ErrorDetail"]["required"]) == {"code", "message"}
    assert {"type", "title", "status", "detail", "code"} <= set(
        models["ProblemDetails"]["properties"]
    )


def test_what_an_operation_says_itself_stays(schema):
    """Its own responses are not replaced."""
    responses = schema["paths"]["/items/{n}"]["get"]["responses"]
    assert responses["5XX"] == {"description": "Own"}
    assert responses["404"] == {"description": "None"}


def test_references_lead_somewhere(schema):
    """Every ``$ref`` of the schema is defined in it."""

    def refs(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "$ref":
                    yield value
                else:
                    yield from refs(value)
        elif isinstance(node, list):
            for value in node:
                yield from refs(value)

    known = {f"#/components/schemas/{name}" for name in schema["components"]["schemas"]}
    assert set(refs(schema)) <= known


def test_routes_that_come_later_are_described_too(app):
    """The schema is made anew when the routes change."""
    assert "/late" not in app.openapi()["paths"]

    @app.get("/late")
    async def late() -> None: ...

    assert "4XX" in app.openapi()["paths"]["/late"]["get"]["responses"]


def test_the_answer_is_what_the_schema_says(app, serve):
    """An error's real body has the keys that the schema requires."""

    @app.get("/n/{n}")
    async def number(n: int) -> None: ...

    with serve(app) as client:
        schema, body = client.get("/openapi.json").json(), client.get("/n/x").json()
    models = schema["components"]["schemas"]
    assert set(models["ErrorEnvelope"]["required"]) == set(body)
    assert set(models["Meta"]["required"]) <= set(body["meta"]) <= set(models["Meta"]["properties"])


def test_a_model_of_the_service_with_a_name_of_ours_is_not_replaced(telemetry):
    """A service may have an ``ErrorDetail`` of its own."""
    app = telemetry.service.install(FastAPI())

    class ErrorDetail(BaseModel):
        own: int

    app.add_api_route("/own", lambda: None, response_model=ErrorDetail)
    schema = app.openapi()
    models = schema["components"]["schemas"]
    own = schema["paths"]["/own"]["get"]["responses"]["200"]["content"]["application/json"]
    assert "own" in models[own["schema"]["$ref"].rpartition("/")[2]]["properties"]
    ours = models["ErrorEnvelope"]["properties"]["error"]["$ref"].rpartition("/")[2]
    assert "code" in models[ours]["properties"]
