"""Create the streams a service needs and bring existing ones to what is declared."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from nats.js import JetStreamContext, api
from nats.js import errors as js_errors

from glam_sdk.errors import MessageBusError
from glam_sdk.events import (
    DEAD_LETTER_STREAM,
    StreamSpec,
    default_stream,
    get_stream_for_service,
    get_stream_from_subject,
)
from glam_sdk.messaging.errors import describe, is_temporary, translated
from glam_sdk.telemetry.logs import get_logger

_NAME_IN_USE: Final = 10058
_DURATIONS: Final = frozenset({"max_age", "duplicate_window"})
_log = get_logger(__name__)


async def ensure_stream(js: JetStreamContext, spec: StreamSpec) -> bool:
    """Create a stream, or update it where it differs from its declaration.

    Settings the declaration does not name are kept as they are, and so are messages and consumers.

    Returns:
        Whether anything was changed on the server.

    Raises:
        MessageBusError: The server refused, or could not be asked. Only "not found" counts as a
            missing stream.
    """
    with translated("prepare stream", stream=spec.name):
        try:
            info = await js.stream_info(spec.name)
        except js_errors.NotFoundError:
            try:
                await js.add_stream(_config(spec))
            except js_errors.BadRequestError as exc:
                # Another process made it in between, with other settings.
                if exc.err_code != _NAME_IN_USE:
                    raise
                info = await js.stream_info(spec.name)
            else:
                _log.info("stream.created", stream=spec.name, subjects=list(spec.subjects))
                return True
        drift = _drift(info.config, spec)
        if not drift:
            return False
        await _update(js, info.config, spec, drift)
        return True


async def _update(
    js: JetStreamContext, found: api.StreamConfig, spec: StreamSpec, drift: dict[str, str]
) -> None:
    try:
        await js.update_stream(dataclasses.replace(found, **_wanted(spec)))
    except js_errors.APIError as exc:
        if is_temporary(exc):
            raise
        changes = "; ".join(f"{key}: {change}" for key, change in drift.items())
        raise MessageBusError(
            f"Stream {spec.name} cannot be brought to its declaration ({changes}): "
            f"{describe(exc)}. Change the declaration, or move the messages to a new stream.",
            operation="prepare stream",
            stream=spec.name,
            retryable=False,
        ) from exc
    _log.info("stream.updated", stream=spec.name, changes=drift)


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """Say what would have to happen for a stream to be as declared."""

    name: str
    action: Literal["create", "update", "keep", "refuse"]
    """``refuse``: the server will not make one of the changes."""
    changes: Mapping[str, str] = field(default_factory=dict)
    """What differs, as ``setting: found -> wanted``."""


async def plan_stream(js: JetStreamContext, spec: StreamSpec) -> StreamPlan:
    """Compare a stream with its declaration and change nothing.

    Raises:
        MessageBusError: The server could not be asked.
    """
    with translated("look at stream", stream=spec.name):
        try:
            info = await js.stream_info(spec.name)
        except js_errors.NotFoundError:
            return StreamPlan(spec.name, "create")
    drift = _drift(info.config, spec)
    refused = {key: f"{drift[key]} (no server changes that)" for key in _fixed(drift)}
    if refused:
        return StreamPlan(spec.name, "refuse", {**drift, **refused})
    return StreamPlan(spec.name, "update" if drift else "keep", drift)


class StreamTopology:
    """Find the stream of a subject, creating or reconciling it the first time.

    A stream the service declares, and the default stream of its own name, belong to the service:
    they are created and kept as declared. The stream of another service is used as it is, and
    created with the default settings only when no stream holds the subject.

    Args:
        service_name: Whose own stream is reconciled.
        declared: Streams this service declares.
        shared: Streams of all services, made when they are missing and never changed.
    """

    def __init__(
        self,
        service_name: str,
        declared: Iterable[StreamSpec] = (),
        shared: Iterable[StreamSpec] = (DEAD_LETTER_STREAM,),
    ) -> None:
        self._own = get_stream_for_service(service_name)
        self._shared = tuple(shared)
        self.declared = tuple(declared)
        self._known: dict[str, str] = {}
        self._asking = asyncio.Lock()

    def expected(self, subject: str) -> str:
        """Return the stream name that declarations and the default rule give, without asking."""
        spec = self._declared_for(subject)
        return spec.name if spec else get_stream_from_subject(subject)

    def known(self, subject: str) -> str | None:
        """Return the stream of a subject when it was asked for before."""
        return self._known.get(subject)

    async def stream_for(self, js: JetStreamContext, subject: str) -> str:
        """Return the name of the stream that holds a subject; it exists afterwards.

        Raises:
            MessageBusError: The server refused, or could not be asked.
        """
        known = self._known.get(subject)
        if known is not None:
            return known
        async with self._asking:
            if subject not in self._known:
                self._known[subject] = await self._resolve(js, subject)
            return self._known[subject]

    def forget(self, subject: str | None = None) -> None:
        """Ask the server again next time, for one subject or all."""
        if subject is None:
            self._known.clear()
        else:
            self._known.pop(subject, None)

    async def require(self, js: JetStreamContext, subjects: Iterable[str]) -> None:
        """Check that each subject has a stream, or one that this service will make.

        Raises:
            MessageBusError: Some have none, or the server could not be asked.
        """
        lost = [subject for subject in subjects if not await self._is_kept(js, subject)]
        if not lost:
            return
        specs = ", ".join(f'StreamSpec("{name}")' for name in sorted({*map(_domain_stream, lost)}))
        raise MessageBusError(
            f"No stream keeps {', '.join(lost)}. Declare it: service.use_messaging(streams=[{specs}"
            "]); or start the service it belongs to first; or set nats.check_streams to false "
            "(environment: GLAM_NATS__CHECK_STREAMS) to have it made with default settings.",
            operation="prepare stream",
            retryable=False,
        )

    async def _is_kept(self, js: JetStreamContext, subject: str) -> bool:
        if self._declared_for(subject) or any(spec.covers(subject) for spec in self._shared):
            return True
        with translated("find stream of", subject=subject):
            try:
                await js.find_stream_name_by_subject(subject)
            except js_errors.NotFoundError:
                return _domain_stream(subject) == self._own
        return True

    async def _resolve(self, js: JetStreamContext, subject: str) -> str:
        spec = self._declared_for(subject)
        known = next((shared for shared in self._shared if shared.covers(subject)), None)
        if spec is None and known is None and get_stream_from_subject(subject) == self._own:
            spec = default_stream(self._own)
        if spec is None:
            with translated("find stream of", subject=subject):
                try:
                    return await js.find_stream_name_by_subject(subject)
                except js_errors.NotFoundError:
                    spec = known or default_stream(get_stream_from_subject(subject))
        await ensure_stream(js, spec)
        return spec.name

    def _declared_for(self, subject: str) -> StreamSpec | None:
        return next((spec for spec in self.declared if spec.covers(subject)), None)


def _domain_stream(subject: str) -> str:
    try:
        return get_stream_from_subject(subject)
    except ValueError:  # such as a pattern that covers several domains
        return "..."


def _wanted(spec: StreamSpec) -> dict[str, Any]:
    # Not said means left as it is: a server does not take schedules back.
    more: dict[str, Any] = {"allow_msg_schedules": True} if spec.allow_schedules else {}
    if spec.allow_batches:
        more["allow_batched"] = True
    if spec.replicas is not None:
        more["num_replicas"] = spec.replicas
    return {
        **more,
        "subjects": list(spec.subjects),
        "retention": api.RetentionPolicy(spec.retention),
        "storage": api.StorageType(spec.storage),
        "max_age": spec.max_age.total_seconds(),
        "max_msgs_per_subject": spec.max_msgs_per_subject,
        "duplicate_window": spec.duplicate_window.total_seconds(),
        "allow_rollup_hdrs": spec.allow_rollup,
    }


def _config(spec: StreamSpec) -> api.StreamConfig:
    return dataclasses.replace(api.StreamConfig(name=spec.name), **_wanted(spec))


def _drift(found: api.StreamConfig, spec: StreamSpec) -> dict[str, str]:
    """Return what differs, as ``setting: found -> wanted``."""
    changes = {}
    for key, wanted in _wanted(spec).items():
        value = getattr(found, key)
        same = set(value or ()) == set(spec.subjects) if key == "subjects" else value == wanted
        if not same:
            changes[key] = f"{_plain(key, value)} -> {_plain(key, wanted)}"
    return changes


def _fixed(drift: Mapping[str, str]) -> list[str]:
    """Return what differs and stays as it is for a stream's whole life."""
    is_other_kind = api.RetentionPolicy.WORK_QUEUE.value in drift.get("retention", "")
    return [key for key in drift if key == "storage" or (key == "retention" and is_other_kind)]


def _plain(key: str, value: object) -> object:
    if key in _DURATIONS and isinstance(value, int | float):
        return timedelta(seconds=value)
    return value.value if isinstance(value, api.RetentionPolicy | api.StorageType) else value
