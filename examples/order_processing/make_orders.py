"""Makes `orders.csv`, the same one each time: the file beside this one was written by it."""

import csv
import random
from pathlib import Path

COUNT = 3000
STREETS = ("Mill Lane", "Station Road", "Harbour Street", "Church Hill", "Elm Grove", "High Street")
CARDS = ("good",) * 82 + ("slow",) * 10 + ("stolen",) * 3 + ("broken",) * 2 + ("",) * 3


def rows() -> list[dict[str, object]]:
    chance = random.Random(2026)
    made: list[dict[str, object]] = []
    for number in range(1, COUNT + 1):
        total = 0 if chance.random() < 0.04 else chance.randint(500, 250_000)
        street = "" if chance.random() < 0.02 else chance.choice(STREETS)
        card = chance.choice(CARDS)
        made.append(
            {
                "order_id": f"order-{number:05}",
                "total_cents": total,
                "card": card,
                "address": f"{chance.randint(1, 180)} {street}" if street else "",
                "pay_within_s": 600 if card else 2,  # what nobody pays is not kept for long
            }
        )
    return made


def main() -> None:
    with Path(__file__).with_name("orders.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows()[0]))
        writer.writeheader()
        writer.writerows(rows())


if __name__ == "__main__":
    main()
