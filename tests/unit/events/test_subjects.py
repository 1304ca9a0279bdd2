"""Rules of subjects and the streams they belong to."""

from __future__ import annotations

import pytest

from glam_sdk.events import (
    STREAMS,
    check_subject,
    domain_of,
    get_stream_for_service,
    get_stream_from_subject,
    get_stream_subjects,
    subject_matches,
)

SERVICES = {
    "analytics-service": "ANALYTICS",
    "billing-service": "BILLING",
    "catalog-ai-service": "AI_PROCESSING",
    "profile-ai-selfie": "AI_PROCESSING",
    "catalog-connector": "CATALOG",
    "catalog-service": "CATALOG",
    "credit-service": "CREDIT",
    "merchant-service": "MERCHANT",
    "notification-service": "NOTIFICATION",
    "profile-service": "PROFILE",
    "scheduler-service": "SCHEDULER",
    "webhook-service": "WEBHOOKS",
}


@pytest.mark.parametrize(("service", "stream"), SERVICES.items())
def test_each_service_of_the_contract_has_its_stream(service, stream):
    """The table of the contract is exact, and names known streams only."""
    assert get_stream_for_service(service) == stream
    assert stream in STREAMS


@pytest.mark.parametrize("service", ["orders", "orders-service"])
def test_a_new_service_owns_the_stream_of_its_name(service):
    """A service that is not in the table needs no entry."""
    assert get_stream_for_service(service) == "ORDERS"


@pytest.mark.parametrize("stream", STREAMS)
def test_a_streams_patterns_cover_subjects_of_any_depth(stream):
    """Subjects with three, four and five tokens are kept."""
    commands, events = get_stream_subjects(stream)
    for rest in ("a", "a.b", "bulk_send.completed.x"):
        assert subject_matches(commands, f"cmd.{stream.lower()}.{rest}")
        assert subject_matches(events, f"evt.{stream.lower()}.{rest}")
        assert get_stream_from_subject(f"evt.{stream.lower()}.{rest}") == stream


@pytest.mark.parametrize("domain", ["order", "account", "subscription", "orders"])
def test_a_domain_without_a_stream_gets_the_one_of_its_name(domain):
    """Subjects named in the contract without a stream have one by the default rule."""
    assert get_stream_from_subject(f"evt.{domain}.updated") == domain.upper()


@pytest.mark.parametrize(
    "subject",
    ["", "evt", "evt.orders", "evt.Orders.placed", "foo.orders.x", "evt.orders.*", "evt..x",
     "evt.orders.>", "evt.orders.a b", "evt.orders.x\n", "evt.orders.x."],
)  # fmt: skip
def test_what_is_not_a_subject_is_refused_by_name(subject):
    """A malformed subject is an error that shows it, before anything is sent."""
    with pytest.raises(ValueError, match="is not a subject") as caught:
        check_subject(subject)
    assert repr(subject) in str(caught.value)


def test_a_subject_knows_its_domain():
    """The domain is the second token."""
    assert domain_of("evt.notification.bulk_send.completed") == "notification"


def test_a_stream_name_is_upper_case():
    """A lower-case stream name is refused, as its subjects would never match it back."""
    with pytest.raises(ValueError, match="upper-case"):
        get_stream_subjects("orders")


@pytest.mark.parametrize(
    ("pattern", "subject", "covered"),
    [
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*.c", "a.b.c", True),
        ("a.>", "a", False),
        ("a.>", "a.b.c", True),
        ("a.b", "a.b", True),
        ("a.b", "a", False),
        ("a", "a.b", False),
    ],
)
def test_patterns_match_as_nats_does(pattern, subject, covered):
    """``*`` stands for one token and ``>`` for one or more."""
    assert subject_matches(pattern, subject) is covered
