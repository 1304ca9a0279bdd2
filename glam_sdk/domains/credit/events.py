"""Declare what the credit service listens to; others own these events and their fields."""

from __future__ import annotations

from glam_sdk.events import Event


class OrderUpdated(Event, subject="evt.order.updated", extra="allow"):
    """An order has changed; any fields."""


class AccountCreated(Event, subject="evt.account.created", extra="allow"):
    """An account was opened; any fields."""


class SubscriptionRenewed(Event, subject="evt.subscription.renewed", extra="allow"):
    """A subscription goes on; any fields."""


class MerchantCreated(Event, subject="evt.merchant.created", extra="allow"):
    """A merchant has joined; any fields."""
