"""Be the shop's customers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Final

_CARTS: Final = (
    {"customer": "Ada", "product": "lipstick", "quantity": 2, "price": "9.50"},
    {"customer": "Grace", "product": "mirror", "quantity": 1, "price": "24.00"},
    {"customer": "Edsger", "product": "unicorn", "quantity": 1, "price": "99.00"},
    {"customer": "Barbara", "product": "brush", "quantity": 3, "price": "4.25"},
)


def send_traffic(storefront: str) -> tuple[str, str]:
    """Send every cart; return the trace ids of the one that is refused and of the last.

    Raises:
        RuntimeError: When an answer has no trace id.
    """
    trace_id = refused = ""
    for cart in _CARTS:
        status, trace_id = _checkout(storefront, cart)
        print(f"POST /checkout  {cart['product']:<9} → {status}  trace {trace_id}")
        if not trace_id:
            raise RuntimeError("The response has no X-Trace-ID header.")
        if status == 409:
            refused = trace_id
    return refused, trace_id


def _checkout(storefront: str, cart: dict[str, object]) -> tuple[int, str]:
    request = urllib.request.Request(  # noqa: S310 - the demo's own service on loopback
        f"{storefront}/checkout",
        data=json.dumps(cart).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.headers.get("X-Trace-ID", "")
    except urllib.error.HTTPError as exc:
        return exc.code, exc.headers.get("X-Trace-ID", "")
