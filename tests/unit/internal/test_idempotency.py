"""Prove the form of idempotency keys (contract, section 7)."""

from __future__ import annotations

import pytest

from glam_sdk.idempotency import generate_idempotency_key


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("shopify", "order", "123"), "SHOPIFY_ORDER_123"),
        (("shopify", "order", 123, "teststore"), "SHOPIFY_ORDER_123_TESTSTORE"),
        (("shop-ify", "order.paid", "aB-1.c", "a-b.c"), "SHOP_IFY_ORDER_PAID_aB-1.c_A_B_C"),
        (("s", "o", "1", ""), "S_O_1"),
    ],
)
def test_a_key_is_made_of_its_parts(arguments, key):
    """System, operation and extra are normalised; the identifier is untouched."""
    assert generate_idempotency_key(*arguments) == key
