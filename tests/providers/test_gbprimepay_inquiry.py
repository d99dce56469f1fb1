"""The inquiry against a scripted GBPrimePay over real HTTP."""

from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.foundation.clock import BANGKOK
from gateway.providers.base import (
    FactKind,
    FactSource,
    Inquiry,
    Unknown,
)
from tests.providers.gbprimepay import KEY, NOON, NOT_FOUND, REFERENCE, STATUS, TXN, found_txn, run
from tests.providers.stub import Raw, Reply


async def test_inquiry_says_the_payment_with_its_own_id():
    outcome, stub = await run({STATUS: found_txn(TXN)}, "inquire", KEY, NOON)
    assert isinstance(outcome, Inquiry)
    (fact,) = outcome.facts
    assert (fact.kind, fact.source, fact.amount_minor, fact.currency) == (
        FactKind.CAPTURED,
        FactSource.INQUIRY,
        1234_50,
        "THB",
    )
    assert (fact.provider_reference, fact.provider_transaction_id) == (KEY, "gbp0000000001")
    assert fact.occurred_at == datetime(2026, 1, 1, 12, 0, 1, tzinfo=BANGKOK)
    assert stub.requests[0].json() == {"referenceNo": REFERENCE}
    # By its short reference too: the whole key is in merchantDefined1.
    outcome, stub = await run({STATUS: found_txn(TXN)}, "inquire", REFERENCE, NOON)
    assert (outcome.facts, stub.requests[0].json()) == ((fact,), {"referenceNo": REFERENCE})
    # Where that does not come back, the key that we asked by names the charge; without a date, its own moment.
    bare = {name: TXN[name] for name in TXN if name not in {"merchantDefined1", "date", "time"}}
    outcome, _ = await run({STATUS: found_txn({**bare, "amount": "1234.50"})}, "inquire", KEY, NOON)
    assert outcome.facts == (replace(fact, occurred_at=NOON),)


@pytest.mark.parametrize(
    ("status", "result_code", "kind"),
    [
        ("S", "00", FactKind.CAPTURED),
        ("V", "00", FactKind.CAPTURED),
        ("G", "", FactKind.PENDING),
        ("A", "00", FactKind.PENDING),
        ("", "", FactKind.PENDING),
        ("D", "51", FactKind.DECLINED),
        ("D", "ZZ", FactKind.DECLINED),
        ("X", "00", None),
        ("s", "00", None),
        ("S", "51", None),
    ],
)
async def test_status_is_read_by_the_map_alone(status: str, result_code: str, kind: FactKind | None):
    said = {**TXN, "status": status, "resultCode": result_code}
    outcome, _ = await run({STATUS: found_txn(said)}, "inquire", KEY, NOON)
    if kind is None:
        assert isinstance(outcome, Unknown)
        return
    (fact,) = outcome.facts
    assert fact.kind is kind
    assert fact.provider_transaction_id == ("gbp0000000001" if kind is FactKind.CAPTURED else KEY)
    declined = kind is FactKind.DECLINED
    assert fact.provider_code == (result_code if declined else None)
    assert fact.failure_code == ({"51": "insufficient_funds"}.get(result_code, "declined") if declined else None)
    assert (outcome.next_action is not None) is (kind is FactKind.PENDING)


async def test_of_several_attempts_every_payment_counts_else_the_last():
    failed = {**TXN, "status": "D", "resultCode": "05", "gbpReferenceNo": "gbp0000000002"}
    again = {**TXN, "gbpReferenceNo": "gbp0000000003", "amount": 1000}
    outcome, _ = await run({STATUS: found_txn(failed, TXN, again)}, "inquire", KEY, NOON)
    assert [(fact.provider_transaction_id, fact.amount_minor) for fact in outcome.facts] == [
        ("gbp0000000001", 1234_50),
        ("gbp0000000003", 1000_00),
    ]
    outcome, _ = await run({STATUS: found_txn({**TXN, "status": "G"}, failed)}, "inquire", KEY, NOON)
    assert [fact.kind for fact in outcome.facts] == [FactKind.DECLINED]
    both = (200, {"resultCode": "00", "txn": TXN, "txns": [TXN]})
    outcome, _ = await run({STATUS: both}, "inquire", KEY, NOON)
    assert len(outcome.facts) == 1


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (NOT_FOUND, Inquiry(found=False)),
        ((200, {"resultCode": "00"}), Inquiry(found=False)),
        ((200, {"resultCode": "99"}), Unknown),
        ((401, b"Unauthorized"), Unknown),
        ((200, b"Incomplete information"), Unknown),
        ((200, b'{"resultCode":"00","txn":'), Unknown),
        ((500, b""), Unknown),
        (found_txn({**TXN, "referenceNo": "OTHER"}), Unknown),
        (found_txn({**TXN, "merchantDefined1": "QK20260000000000ABCE"}), Unknown),
        (found_txn({**TXN, "amount": "NaN"}), Unknown),
        (found_txn({**TXN, "amount": 0}), Unknown),
        (found_txn({**TXN, "amount": -5}), Unknown),
        (found_txn({**TXN, "amount": 1.001}), Unknown),
        (found_txn({**TXN, "amount": "1e400"}), Unknown),
        (found_txn({**TXN, "amount": None}), Unknown),
        (found_txn({**TXN, "gbpReferenceNo": ""}), Unknown),
        (found_txn({**TXN, "date": "32012026"}), Unknown),
        (found_txn({**TXN, "date": "2026-01-01"}), Unknown),
        (Raw(), Unknown),
    ],
)
async def test_inquiry_is_believed_only_when_understood(reply: Reply, expected: Any):
    outcome, _ = await run({STATUS: reply}, "inquire", KEY, NOON)
    assert outcome == expected if isinstance(expected, Inquiry) else type(outcome) is expected
