"""A service without database or messaging."""

from fastapi import FastAPI

import glam_sdk

service = glam_sdk.init("plain", version="1.2.3")
app = service.install(FastAPI())
log = glam_sdk.get_logger("plain")


@app.get("/work/{number}")
async def work(number: int) -> dict[str, int]:
    """Do something under a span of its own."""
    with glam_sdk.span("work.done"):
        log.info("work.done", number=number)
        return {"number": number}
