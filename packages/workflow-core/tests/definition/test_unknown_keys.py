"""A rolling deploy: what newer code has put into a run's data survives a step of older code.

Each test has the data type twice, as an older and as a newer version of the code know it.
"""

import copy
import json
import random
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from workflow_core.definition import JsonCodec


@dataclass
class Address:
    street: str


@dataclass
class Item:
    sku: str
    count: int = 1
    label: str = ""


@dataclass
class Order:
    total: int
    address: Address | None = None
    items: list[Item] = field(default_factory=list)
    by_name: dict[str, Item] = field(default_factory=dict)


class StructItem(msgspec.Struct):
    sku: str


class StructOrder(msgspec.Struct, omit_defaults=True):
    total: int = 0
    items: list[StructItem] = []


@attrs.define
class AttrsOrder:
    total: int = 0
    items: list[StructItem] = attrs.field(factory=list)


class ModelItem(pydantic.BaseModel):
    sku: str


class ModelOrder(pydantic.BaseModel):
    total: int = 0
    items: list[ModelItem] = []


class DictItem(TypedDict):
    sku: str


class DictOrder(TypedDict):
    total: int
    items: NotRequired[list[DictItem]]


def through(codec: JsonCodec[Any], newer: Any, change: Any) -> Any:
    """What is stored after one step of older code that makes this change."""
    original = json.dumps(newer).encode()
    data = codec.decode(original)
    change(data)
    return json.loads(codec.encode(data, original))


def nothing(data: Any) -> None:
    pass


def set_total(data: Any) -> None:
    if isinstance(data, dict):
        data["total"] = 8
    else:
        data.total = 8


@pytest.mark.parametrize("kind", [StructOrder, AttrsOrder, ModelOrder, DictOrder])
@pytest.mark.parametrize("change", [nothing, set_total])
def test_unknown_keys_survive_when_data_is_of_any_kind(kind: Any, change: Any) -> None:
    newer = {"total": 7, "new": [1, {"x": None}], "items": [{"sku": "a", "new": 1}, {"sku": "b"}]}
    stored = through(JsonCodec(kind), newer, change)
    assert stored == {**newer, "total": 8 if change is set_total else 7}


@pytest.fixture
def orders() -> JsonCodec[Order]:
    return JsonCodec(Order)


NEWER = {
    "total": 7,
    "currency": "EUR",
    "address": {"street": "s", "city": "c"},
    "items": [],
    "by_name": {
        "a": {"sku": "a", "count": 1, "label": "", "tax": 1},
        "b": {"sku": "b", "count": 1, "label": "", "tax": 2},
    },
}


def test_unknown_keys_survive_at_every_level_when_known_ones_are_changed(
    orders: JsonCodec[Order],
) -> None:
    def change(order: Order) -> None:
        order.total = 8
        assert order.address is not None
        order.address.street = "t"
        order.by_name["a"].count = 5

    assert through(orders, NEWER, change) == {
        **NEWER,
        "total": 8,
        "address": {"street": "t", "city": "c"},
        "by_name": {
            "a": {"sku": "a", "count": 5, "label": "", "tax": 1},
            "b": {"sku": "b", "count": 1, "label": "", "tax": 2},
        },
    }


def test_unknown_keys_go_when_the_object_that_had_them_goes(orders: JsonCodec[Order]) -> None:
    def change(order: Order) -> None:
        order.address = None
        del order.by_name["a"]
        order.by_name["c"] = Item("c")

    stored = through(orders, NEWER, change)
    assert stored["address"] is None
    assert stored["by_name"] == {
        "b": {"sku": "b", "count": 1, "label": "", "tax": 2},
        "c": {"sku": "c", "count": 1, "label": ""},
    }


def test_key_of_a_dict_stays_away_when_it_was_deleted(orders: JsonCodec[Order]) -> None:
    """A deleted key is not an unknown one. Seen to fail where ``new`` was laid over ``stored``."""
    stored = through(orders, NEWER, lambda order: order.by_name.clear())
    assert stored["by_name"] == {}
    assert stored["currency"] == "EUR"


def test_known_key_is_left_out_when_it_is_set_back_to_its_default() -> None:
    def change(order: StructOrder) -> None:
        order.total = 0

    assert through(JsonCodec(StructOrder), {"total": 7, "new": 1}, change) == {"new": 1}


