"""Buys a hat with a client that openapi-python-client made from the document: contract.client.py URL.

Every call says which answer it must have, as the type that the document gives it.
"""

import sys

from kiteshop_client import Client
from kiteshop_client.api.items import create_item, delete_item, get_item, list_items, update_item
from kiteshop_client.api.reservations import commit_reservation, get_reservation, reserve
from kiteshop_client.api.stock import create_movement, get_stock, list_movements
from kiteshop_client.models import (
    ItemInput,
    ItemInputOptionsType0,
    ItemPatch,
    LineInput,
    MoneyInput,
    MovementInput,
    MovementInputReason,
    ReservationInput,
)


def main(url):
    with Client(base_url=url, raise_on_unexpected_status=True) as client:
        hat = make_and_find(client)
        hat = change(client, hat)
        sell(client, hat)
        check(delete_item.sync_detailed(hat.id, client=client, if_match='"2"').status_code, 204)
        problem = answer(404, get_item.sync_detailed(hat.id, client=client))
        check(problem.code, "not_found")


def make_and_find(client):
    size = ItemInputOptionsType0.from_dict({"Size": "M"})
    hat = ItemInput(title="Straw Hat", options=size, tags=["summer"], price=MoneyInput(amount=1999, currency="EUR"))
    made = create_item.sync_detailed(client=client, body=hat, idempotency_key="hat")
    again = create_item.sync_detailed(client=client, body=hat, idempotency_key="hat")
    check(answer(201, again), answer(201, made))
    hat = made.parsed
    check(made.headers["Location"], f"/api/v1/items/{hat.id}")
    check(made.headers["ETag"], '"1"')
    check((hat.title, hat.tags, hat.options.to_dict(), hat.price.amount, hat.stock), ("Straw Hat", ["summer"], {"Size": "M"}, 1999, 0))

    check(answer(200, get_item.sync_detailed(hat.id, client=client)), hat)
    check(answer(200, list_items.sync_detailed(client=client, q="straw")).items, [hat])
    first = answer(200, list_items.sync_detailed(client=client, limit=1))
    second = answer(200, list_items.sync_detailed(client=client, limit=1, cursor=first.next_cursor))
    check([item.id for item in first.items + second.items], [1024, hat.id])

    problem = answer(400, create_item.sync_detailed(client=client, body=ItemInput(title=" ")))
    check((problem.code, [wrong.field for wrong in problem.errors]), ("invalid_argument", ["title"]))
    return hat


def change(client, hat):
    cheaper = ItemPatch(price=MoneyInput(amount=999, currency="EUR"))
    changed = answer(200, update_item.sync_detailed(hat.id, client=client, body=cheaper, if_match='"1"'))
    check((changed.version, changed.price.amount, changed.title), (2, 999, hat.title))
    problem = answer(412, update_item.sync_detailed(hat.id, client=client, body=cheaper, if_match='"1"'))
    check((problem.code, problem.status), ("version_mismatch", 412))
    return changed


def sell(client, hat):
    came = MovementInput(delta=3, reason=MovementInputReason.RECEIVED, reference="PO-7", actor=None)
    made = answer(201, create_movement.sync_detailed(hat.id, client=client, body=came))
    check((made.delta, made.stock.available, made.stock.low_stock_threshold), (3, 3, None))

    held = reserve.sync_detailed(client=client, body=ReservationInput(lines=[LineInput(item_id=hat.id, quantity=2)]))
    check(answer(201, held).state, "HELD")
    problem = answer(409, reserve.sync_detailed(client=client, body=ReservationInput(lines=[LineInput(item_id=hat.id, quantity=2)])))
    check((problem.code, [(line.asked, line.available) for line in problem.lines]), ("sold_out", [(2, 1)]))

    sold = answer(200, commit_reservation.sync_detailed(held.parsed.id, client=client))
    check(sold.state, "COMMITTED")
    check(answer(200, get_reservation.sync_detailed(sold.id, client=client)), sold)
    stock = answer(200, get_stock.sync_detailed(hat.id, client=client))
    check((stock.on_hand, stock.held, stock.committed, stock.available), (3, 0, 2, 1))
    ledger = answer(200, list_movements.sync_detailed(hat.id, client=client))
    check([(line.delta, line.reason, line.reference) for line in ledger.items], [(3, "received", "PO-7")])


def answer(status, response):
    check(response.status_code, status)
    if response.parsed is None:
        sys.exit(f"the answer {status} was not decoded: {response.content}")
    return response.parsed


def check(got, want):
    if got != want:
        raise AssertionError(f"got {got}, want {want}")


main(sys.argv[1])
