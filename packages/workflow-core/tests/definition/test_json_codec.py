"""Run data as JSON: every kind of data type, strictly, and errors that hold none of it."""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Any, Generic, NotRequired, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest
from workflow_core.definition import JsonCodec, Workflow
from workflow_core.errors import DecodeError, DefinitionError, PayloadError, PayloadTooLargeError

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "bob@example.org"
T = TypeVar("T")


class Status(IntEnum):
    A = 1
    B = 2


@dataclass
class Item:
    sku: str
    price: Decimal = Decimal(1)


@dataclass
class Order:
    total: int
    receipt: str = ""
    items: list[Item] = field(default_factory=list)
    notes: dict[str, str | None] = field(default_factory=dict)
    weight: float = 0.0
    due: datetime | None = None
    status: Status = Status.A


@dataclass(frozen=True, slots=True)
class FrozenOrder:
    total: int
    receipt: str = ""


class StructOrder(msgspec.Struct):
    total: int
    receipt: str = ""


class ShortStruct(msgspec.Struct, omit_defaults=True, rename="camel"):
    total: int
    receipt_of_shop: str = ""


@attrs.define
class AttrsOrder:
    total: int
    receipt: str = ""


class ModelOrder(pydantic.BaseModel):
    total: int
    receipt: str = pydantic.Field(default="", alias="theReceipt")
    items: list[int] = []
    kept: pydantic.SecretStr | None = None


class DictOrder(TypedDict):
    total: int
    receipt: NotRequired[str]


@dataclass
class Box(Generic[T]):
    content: T


def flow(data_type: Any, **options: Any) -> Any:
    return Workflow("flow", data_type, Status, ends=(Status.B,), **options)


KINDS: list[tuple[Any, Any]] = [
    (Order, Order(99, "r", [Item("a", Decimal("1.10"))], {"x": None}, 0.1, status=Status.B)),
    (FrozenOrder, FrozenOrder(99, "r")),
    (StructOrder, StructOrder(99, "r")),
    (ShortStruct, ShortStruct(99)),
    (AttrsOrder, AttrsOrder(99, "r")),
    (ModelOrder, ModelOrder(total=99, theReceipt="r", items=[1])),
    (DictOrder, {"total": 99, "receipt": "r"}),
    (DictOrder, {"total": 99}),
    (Box[int], Box(3)),
    (Box[Item], Box(Item("a"))),
    (dict[str, int], {"a": 1}),
    (list[Item], [Item("a"), Item("b")]),
    (int, 7),
    (str, "text"),
    (Item | None, None),
    (Mapping[str, int], {"a": 1}),
]


@pytest.mark.parametrize(("data_type", "data"), KINDS, ids=str)
def test_codec_gives_back_the_same_when_data_is_stored(data_type: Any, data: Any) -> None:
    workflow = flow(data_type)
    stored = workflow.encode(data)
    again = workflow.decode(stored)
    assert (again, type(again)) == (data, type(data))
    assert workflow.encode(again, stored) == stored


@pytest.mark.parametrize(
    "number", [0, -1, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**64 - 1, 10**30]
)
def test_codec_keeps_every_digit_when_an_integer_is_large(number: int) -> None:
    workflow = flow(FrozenOrder)
    stored = workflow.encode(FrozenOrder(number))
    assert json.loads(stored)["total"] == number
    assert workflow.decode(stored).total == number


def random_order(chance: random.Random) -> Order:
    def text() -> str:
        letters = ["a", "Z", '"', "\\", "\n", "\x00", "\x7f", "é", "€", "😀", "\u2028", " "]
        return "".join(chance.choices(letters, k=chance.randrange(6)))

    return Order(
        total=chance.choice([0, chance.getrandbits(63), -chance.getrandbits(63), -(2**63)]),
        receipt=text(),
        items=[
            Item(text(), Decimal(chance.getrandbits(60)).scaleb(-chance.randrange(20)))
            for _ in range(chance.randrange(4))
        ],
        notes={text(): chance.choice([None, text()]) for _ in range(chance.randrange(4))},
        weight=chance.choice([0.0, 0.1, 1e308, 5e-324, -chance.random(), 1e21]),
        due=chance.choice([None, NEW_YEAR + timedelta(microseconds=chance.getrandbits(50))]),
        status=chance.choice(list(Status)),
    )


@pytest.mark.parametrize("seed", range(20))
def test_codec_gives_back_the_same_when_data_is_anything_at_all(seed: int) -> None:
    chance, workflow = random.Random(seed), flow(Order)
    for _ in range(50):
        order = random_order(chance)
        stored = workflow.encode(order)
        json.loads(stored)
        assert workflow.decode(stored) == order
        changed = random_order(chance)
        assert workflow.decode(workflow.encode(changed, stored)) == changed


# -- refused on the way in


class Rush(Order):
    pass


