"""What was settled is known again, for a while."""

from __future__ import annotations

import pytest

from glam_sdk.messaging.attempts import NOTHING, GivenUp, LocalHistories
from glam_sdk.messaging.lanes import Lanes
from glam_sdk.messaging.settlement import Settlement
from glam_sdk.messaging.stepping import DONE
from glam_sdk.messaging.surroundings import Surroundings


class Message:
    subject, stream, deliveries, repeats = "evt.orders.placed", "ORDERS", 1, 0

    def __init__(self, number):
        self.key = f"{number}.0"

    def ack(self):
        return DONE

    async def term(self, reason): ...


class Letters:
    async def keep(self, message, letter): ...


@pytest.mark.parametrize("is_given_up", [False, True])
async def test_the_latest_are_known_and_the_oldest_forgotten(is_given_up):
    """At least 25 000 are, at most twice as many, also where all become dead letters."""
    surroundings = Surroundings(Letters())
    lanes = Lanes("billing", {}, surroundings)
    settlement = Settlement("billing", lanes, surroundings, LocalHistories())
    why, most = GivenUp("permanent", "Permanent", "no"), 0
    for number in range(75_000):
        if is_given_up:
            await settlement.give_up(Message(number), NOTHING, why, 1)
        else:
            assert settlement.finish(Message(number)) is None
        most = max(most, len(settlement.done) + len(settlement.done_before))
    known = settlement.done.keys() | settlement.done_before.keys()
    assert {f"{number}.0" for number in range(50_000, 75_000)} <= known
    assert most <= 50_000
