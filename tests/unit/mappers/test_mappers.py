"""Prove the mappers of the contract."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import create_engine, inspect
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from glam_sdk.mappers import BaseMapper, CRUDMapper


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str]
    total: Mapped[Decimal]
    note: Mapped[str | None]
    merchant: Mapped[str] = mapped_column(default="nobody")


class NewOrder(BaseModel):
    code: str
    total: Decimal
    note: str | None = None


class OrderPatch(BaseModel):
    code: str | None = None
    note: str | None = None


class OrderOut(BaseModel):
    id: int
    code: str
    total: Decimal = Field(ge=0)


class ByHand(BaseMapper[Order, NewOrder, OrderPatch, OrderOut]):
    def create_to_model(self, dto: NewOrder) -> Order:
        return Order(code=dto.code.upper(), total=dto.total)

    def model_to_response(self, model: Order) -> OrderOut:
        return OrderOut(id=model.id, code=model.code, total=model.total)


mapper = CRUDMapper(Order, OrderOut)


def order(**values: object) -> Order:
    return Order(**{"id": 1, "code": "a", "total": Decimal(3), "note": "n", **values})


def test_a_mapper_written_by_hand_gets_lists_and_updates_for_two_methods() -> None:
    """What is None in an update is left out."""
    by_hand = ByHand()
    assert by_hand.create_to_model(NewOrder(code="x", total=Decimal(1))).code == "X"
    shown = by_hand.models_to_responses([order(), order(id=2)])
    assert [one.id for one in shown] == [1, 2]
    assert by_hand.update_to_dict(OrderPatch(code="y", note=None)) == {"code": "y"}


def test_a_mapper_without_its_two_methods_cannot_be_made() -> None:
    """The mistake shows at start-up."""
    with pytest.raises(TypeError, match="create_to_model"):
        BaseMapper()  # type: ignore[abstract]


def test_a_model_is_made_of_a_dto_and_what_no_caller_may_say() -> None:
    """The extra values win."""
    made = mapper.to_model(NewOrder(code="x", total=Decimal(1)), merchant="me", code="y")
    assert (made.code, made.total, made.note, made.merchant) == ("y", Decimal(1), None, "me")


@given(
    given_fields=st.fixed_dictionaries(
        {}, optional={"code": st.text(), "note": st.none() | st.text()}
    )
)
def test_a_patch_takes_over_exactly_the_fields_that_were_set(
    given_fields: dict[str, str | None],
) -> None:
    """None that was said is a value; a field left out is none."""
    patched = order()
    dto = OrderPatch.model_validate(given_fields)
    different = {n for n, v in given_fields.items() if v != getattr(order(), n)}
    assert mapper.is_dirty(patched, dto) == bool(different)
    assert mapper.patch_model(patched, dto) == different
    expected = {"code": "a", "note": "n", **given_fields}
    assert {"code": patched.code, "note": patched.note} == expected
    assert not mapper.is_dirty(patched, dto)


class Sparse(BaseModel):
    """What a caller may leave out: with a default of its own, without one, and made anew."""

    code: str = "none"
    total: Decimal = Field(default_factory=lambda: Decimal(7))
    note: str | None = None
    merchant: str | None = None


def test_what_a_caller_leaves_out_keeps_the_columns_default() -> None:
    """None that nobody said is no value; None that was said is, and so is a DTO's own default."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        made = mapper.to_model(Sparse(), id=1)
        assert "merchant" not in inspect(made).dict
        session.add(made)
        session.flush()
        assert (made.code, made.total, made.note, made.merchant) == ("none", 7, None, "nobody")
    engine.dispose()
    said = mapper.to_model(Sparse(merchant=None))
    assert inspect(said).dict["merchant"] is None
    assert mapper.to_model(Sparse(), merchant="me").merchant == "me"


def test_an_unknown_name_is_an_error_and_changes_nothing() -> None:
    """A misspelt field must not vanish."""
    patched = order()
    with pytest.raises(ValueError, match=r"Order has no 'colour'.*code"):
        mapper.patch_model(patched, OrderPatch(code="z"), colour="red")
    assert patched.code == "a"
    with pytest.raises(ValueError, match="colour"):
        mapper.to_model(NewOrder(code="x", total=Decimal(1)), colour="red")


def test_models_are_shown_one_by_one_or_in_one_pass() -> None:
    """What a response may not be is refused, in lists with its place."""
    assert mapper.to_out(order()) == OrderOut(id=1, code="a", total=Decimal(3))
    assert [one.id for one in mapper.list_to_out(order(id=n) for n in (3, 1))] == [3, 1]
    with pytest.raises(ValidationError) as caught:
        mapper.list_to_out([order(), order(total=Decimal(-1))])
    assert caught.value.errors()[0]["loc"] == (1, "total")


def test_a_model_is_dirty_until_it_is_written() -> None:
    """New ones are; loaded ones are once they differ from their row."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        fresh = order()
        assert mapper.is_dirty(fresh)
        session.add(fresh)
        session.flush()
        assert not mapper.is_dirty(fresh)
        fresh.note = None
        assert mapper.is_dirty(fresh)
    engine.dispose()