@pytest.mark.parametrize(
    ("data_type", "data"),
    [
        (Order, FrozenOrder(1)),
        (Order, Rush(1)),
        (Order, {"total": 1}),
        (Order, None),
        (Order, Order),
        (DictOrder, Order(1)),
        (Box[int], Item("a")),
        (dict[str, int], []),
    ],
    ids=str,
)
def test_encode_refuses_when_data_is_of_another_type(data_type: Any, data: Any) -> None:
    with pytest.raises(PayloadError, match="the data is to be") as refused:
        flow(data_type).encode(data, run_id="r1")
    assert (refused.value.workflow, refused.value.run_id) == ("flow", "r1")


@pytest.mark.parametrize(
    ("data_type", "data", "told"),
    [
        (Order, Order(SECRET), "at `$.total`"),  # type: ignore[arg-type]
        (Order, Order(1, items=[Item(3)]), "at `$.items[0].sku`"),  # type: ignore[arg-type]
        (Order, Order(1, notes={SECRET: 3}), "at `$.notes[...]`"),  # type: ignore[dict-item]
        (Order, Order(1, receipt=None), "at `$.receipt`"),  # type: ignore[arg-type]
        (Order, Order(1, status=SECRET), "Order: "),  # type: ignore[arg-type]
        (Order, Order(1, receipt=object()), "TypeError"),  # type: ignore[arg-type]
        (Order, Order(1, receipt="\ud800"), "half of a surrogate pair"),
        (Order, Order(1, weight=math.nan), "at `$.weight`"),
        (StructOrder, StructOrder(SECRET), "at `$.total`"),  # type: ignore[arg-type]
        (AttrsOrder, AttrsOrder(SECRET), "at `$.total`"),  # type: ignore[arg-type]
        (DictOrder, {"total": SECRET}, "at `$.total`"),
        (DictOrder, {}, "missing required field `total`"),
        (ModelOrder, ModelOrder.model_construct(total=SECRET), "ModelOrder: Pydantic"),
        (dict[str, int], {"a": SECRET}, "at `$[...]`"),
    ],
    ids=str,
)
def test_encode_refuses_when_a_value_within_is_of_another_type(
    data_type: Any, data: Any, told: str
) -> None:
    """Seen to fail without reading back: JSON was stored that no decode takes."""
    with pytest.raises(PayloadError) as refused:
        flow(data_type).encode(data)
    assert told in str(refused.value)
    assert SECRET not in str(refused.value)


@dataclass
class Loose:
    maybe: float | None = None
    anything: Any = None
    many: dict[str, Any] = field(default_factory=dict)


class LooseModel(pydantic.BaseModel):
    maybe: float | None = None


@pytest.mark.parametrize(
    "data",
    [
        Loose(maybe=math.nan),
        Loose(anything=math.inf),
        Loose(many={"a": [1, {"b": -math.inf}]}),
        LooseModel(maybe=math.nan),
    ],
    ids=str,
)
def test_encode_refuses_nan_when_its_null_could_be_read_back_as_none(data: Any) -> None:
    workflow = flow(type(data))
    with pytest.raises(PayloadError, match="neither NaN nor infinity"):
        workflow.encode(data)
    workflow.encode(type(data)())


def test_encode_refuses_when_data_is_over_the_limit() -> None:
    workflow = flow(FrozenOrder, max_data_bytes=31)
    assert len(workflow.encode(FrozenOrder(1, "1234567"))) == 31
    with pytest.raises(PayloadTooLargeError, match="takes 32 bytes, 31 are allowed") as refused:
        workflow.encode(FrozenOrder(1, "12345678"), run_id="r1")
    assert (refused.value.size, refused.value.limit) == (32, 31)
    assert (refused.value.workflow, refused.value.run_id) == ("flow", "r1")


# -- refused on the way out


@pytest.mark.parametrize(
    ("data_type", "stored", "told"),
    [
        (Order, b'{"total":"bob@example.org"}', "Expected `int`, got `str` - at `$.total`"),
        (Order, b'{"receipt":"bob@example.org"}', "missing required field `total`"),
        (Order, b'{"total":1,"status":3,"receipt":"bob@example.org"}', "ValidationError"),
        (Order, b'{"total":1.0}', "Expected `int`, got `float`"),
        (Order, b'{"total":1,"weight":NaN}', "DecodeError"),
        (Order, b'{"total":1} bob@example.org', "DecodeError"),
        (Order, b"bob@example.org", "DecodeError"),
        (Order, b'{"total":1,"receipt":"\xffbob@example.org"}', "UnicodeDecodeError"),
        (Order, b"", "DecodeError"),
        (ModelOrder, b'{"total":"bob@example.org"}', "int_parsing at total"),
        (ModelOrder, b'{"total":1,"items":["bob@example.org"]}', "int_parsing at items"),
        (ModelOrder, b"bob@example.org", "json_invalid"),
    ],
)
def test_decode_refuses_when_what_is_stored_is_not_of_the_type(
    data_type: Any, stored: bytes, told: str
) -> None:
    with pytest.raises(DecodeError) as refused:
        flow(data_type).decode(stored, run_id="r1")
    assert told in str(refused.value)
    assert SECRET not in str(refused.value)
    assert (refused.value.workflow, refused.value.run_id) == ("flow", "r1")
    assert refused.value.__cause__ is not None


