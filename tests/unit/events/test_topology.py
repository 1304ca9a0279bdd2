"""Rules of stream declarations."""

from __future__ import annotations

from datetime import timedelta

import pytest

from glam_sdk.events import StreamSpec, default_stream


def test_a_stream_has_the_contracts_settings_by_default():
    """Seven days, 100 000 messages a subject, 60 s of duplicate window, file, limits, rollup."""
    spec = default_stream("ORDERS")
    assert spec == StreamSpec(
        "ORDERS",
        subjects=("cmd.orders.>", "evt.orders.>"),
        max_age=timedelta(days=7),
        max_msgs_per_subject=100_000,
        duplicate_window=timedelta(seconds=60),
        storage="file",
        retention="limits",
        allow_rollup=True,
    )


def test_a_stream_covers_its_own_subjects_only():
    """A declaration knows which subjects it keeps."""
    spec = StreamSpec("SHOP", subjects=("evt.orders.>", "evt.carts.*"))
    assert spec.covers("evt.orders.a.b")
    assert spec.covers("evt.carts.opened")
    assert not spec.covers("evt.carts.line.added")


@pytest.mark.parametrize(
    "settings",
    [
        {"duplicate_window": timedelta(hours=2), "max_age": timedelta(hours=1)},
        {"max_age": timedelta(seconds=-1)},
        {"duplicate_window": timedelta(seconds=-1)},
    ],
)
def test_durations_no_server_takes_are_refused(settings):
    """A wrong declaration fails where it is written, not at the first deployment."""
    with pytest.raises(ValueError, match="Stream ORDERS"):
        StreamSpec("ORDERS", **settings)