def test_numbers_keep_every_digit_when_nobody_here_knows_them(orders: JsonCodec[Order]) -> None:
    original = b'{"total":7,"x":1.10,"y":123456789012345678901234567890.123456789,"z":1e400}'
    stored = orders.encode(Order(8), original)
    assert b'"x":1.10,"y":123456789012345678901234567890.123456789,"z":1E+400' in stored


def test_original_is_not_looked_into_when_the_data_is_what_it_was(orders: JsonCodec[Order]) -> None:
    original = orders.encode(Order(7, items=[Item("a")]), None)
    assert orders.encode(orders.decode(original), original) == original


# -- lists


def items_through(change: Any, *newer: dict[str, Any]) -> Any:
    stored = through(JsonCodec(Order), {"total": 1, "items": list(newer)}, change)
    return [(item["sku"], item.get("tax")) for item in stored["items"]]


A, B, C = ({"sku": sku, "count": n, "tax": n} for n, sku in enumerate("abc", start=1))


def change_all(order: Order) -> None:
    for item in order.items:
        item.label = "packed"


def reverse(order: Order) -> None:
    order.items.reverse()


def sort_and_change(order: Order) -> None:
    order.items.reverse()
    change_all(order)


def drop_first(order: Order) -> None:
    del order.items[0]


def drop_first_and_change(order: Order) -> None:
    del order.items[0]
    change_all(order)


def insert(order: Order) -> None:
    order.items.insert(0, Item("new", 9))


def replace_by_equal(order: Order) -> None:
    order.items = [Item(item.sku, item.count, item.label) for item in order.items]


def count_up(order: Order) -> None:
    for item in order.items:
        item.count += 1