@dataclass
class Checked:
    mail: str

    def __post_init__(self) -> None:
        if not self.mail.endswith(".org"):
            raise ValueError(f"invalid e-mail {self.mail}")


def test_refusal_holds_no_data_when_the_users_own_check_names_it() -> None:
    workflow = flow(Checked)
    with pytest.raises(DecodeError) as refused:
        workflow.decode(b'{"mail":"bob@example.com"}')
    assert "bob" not in str(refused.value)
    changed = Checked(SECRET)
    changed.mail = "bob@example.com"
    with pytest.raises(PayloadError) as refused_too:
        workflow.encode(changed)
    assert "bob" not in str(refused_too.value)


def test_encode_refuses_when_the_original_cannot_be_read() -> None:
    """What was stored is never written over by what could not read it."""
    with pytest.raises(DecodeError) as refused:
        flow(FrozenOrder).encode(FrozenOrder(1), b'{"total":"text"}', run_id="r1")
    assert (refused.value.workflow, refused.value.run_id) == ("flow", "r1")


# -- types that are refused when the workflow is declared


class Custom:
    pass


@dataclass
class HoldsCustom:
    inner: list[Custom]


@dataclass
class HoldsModel:
    inner: ModelOrder


class AsList(msgspec.Struct, array_like=True):
    total: int


@attrs.define
class Private:
    total: int
    _hidden: int = 0


@dataclass
class LostField:
    inner: "Nowhere"  # type: ignore[name-defined] # noqa: F821 - is what the test is about


@pytest.mark.parametrize(
    ("data_type", "told"),
    [
        (Custom, "holds <class '.*Custom'>"),
        (HoldsCustom, "HoldsCustom has no JSON form that keeps everything: it holds"),
        (HoldsModel, "ModelOrder"),
        (object, "object"),
        (AsList, "AsList is array_like, so what newer code adds to it would be lost"),
        (dict[str, AsList], "AsList is array_like"),
        (Private, "the private Private._hidden of an attrs class"),
        (LostField, "no name 'Nowhere'"),
        (Item | FrozenOrder, "has no JSON form"),
    ],
    ids=str,
)
def test_workflow_is_refused_when_its_data_would_not_survive_as_json(
    data_type: Any, told: str
) -> None:
    with pytest.raises(DefinitionError, match=told):
        flow(data_type)


# -- other codecs


class Reversed:
    """Wraps the JSON codec, as one for encryption would."""

    def __init__(self) -> None:
        self._json = JsonCodec(FrozenOrder)

    def encode(self, data: FrozenOrder, original: bytes | None, /) -> bytes:
        return self._json.encode(data, None if original is None else original[::-1])[::-1]

    def decode(self, stored: bytes, /) -> FrozenOrder:
        return self._json.decode(stored[::-1])


def test_own_codec_is_used_both_ways_when_it_is_given() -> None:
    workflow = flow(FrozenOrder, codec=Reversed())
    newer = b'}"x":"wen",1:"latot"{'
    stored = workflow.encode(FrozenOrder(2), newer)
    assert workflow.decode(stored) == FrozenOrder(2)
    assert json.loads(stored[::-1]) == {"total": 2, "receipt": "", "new": "x"}


class Failing:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def encode(self, data: object, original: bytes | None, /) -> bytes:
        raise self._error

    def decode(self, stored: bytes, /) -> Any:
        raise self._error


def test_own_codec_tells_no_data_when_it_refuses() -> None:
    workflow = flow(FrozenOrder, codec=Failing(ValueError(SECRET)))
    with pytest.raises(PayloadError, match="the codec refused the data with ValueError") as refused:
        workflow.encode(FrozenOrder(1))
    assert SECRET not in str(refused.value)
    with pytest.raises(DecodeError, match="could not read the stored data: ValueError"):
        workflow.decode(b"")


def test_own_codec_is_not_taken_for_a_wrong_value_when_it_cannot_work() -> None:
    """A key service that is down must not read as bad input."""
    with pytest.raises(ConnectionError):
        flow(FrozenOrder, codec=Failing(ConnectionError())).encode(FrozenOrder(1))


def test_types_that_json_lacks_are_allowed_when_a_codec_is_given() -> None:
    assert flow(Custom, codec=Failing(ValueError())).data_type is Custom
