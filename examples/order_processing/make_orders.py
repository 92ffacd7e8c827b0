"""Makes `orders.csv`, the same one each time: the file beside this one was written by it."""

import csv
import random
from pathlib import Path

COUNT = 3000
STREETS = ("Mill Lane", "Station Road", "Harbour Street", "Church Hill", "Elm Grove", "High Street")
CARDS = ("good",) * 85 + ("slow",) * 10 + ("stolen",) * 3 + ("broken",) * 2


def rows() -> list[dict[str, object]]:
    chance = random.Random(2026)
    made: list[dict[str, object]] = []
    for number in range(1, COUNT + 1):
        total = 0 if chance.random() < 0.04 else chance.randint(500, 250_000)
        street = "" if chance.random() < 0.02 else chance.choice(STREETS)
        made.append(
            {
                "order_id": f"order-{number:05}",
                "total_cents": total,
                "card": chance.choice(CARDS),
                "address": f"{chance.randint(1, 180)} {street}" if street else "",
            }
        )
    return made


def main() -> None:
    with Path(__file__).with_name("orders.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["order_id", "total_cents", "card", "address"])
        writer.writeheader()
        writer.writerows(rows())


if __name__ == "__main__":
    main()
