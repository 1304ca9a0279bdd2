"""The HTTP edge of the shop: takes carts from customers and hands them to orders."""

from decimal import Decimal
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

import glam_sdk
from glam_sdk.api import ApiResponse, success_response
from glam_sdk.client import http_client, raise_for_upstream
from glam_sdk.config import ServiceConfig, load
from glam_sdk.errors import ConflictError


class StorefrontSettings(ServiceConfig):
    """Settings of this service alone; ``STOREFRONT_ORDERS_URL`` in the environment."""

    orders_url: str = "http://127.0.0.1:8001"
    """Where the orders service is."""


settings = load(StorefrontSettings, "storefront")
service = glam_sdk.init("storefront", version="1.0.0")
app = service.install(FastAPI(title="Storefront"))
orders = http_client(settings.orders_url, service_name="orders")
log = glam_sdk.get_logger(__name__)


class Cart(BaseModel):
    """What a customer wants to buy."""

    customer: str = Field(min_length=1, max_length=80)
    product: str
    quantity: int = Field(ge=1, le=100)
    price: Decimal = Field(gt=0, decimal_places=2)


@app.post("/checkout", status_code=201)
async def checkout(cart: Cart) -> ApiResponse[dict[str, Any]]:
    """Place an order for a cart."""
    log.info("checkout.started", product=cart.product, quantity=cart.quantity)
    answer = await orders.post("/orders", json=cart.model_dump(mode="json"))
    if answer.status_code == 409:
        raise ConflictError("This product is sold out.", current_state="sold_out")
    return success_response(raise_for_upstream(answer).json()["data"])
