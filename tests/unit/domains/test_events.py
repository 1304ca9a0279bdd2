"""The typed events of all domains: subjects, defaults, keys and schemas that services rely on."""

from __future__ import annotations

import hashlib
import inspect
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import ValidationError

from glam_sdk.domains.catalog import events as catalog
from glam_sdk.domains.credit import events as credit
from glam_sdk.domains.notification import events as notification
from glam_sdk.domains.scheduler import events as scheduler
from glam_sdk.events import Event, EventRegistry, decode, encode, envelope_of

SNAPSHOT = Path(__file__).with_name("event_schemas.json")
ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")

SUBJECTS = [
    "cmd.catalog.analyze_items",
    "cmd.catalog.enrich_with_ai",
    "cmd.catalog.process_images",
    "cmd.catalog.sync_initial",
    "cmd.catalog.sync_update",
    "cmd.notification.bulk_send",
    "cmd.notification.send_email",
    "cmd.scheduler.execute.immediate",
    "cmd.scheduler.schedule.create",
    "cmd.scheduler.schedule.delete",
    "cmd.scheduler.schedule.pause",
    "cmd.scheduler.schedule.resume",
    "cmd.scheduler.schedule.trigger",
    "cmd.scheduler.schedule.update",
    "evt.account.created",
    "evt.catalog.ai_enriched",
    "evt.catalog.images_processed",
    "evt.catalog.items_analyzed",
    "evt.catalog.sync_completed",
    "evt.catalog.sync_failed",
    "evt.catalog.sync_started",
    "evt.merchant.created",
    "evt.notification.bulk_send.completed",
    "evt.notification.email.failed",
    "evt.notification.email.sent",
    "evt.order.updated",
    "evt.scheduler.execution.completed",
    "evt.scheduler.execution.failed",
    "evt.scheduler.execution.started",
    "evt.scheduler.schedule.created",
    "evt.scheduler.schedule.deleted",
    "evt.scheduler.schedule.paused",
    "evt.scheduler.schedule.resumed",
    "evt.scheduler.schedule.triggered",
    "evt.scheduler.schedule.updated",
    "evt.subscription.renewed",
]


def declared():
    """Return every event class of the domains, by subject."""
    registry = EventRegistry()
    for module in (catalog, credit, notification, scheduler):
        for _, found in inspect.getmembers(module, inspect.isclass):
            if issubclass(found, Event) and found.event_subject:
                registry.register(found)
    return {event.event_subject: event for event in registry}


def test_each_subject_of_the_contract_has_one_class():
    """No subject is missing, none is spelled in another way, none is there twice."""
    assert sorted(declared()) == SUBJECTS


def test_schemas_change_only_on_purpose():
    """A payload's schema is public; after a wanted change, delete the snapshot and run."""
    found = {subject: event.model_json_schema() for subject, event in sorted(declared().items())}
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(text)
        pytest.fail(f"{SNAPSHOT.name} was written anew. Read what changed, and run again.")
    assert json.loads(text) == json.loads(SNAPSHOT.read_text())


def test_a_free_payload_travels_whole():
    """Fields nobody declared are kept where the contract says that any may come."""
    event = catalog.SyncFailed(error_message="timeout", sync_id="s-1", items=[1, 2])
    back = catalog.SyncFailed.from_envelope(decode(encode(envelope_of(event, source_service="x"))))
    assert back == event
    assert back.model_extra == {"sync_id": "s-1", "items": [1, 2]}


def test_the_defaults_of_a_schedule_are_the_contracts():
    """What a sender leaves out is filled in alike everywhere."""
    command = scheduler.CreateSchedule(
        name="nightly", schedule_type="cron", target_command="cmd.catalog.sync_update"
    )
    assert (command.timezone, command.priority) == ("UTC", 5)
    assert (command.max_retries, command.retry_delay_seconds) == (3, 300)
    assert (command.command_payload, command.tags, command.created_by) == ({}, [], None)
    assert scheduler.DeleteSchedule(schedule_id=ID).hard_delete is False


@pytest.mark.parametrize(
    "wrong", [{"priority": 0}, {"priority": 11}, {"max_retries": -1}, {"retry_delay_seconds": -1}]
)
def test_limits_of_a_schedule_are_checked(wrong):
    """A value outside of the contract is refused at the sender."""
    with pytest.raises(ValidationError):
        scheduler.CreateSchedule(
            name="n", schedule_type="immediate", target_command="cmd.catalog.sync_update", **wrong
        )


RECIPIENT = notification.Recipient(
    merchant_id=ID, merchant_domain="shop.example", email="ada@example.com", unsubscribe_token="t"
)
AT = datetime(2026, 1, 15, 10, 59, 59, tzinfo=UTC)


def mail(now):
    return notification.create_send_email_command(
        "welcome", RECIPIENT, source_service="billing-service", now=now
    )


def test_no_second_mail_of_a_kind_within_the_hour():
    """The key is one for merchant, type, address and hour in UTC."""
    expected = hashlib.sha256(f"{ID}:welcome:ada@example.com:2026011510".encode()).hexdigest()
    elsewhere = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert mail(AT).idempotency_key == mail(elsewhere).idempotency_key == f"send_{expected[:16]}"
    assert mail(AT + timedelta(seconds=1)).idempotency_key != mail(AT).idempotency_key
    assert mail(AT).payload["recipient"]["dynamic_content"] == {}


def test_a_bulk_command_has_a_key_of_its_own():
    """Type, number and moment; a key that is given wins."""
    expected = hashlib.sha256(b"news:2:2026-01-15T10:59:59.000000+00:00").hexdigest()[:16]
    make = notification.create_bulk_email_command
    recipients = [RECIPIENT, RECIPIENT]
    command = make("news", recipients, source_service="x", now=AT)
    assert command.idempotency_key == f"bulk_{expected}"
    chosen = make("news", recipients, source_service="x", idempotency_key="mine")
    assert chosen.idempotency_key == "mine"
    assert command.subject == "cmd.notification.bulk_send"
