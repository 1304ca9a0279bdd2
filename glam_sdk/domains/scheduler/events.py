"""Declare what the scheduler is told and what it tells."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from glam_sdk.events import Event

Priority = Annotated[int, Field(ge=1, le=10)]
NotNegative = Annotated[int, Field(ge=0)]


class ScheduleType(StrEnum):
    """Say when a schedule is due."""

    CRON = "cron"
    INTERVAL = "interval"
    ONE_TIME = "one_time"
    IMMEDIATE = "immediate"


class ExecutionStatus(StrEnum):
    """Say how far an execution is."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"


class CreateSchedule(Event, subject="cmd.scheduler.schedule.create"):
    """Send a command at certain times."""

    name: str
    description: str | None = None
    schedule_type: ScheduleType
    cron_expression: str | None = None
    interval_seconds: int | None = None
    scheduled_at: datetime | None = None
    timezone: str = "UTC"
    target_command: str
    command_payload: dict[str, Any] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    priority: Priority = 5
    max_retries: NotNegative = 3
    retry_delay_seconds: NotNegative = 300
    created_by: str | None = None


class UpdateSchedule(Event, subject="cmd.scheduler.schedule.update"):
    """Change what is given of a schedule."""

    schedule_id: UUID
    name: str | None = None
    description: str | None = None
    schedule_type: ScheduleType | None = None
    cron_expression: str | None = None
    interval_seconds: int | None = None
    scheduled_at: datetime | None = None
    timezone: str | None = None
    target_command: str | None = None
    command_payload: dict[str, Any] | None = None
    tags: list[str] | None = None
    priority: Priority | None = None
    max_retries: NotNegative | None = None
    retry_delay_seconds: NotNegative | None = None
    created_by: str | None = None
    is_active: bool | None = None


class DeleteSchedule(Event, subject="cmd.scheduler.schedule.delete"):
    """End a schedule."""

    schedule_id: UUID
    hard_delete: bool = False


class PauseSchedule(Event, subject="cmd.scheduler.schedule.pause"):
    """Suspend a schedule."""

    schedule_id: UUID
    reason: str | None = None


class ResumeSchedule(Event, subject="cmd.scheduler.schedule.resume"):
    """Go on with a suspended schedule."""

    schedule_id: UUID


class TriggerSchedule(Event, subject="cmd.scheduler.schedule.trigger"):
    """Run a schedule now, besides its times."""

    schedule_id: UUID
    override_payload: dict[str, Any] | None = None


class ExecuteImmediate(Event, subject="cmd.scheduler.execute.immediate"):
    """Send a command once, now."""

    target_command: str
    command_payload: dict[str, Any] = Field(default_factory=dict)
    priority: Priority = 5


class ScheduleCreated(Event, subject="evt.scheduler.schedule.created"):
    """A schedule is there."""

    schedule_id: UUID
    name: str
    schedule_type: ScheduleType
    target_command: str
    next_run_at: datetime | None = None
    created_by: str
    created_at: datetime


class ScheduleUpdated(Event, subject="evt.scheduler.schedule.updated"):
    """A schedule has changed."""

    schedule_id: UUID
    updated_fields: list[str]
    next_run_at: datetime | None = None
    updated_by: str
    updated_at: datetime


class ScheduleDeleted(Event, subject="evt.scheduler.schedule.deleted"):
    """A schedule has ended."""

    schedule_id: UUID
    deleted_by: str
    deleted_at: datetime
    hard_delete: bool


class SchedulePaused(Event, subject="evt.scheduler.schedule.paused"):
    """A schedule is suspended."""

    schedule_id: UUID
    reason: str | None = None
    paused_by: str
    paused_at: datetime


class ScheduleResumed(Event, subject="evt.scheduler.schedule.resumed"):
    """A schedule goes on."""

    schedule_id: UUID
    next_run_at: datetime | None = None
    resumed_by: str
    resumed_at: datetime


class ScheduleTriggered(Event, subject="evt.scheduler.schedule.triggered"):
    """A schedule was run besides its times."""

    schedule_id: UUID
    execution_id: UUID
    triggered_by: str
    triggered_at: datetime


class ExecutionStarted(Event, subject="evt.scheduler.execution.started"):
    """A command was sent."""

    execution_id: UUID
    schedule_id: UUID
    schedule_name: str
    target_command: str
    scheduled_for: datetime
    started_at: datetime
    attempt_number: int = 1


class ExecutionCompleted(Event, subject="evt.scheduler.execution.completed"):
    """An execution has ended."""

    execution_id: UUID
    schedule_id: UUID
    status: ExecutionStatus
    duration_ms: float
    completed_at: datetime
    next_run_at: datetime | None = None


class ExecutionFailed(Event, subject="evt.scheduler.execution.failed"):
    """An execution did not succeed."""

    execution_id: UUID
    schedule_id: UUID
    error_message: str
    error_type: str | None = None
    will_retry: bool
    retry_at: datetime | None = None
    attempt_number: int
    failed_at: datetime
