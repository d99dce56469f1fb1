"""Customers: whom a merchant takes payments from. What names them is sealed with the merchant's data key.

An e-mail address is found by a keyed hash. Deleting erases what names the customer and leaves its id, so that its
payments still belong together; that somebody was created, changed or deleted, and by which key, stays too.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import ARRAY, ColumnElement, RowMapping, Text, and_, any_, cast, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants.data_keys import wrapped_key
from gateway.merchants.principals import MerchantPrincipal
from gateway.merchants.tables import customer_moves, customers

_EMAIL_PURPOSE: Final = "payer_email"


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """What names a customer; sealed as one."""

    name: str | None = None
    email: str | None = None
    phone: str | None = None

    def __repr__(self) -> str:
        """No name or address reaches a log."""
        return "Details(…)"


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """A customer as its merchant sees it; once deleted, nothing that names it is left."""

    object: Literal["customer"] = "customer"
    id: str
    livemode: bool
    name: str | None
    email: str | None
    phone: str | None
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime
    deleted: bool
    version: int

    def __repr__(self) -> str:
        """No name or address reaches a log."""
        return f"Customer({self.id})"


def canonical_email(email: str) -> str:
    """The address in the one form in which it is compared."""
    return email.strip().casefold()


def email_lookup(vault: Vault, email: str) -> bytes:
    """What stands for an address in every table, for all merchants alike."""
    return vault.lookup(canonical_email(email), purpose=_EMAIL_PURPOSE)


async def create(
    connection: AsyncConnection,
    vault: Vault,
    principal: MerchantPrincipal,
    *,
    details: Details,
    metadata: dict[str, str],
) -> Customer:
    """A new customer of the account."""
    now, customer_id = principal.clock.now(), new_id("cus", livemode=principal.livemode)
    row = {
        "book_id": principal.book_id,
        "customer_id": customer_id,
        "account_id": principal.account_id,
        "livemode": principal.livemode,
        "version": 1,
        **await _sealed(connection, vault, principal, customer_id, details),
        "metadata": metadata,
        "created_at": now,
        "updated_at": now,
        "deleted_at": None,
    }
    await connection.execute(insert(customers).values(row))
    await _note(connection, principal, customer_id, version=1, move="created", moved_at=now)
    found = await find(connection, vault, principal, customer_id)
    assert found is not None
    return found


async def find(
    connection: AsyncConnection, vault: Vault, principal: MerchantPrincipal, customer_id: str
) -> Customer | None:
    """One customer of the account, a deleted one too."""
    statement = select(customers).where(_is_row(principal, customer_id))
    row = (await connection.execute(statement)).mappings().one_or_none()
    return None if row is None else _opened(vault, await wrapped_key(connection, principal.account_id), row)


async def find_all(
    connection: AsyncConnection, vault: Vault, principal: MerchantPrincipal, customer_ids: Iterable[str]
) -> dict[str, Customer]:
    """The account's customers with these ids, deleted ones too."""
    c, wanted = customers.c, sorted(set(customer_ids))
    mine = and_(c.book_id == principal.book_id, c.account_id == principal.account_id)
    statement = select(customers).where(mine, c.customer_id == any_(cast(wanted, ARRAY(Text))))
    rows = (await connection.execute(statement)).mappings().all()
    key = await wrapped_key(connection, principal.account_id)
    return {row["customer_id"]: _opened(vault, key, row) for row in rows}


async def page(
    connection: AsyncConnection,
    vault: Vault,
    principal: MerchantPrincipal,
    *,
    limit: int,
    email: str | None = None,
    starting_after: str | None = None,
    ending_before: str | None = None,
) -> tuple[list[Customer], bool]:
    """Customers of the account, newest first, and whether there are more in the direction of the cursor.

    Args:
        connection: for reading.
        vault: opens what names them.
        principal: whose customers.
        limit: how many at most.
        email: only those with this address.
        starting_after: only customers older than this one.
        ending_before: only customers newer than this one; not together with `starting_after`.
    """
    c = customers.c
    statement = select(customers).where(
        c.book_id == principal.book_id, c.account_id == principal.account_id, c.deleted_at.is_(None)
    )
    if email is not None:
        statement = statement.where(c.email_lookup == email_lookup(vault, email))
    if starting_after is not None:
        statement = statement.where(c.customer_id < starting_after)
    if ending_before is not None:
        statement = statement.where(c.customer_id > ending_before)
    newest_first = ending_before is None
    statement = statement.order_by(c.customer_id.desc() if newest_first else c.customer_id).limit(limit + 1)
    rows = (await connection.execute(statement)).mappings().all()
    key = await wrapped_key(connection, principal.account_id)
    found = [_opened(vault, key, row) for row in rows[:limit]]
    return (found if newest_first else found[::-1]), len(rows) > limit


