"""The smallest service: run it with ``uvicorn examples.quickstart:app``."""

from fastapi import FastAPI
from pydantic import BaseModel

import glam_sdk
from glam_sdk.api import ApiResponse, success_response
from glam_sdk.errors import NotFoundError

service = glam_sdk.init("quickstart", version="1.0.0")
app = service.install(FastAPI())
log = glam_sdk.get_logger(__name__)


class Greeting(BaseModel):
    """Say hello to somebody."""

    text: str


@app.get("/hello/{name}")
async def hello(name: str) -> ApiResponse[Greeting]:
    """Greet whoever is not a stranger."""
    if name == "stranger":
        raise NotFoundError("There is nobody of that name.", resource="person", resource_id=name)
    with glam_sdk.span("greeting.compose"):
        log.info("greeting.made", person=name)
        return success_response(Greeting(text=f"Hello, {name}!"))
