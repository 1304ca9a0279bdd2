"""An application that knows nothing of glam_sdk."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/work/{number}")
async def work(number: int) -> dict[str, int]:
    """Answer."""
    return {"number": number}