def renumber(order: Order) -> None:
    order.items.reverse()
    for number, item in enumerate(order.items, start=1):
        item.count = number


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (change_all, [("a", 1), ("b", 2), ("c", 3)]),
        (reverse, [("c", 3), ("b", 2), ("a", 1)]),
        (sort_and_change, [("c", 3), ("b", 2), ("a", 1)]),
        (drop_first, [("b", 2), ("c", 3)]),
        (drop_first_and_change, [("b", 2), ("c", 3)]),
        (insert, [("new", None), ("a", 1), ("b", 2), ("c", 3)]),
        (replace_by_equal, [("a", 1), ("b", 2), ("c", 3)]),
        (count_up, [("a", 1), ("b", 2), ("c", 3)]),
        (renumber, [("c", 3), ("b", 2), ("a", 1)]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_unknown_keys_stay_with_their_element_when_a_list_is_changed(
    change: Any, kept: list[tuple[str, int | None]]
) -> None:
    """Seen to fail where elements were matched by place: a tax moved to another article."""
    assert items_through(change, A, B, C) == kept


def test_unknown_keys_go_to_nobody_when_the_changed_element_cannot_be_told() -> None:
    def change(order: Order) -> None:
        order.items[1].sku = "x"
        order.items[1].count = 9

    assert items_through(change, A, B, C) == [("a", 1), ("x", None), ("c", 3)]


def test_unknown_keys_stay_in_order_when_elements_look_alike() -> None:
    same = [{"sku": "a", "tax": 1}, {"sku": "a", "tax": 2}]
    assert items_through(set_total, *same) == [("a", 1), ("a", 2)]


def test_unknown_keys_go_to_nobody_when_one_of_two_alike_is_gone() -> None:
    same = [{"sku": "a", "tax": 1}, {"sku": "a", "tax": 2}]
    assert items_through(drop_first, *same) == [("a", None)]


@dataclass
class Row:
    n: int
    label: str = ""


@dataclass
class Counted:
    rows: list[Row]


def test_numbers_are_no_ids_when_only_some_are_found_again() -> None:
    """Counted up by ten, row 2 has the number that row 3 had."""
    rows = [{"n": 10, "tax": 1}, {"n": 20, "tax": 2}]

    def change(data: Counted) -> None:
        data.rows = [Row(row.n + 10, "x") for row in data.rows]

    stored = through(JsonCodec(Counted), {"rows": rows}, change)
    assert stored["rows"] == [{"n": 20, "label": "x"}, {"n": 30, "label": "x"}]


@dataclass
class Line:
    article: str
    batch: str
    position: int


@dataclass
class Delivery:
    lines: list[Line]


LINES = [
    {"article": "a", "batch": "x", "position": 1, "tax": 1},
    {"article": "b", "batch": "y", "position": 2, "tax": 2},
]


def test_text_is_the_better_id_when_a_number_says_otherwise() -> None:
    def change(delivery: Delivery) -> None:
        delivery.lines = [Line("b", "z", 1), Line("a", "z", 2)]

    stored = through(JsonCodec(Delivery), {"lines": LINES}, change)
    assert [(line["article"], line.get("tax")) for line in stored["lines"]] == [("b", 2), ("a", 1)]


def test_unknown_keys_go_to_nobody_when_two_ids_say_otherwise() -> None:
    def change(delivery: Delivery) -> None:
        delivery.lines = [Line("b", "x", 7), Line("a", "y", 8)]

    stored = through(JsonCodec(Delivery), {"lines": LINES}, change)
    assert not any("tax" in line for line in stored["lines"])


@dataclass(frozen=True)
class Tag:
    name: str


@dataclass
class Tagged:
    tags: frozenset[Tag]
    total: int = 0


def test_unknown_keys_never_change_hands_when_a_set_comes_in_another_order() -> None:
    tags = [{"name": name, "since": name} for name in "abcdefgh"]
    stored = through(JsonCodec(Tagged), {"tags": tags, "total": 1}, set_total)
    assert sorted(tag["name"] for tag in stored["tags"]) == list("abcdefgh")
    assert all(tag.get("since", tag["name"]) == tag["name"] for tag in stored["tags"])


class Card(msgspec.Struct, tag=True):
    number: str


class Cash(msgspec.Struct, tag=True):
    given: int


class Paid(msgspec.Struct):
    by: Card | Cash


def test_unknown_keys_go_when_the_object_became_one_of_another_kind() -> None:
    """Seen to fail without the tags: a card's key turned up on cash."""

    def change(paid: Paid) -> None:
        paid.by = Cash(5)

    newer = {"by": {"type": "Card", "number": "1", "issuer": "x"}}
    assert through(JsonCodec(Paid), newer, nothing) == newer
    assert through(JsonCodec(Paid), newer, change) == {"by": {"type": "Cash", "given": 5}}


# -- at random


def random_newer(chance: random.Random) -> dict[str, Any]:
    def extra() -> dict[str, Any]:
        values: list[Any] = [None, 1, 1.5, "x", [1, {"a": 2}], {"deep": {"er": []}}]
        return {f"new{n}": chance.choice(values) for n in range(chance.randrange(3))}

    def item(sku: str) -> dict[str, Any]:
        return {"sku": sku, "count": chance.randrange(9), "label": "", **extra()}

    skus = chance.sample("abcdefghij", k=chance.randrange(5))
    return {
        **extra(),
        "total": chance.randrange(99),
        "address": chance.choice([None, {"street": "s", **extra()}]),
        "items": [item(sku) for sku in skus],
        "by_name": {sku: item(sku) for sku in skus},
    }


def change_both(chance: random.Random, order: Order, newer: dict[str, Any]) -> None:
    """The same changes to what older code sees and to what newer code would have made of it."""
    order.total = newer["total"] = chance.randrange(99)
    if order.address is not None:
        order.address.street = newer["address"]["street"] = chance.choice("tuv")
    for item, new in zip(order.items, newer["items"], strict=True):
        item.count = new["count"] = chance.randrange(9)
    for sku in chance.sample(sorted(order.by_name), k=len(order.by_name) // 2):
        del order.by_name[sku], newer["by_name"][sku]
    for sku, item in order.by_name.items():
        item.label = newer["by_name"][sku]["label"] = chance.choice("xyz")
    places = list(range(len(order.items)))
    chance.shuffle(places)
    places = places[: chance.randrange(len(places) + 1)]
    order.items = [order.items[place] for place in places]
    newer["items"] = [newer["items"][place] for place in places]


@pytest.mark.parametrize("seed", range(20))
def test_older_code_leaves_what_newer_code_would_have_left_when_both_do_the_same(
    seed: int, orders: JsonCodec[Order]
) -> None:
    chance = random.Random(seed)
    for _ in range(50):
        newer = random_newer(chance)
        original = json.dumps(newer).encode()
        order, expected = orders.decode(original), copy.deepcopy(newer)
        change_both(chance, order, expected)
        assert json.loads(orders.encode(order, original)) == expected
