"""Declare the settings of messaging."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from glam_sdk.config import formats, kinds
from glam_sdk.config.knobs import Env
from glam_sdk.config.model import Section


class NatsSettings(Section):
    """Say which NATS servers to use, and how."""

    servers: Annotated[
        tuple[str, ...], Field(min_length=1), Env("NATS_SERVERS"), Env("{prefix}NATS_SERVERS")
    ] = ("nats://127.0.0.1:4222",)
    """Addresses of the cluster's servers; any one is enough to find the others."""
    user: Annotated[str | None, Env("NATS_USER"), Env("{prefix}NATS_USER")] = None
    """User to log in as."""
    password: Annotated[SecretStr | None, Env("NATS_PASSWORD"), Env("{prefix}NATS_PASSWORD")] = None
    """Password of the user."""
    connect_timeout_s: kinds.Seconds = 5.0
    """Seconds that the first connection may take."""
    drain_timeout_s: kinds.Seconds = 10.0
    """Seconds that messages under way have when the service stops."""
    check_streams: bool = True
    """Refuse to start when no stream keeps a subject the service declares; else make it then."""

    slow_down_after: Annotated[int, Field(ge=0)] = 20
    """Failures in a row, about, that slow a handler down until it works again; 0 never does."""
    longest_pause_s: Annotated[float, Field(ge=0.1, allow_inf_nan=False)] = 30.0
    """Seconds between two attempts of a handler that is slowed down, at most."""
    bookkeeping_replicas: Annotated[int | None, Field(ge=1, le=5)] = None
    """Copies of the attempts and positions kept on the servers; 3 by default where there are as
    many, and always as many as there can be."""

    @field_validator("servers")
    @classmethod
    def _servers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(formats.nats_server(server) for server in value)
