"""Say an error as problem details (RFC 9457) to a client that asks for them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from glam_sdk.api.envelope import ErrorDetail, Meta

PROBLEM_JSON: Final = "application/problem+json"
_MAX_ACCEPT: Final = 1_024


class ProblemDetails(BaseModel):
    """Tell what went wrong, in the members of RFC 9457 and those of the envelope."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = Field("about:blank", description="What `code` means is in the error catalogue.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="The envelope's `error.message`.")
    code: str = Field(description="The envelope's `error.code`.")
    request_id: str
    trace_id: str | None = None


def wants_problem(accept: str) -> bool:
    """Tell whether an ``Accept`` header names problem details, and no other JSON above them."""
    if PROBLEM_JSON not in accept or len(accept) > _MAX_ACCEPT:
        return False
    weights: dict[str, float] = {}
    for entry in accept.split(","):
        media_type, _, parameters = entry.partition(";")
        weights.setdefault(media_type.strip().lower(), _weight(parameters))
    wanted = weights.get(PROBLEM_JSON, 0.0)
    return wanted > 0 and wanted >= weights.get("application/json", 0.0)


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def problem(status: int, error: ErrorDetail, meta: Meta) -> ProblemDetails:
    """Return the problem details that say the same as the envelope."""
    members = meta.model_dump(mode="json")
    if error.details is not None:
        members["details"] = error.details
    return ProblemDetails(
        title=_phrase(status), status=status, detail=error.message, code=error.code, **members
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP {status}"
