"""Rules of marking a function as a handler and calling it."""

from __future__ import annotations

import functools
from datetime import UTC, datetime

import pytest

from glam_sdk.config import NatsSettings
from glam_sdk.events import Envelope, Event
from glam_sdk.messaging import Delivery, HandlerSpec, Nats, Subscriber, handles
from glam_sdk.messaging.handlers import bind, spec_of
from glam_sdk.testing import InMemoryBus


class Placed(Event, subject="evt.orders.placed"):
    number: int


class Ledger:
    pass


def delivery(payload):
    envelope = Envelope("e-1", "evt.orders.placed", datetime.now(UTC), payload)
    return Delivery(envelope, {}, stream="ORDERS", durable="billing", sequence=1, attempt=1)


def test_a_marked_function_stays_itself():
    """The decorator notes a spec on the function and registers nothing anywhere."""

    async def bill(event: Placed) -> None: ...

    marked = handles(Placed, durable="billing")(bill)
    assert marked is bill
    assert spec_of(bill) == HandlerSpec(Placed, "billing", bill)
    assert spec_of(bill).subject == "evt.orders.placed"


async def test_parameters_are_filled_by_annotation():
    """Event, delivery, envelope and provided values find their parameter, whatever its name."""
    seen = []

    @handles(Placed, durable="billing")
    async def bill(ledger: Ledger, what: Placed, how: Delivery, raw: Envelope, n: int = 3) -> None:
        seen.extend([ledger, what, how, raw, n])

    given, event, ledger = delivery({"number": 1}), Placed(number=1), Ledger()
    await bind(spec_of(bill))(event, given, {Ledger: ledger})
    assert seen == [ledger, event, given, given.envelope, 3]


async def test_a_parameter_nobody_fills_is_named():
    """A missing value is an error that names the handler, the parameter and its type."""

    @handles(Placed, durable="billing")
    async def bill(event: Placed, ledger: Ledger) -> None: ...

    with pytest.raises(TypeError, match=r"bill asks for ledger: .*Ledger.*scope does not provide"):
        await bind(spec_of(bill))(Placed(number=1), delivery({}), {})


@pytest.mark.parametrize("make", [Subscriber, InMemoryBus])
def test_a_parameter_nobody_can_fill_is_found_at_start(make):
    """Without a scope there is only the event and how it came; one with a default may be asked."""

    @handles(Placed, durable="billing")
    async def bill(event: Placed, ledger: Ledger) -> None: ...

    @handles(Placed, durable="billing")
    async def count(event: Placed, ledger: Ledger | None = None) -> None: ...

    nats = [Nats(NatsSettings(), service_name="billing")] if make is Subscriber else []
    with pytest.raises(TypeError, match=r"bill asks for ledger: .*Ledger.*nothing provides"):
        make(*nats, [bill], service_name="billing")
    assert make(*nats, [count], service_name="billing")


def test_what_is_assigned_later_around_a_handler_is_no_matter():
    """A handler inside a function may name a variable that has no value yet."""

    @handles(Placed, durable="billing")
    async def bill(event: Placed) -> None:
        assert later

    assert bind(spec_of(bill)).only == "event"
    later = 1


def passing_on_names(function):
    @functools.wraps(function)
    async def passed_on(**named):
        await function(**named)

    return passed_on


def taking_something_first(function):
    @functools.wraps(function)
    async def taken(options=None, event=None):
        assert options is None
        await function(event)

    return taken


def taking_a_namesake_first(function):
    @functools.wraps(function)
    async def taken(event=None, /, **named):
        assert event is None
        await function(**named)

    return taken


@pytest.mark.parametrize(
    "around", [None, passing_on_names, taking_something_first, taking_a_namesake_first]
)
@pytest.mark.parametrize("is_named", [True, False])
async def test_a_handler_gets_its_event_by_name_or_by_place(around, is_named):
    """By place only where its own first parameter is the one for the event."""
    got = []

    async def bill(event: Placed) -> None:
        got.append(event.number)

    async def named(*, event: Placed) -> None:
        got.append(event.number)

    handler = named if is_named else bill
    if around is not None and not (is_named and around is taking_something_first):
        handler = around(handler)
    assert bind(HandlerSpec(Placed, "billing", handler)).is_positional is (handler is bill)
    bus = InMemoryBus([handles(Placed, durable="billing")(handler)], service_name="billing")
    await bus.publish(Placed(number=3))
    await bus.drain()
    assert got == [3]


def test_an_annotation_that_cannot_be_resolved_is_found_at_start():
    """A class imported for type checking only is reported before the first message."""

    @handles(Placed, durable="billing")
    async def bill(event: Placed, ledger: Unknown) -> None: ...  # noqa: F821 - the case

    with pytest.raises(TypeError, match="'ledger'"):
        bind(spec_of(bill))


def test_a_function_that_is_not_async_is_refused():
    """A blocking handler would stop every other one."""
    with pytest.raises(TypeError, match="async def"):
        handles(Placed, durable="billing")(lambda event: None)


@pytest.mark.parametrize("durable", ["", "a.b", "a b", "a*", "x" * 129])
def test_a_durable_name_the_server_refuses_is_refused_here(durable):
    """The name is part of a subject, so it has no dots, spaces or wildcards."""
    with pytest.raises(ValueError, match="Durable name"):
        handles(Placed, durable=durable)


def test_an_event_without_subject_cannot_be_handled():
    """There is nothing to listen to."""
    with pytest.raises(ValueError, match="no subject"):
        handles(Event, durable="billing")


def test_an_unmarked_function_is_refused_with_advice():
    """The error says how to mark it."""
    with pytest.raises(TypeError, match="@handles"):
        spec_of(delivery)
