"""Name the events of the credit domain."""

from glam_sdk.domains.credit.events import (
    AccountCreated,
    MerchantCreated,
    OrderUpdated,
    SubscriptionRenewed,
)

__all__ = [
    "AccountCreated",
    "MerchantCreated",
    "OrderUpdated",
    "SubscriptionRenewed",
]