async def change(
    connection: AsyncConnection,
    vault: Vault,
    principal: MerchantPrincipal,
    customer_id: str,
    *,
    details: dict[str, str],
    metadata: dict[str, str] | None,
) -> Customer | None:
    """Change what is given; an empty text takes a detail away. None where there is no such customer any more."""
    row = await _locked(connection, principal, customer_id)
    if row is None or row["deleted_at"] is not None:
        return None
    before = _opened(vault, await wrapped_key(connection, principal.account_id), row)
    kept = {name: getattr(before, name) for name in Details.__struct_fields__}
    after = Details(**(kept | {name: value or None for name, value in details.items()}))
    sealed = await _sealed(connection, vault, principal, customer_id, after)
    kept_or_new = before.metadata if metadata is None else metadata
    await _move(connection, principal, row, "updated", {**sealed, "metadata": kept_or_new})
    return await find(connection, vault, principal, customer_id)


async def remove(
    connection: AsyncConnection, vault: Vault, principal: MerchantPrincipal, customer_id: str
) -> Customer | None:
    """Erase what names the customer; None where the account has no such one. A second time changes nothing."""
    row = await _locked(connection, principal, customer_id)
    if row is not None and row["deleted_at"] is None:
        erased: dict[str, Any] = {
            "sealed_details": None,
            "email_lookup": None,
            "metadata": {},
            "deleted_at": principal.clock.now(),
        }
        await _move(connection, principal, row, "deleted", erased)
    return await find(connection, vault, principal, customer_id)


async def exists(connection: AsyncConnection, principal: MerchantPrincipal, customer_id: str) -> bool:
    """Whether it is a customer of the account, and not deleted."""
    statement = select(customers.c.customer_id).where(_is_row(principal, customer_id), customers.c.deleted_at.is_(None))
    return (await connection.execute(statement)).first() is not None


async def email_lookup_of(connection: AsyncConnection, *, book_id: int, customer_id: str) -> bytes | None:
    """The look-up of the customer's address, if it has one."""
    c = customers.c
    statement = select(c.email_lookup).where(c.book_id == book_id, c.customer_id == customer_id)
    found = (await connection.execute(statement)).scalar_one_or_none()
    return None if found is None else bytes(found)


async def _locked(connection: AsyncConnection, principal: MerchantPrincipal, customer_id: str) -> RowMapping | None:
    statement = select(customers).where(_is_row(principal, customer_id)).with_for_update()
    return (await connection.execute(statement)).mappings().one_or_none()


async def _move(
    connection: AsyncConnection, principal: MerchantPrincipal, row: RowMapping, move: str, values: Mapping[str, Any]
) -> None:
    """Write the locked customer's next version, and who made it."""
    now, version = principal.clock.now(), row["version"] + 1
    await connection.execute(
        update(customers)
        .where(_is_row(principal, row["customer_id"]))
        .values({"version": version, "updated_at": now, **values})
    )
    await _note(connection, principal, row["customer_id"], version=version, move=move, moved_at=now)


async def _note(
    connection: AsyncConnection,
    principal: MerchantPrincipal,
    customer_id: str,
    *,
    version: int,
    move: str,
    moved_at: datetime,
) -> None:
    await connection.execute(
        insert(customer_moves).values(
            book_id=principal.book_id,
            customer_id=customer_id,
            version=version,
            move=move,
            actor=principal.key_id,
            moved_at=moved_at,
        )
    )


async def _sealed(
    connection: AsyncConnection, vault: Vault, principal: MerchantPrincipal, customer_id: str, details: Details
) -> dict[str, bytes | None]:
    key = await wrapped_key(connection, principal.account_id)
    return {
        "sealed_details": vault.seal(key, msgspec.json.encode(details), context=_details_of(customer_id)),
        "email_lookup": None if details.email is None else email_lookup(vault, details.email),
    }


def _opened(vault: Vault, key: bytes, row: RowMapping) -> Customer:
    details = Details()
    if row["sealed_details"] is not None:
        opened = vault.open(key, row["sealed_details"], context=_details_of(row["customer_id"]))
        details = msgspec.json.decode(opened, type=Details)
    return Customer(
        id=row["customer_id"],
        livemode=row["livemode"],
        name=details.name,
        email=details.email,
        phone=details.phone,
        metadata=row["metadata"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        deleted=row["deleted_at"] is not None,
        version=row["version"],
    )


def _is_row(principal: MerchantPrincipal, customer_id: str) -> ColumnElement[bool]:
    c = customers.c
    return and_(c.book_id == principal.book_id, c.customer_id == customer_id, c.account_id == principal.account_id)


def _details_of(customer_id: str) -> str:
    return f"customer_details:{customer_id}"
