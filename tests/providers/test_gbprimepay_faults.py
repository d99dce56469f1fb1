"""The adapter and the sandbox's GBPrimePay over HTTP: each fault of each operation, and what the books say after."""

import msgspec
import pytest

from gateway.foundation.clock import business_date_of, real_now
from gateway.providers.base import (
    Accepted,
    Declined,
    FactKind,
    Inquiry,
    Method,
    NotAttempted,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.gbprimepay import Gbprimepay
from gateway.providers.http import ProviderHttp
from reconciliation.statements.gbprimepay import FORMAT
from tests.providers.gbprimepay_life import (
    KEY,
    account_of,
    begin,
    callback_of,
    card_token,
    charges_of,
    facts_of,
    refund_of,
    request_of,
    submit,
)
from tests.sandbox.conftest import Sandbox
from tests.sandbox.gbprimepay import GBP

SECONDS = {"timeout_before": 1.2, "timeout_after": 1.2, "slow": 0.1}


@pytest.fixture
async def adapter():
    async with ProviderHttp(timeout_seconds=10) as http:
        yield Gbprimepay(http)


@pytest.fixture
async def hasty():
    """An adapter that does not wait for a held answer."""
    async with ProviderHttp(timeout_seconds=0.5) as http:
        yield Gbprimepay(http)


@pytest.mark.parametrize(
    ("fault", "card", "qr", "kept"),
    [
        ("timeout_before", Unknown, Unknown, 0),
        ("timeout_after", Unknown, Unknown, 1),
        ("server_error", Unknown, Unknown, 0),
        ("malformed", Unknown, Unknown, 1),
        ("decline", Declined, Declined, 1),
        ("slow", Accepted, Accepted, 1),
    ],
)
async def test_charge_under_a_fault_and_again_under_the_same_key(
    sandbox: Sandbox, adapter: Gbprimepay, hasty: Gbprimepay, *, fault: str, card: type, qr: type, kept: int
):
    account = account_of(sandbox)
    detail = {"seconds": SECONDS[fault]} if fault in SECONDS else {}
    await sandbox.control.add_fault(**GBP, operation="charge", fault=fault, **detail)
    request = request_of(Method.CARD, card_token=await card_token(sandbox))
    outcome = await hasty.charge(account, request)
    assert type(outcome) is card
    assert len(await charges_of(sandbox)) == kept
    again = await adapter.charge(account, request)
    (charge,) = await charges_of(sandbox)
    if fault == "decline":
        assert isinstance(again, Declined)
        assert (again.failure_code, again.provider_code, charge["status"]) == ("do_not_honor", "05", "failed")
    else:
        # The first call's own charge or a new one, and the form leads to it.
        assert isinstance(again, Accepted)
        assert "bank" in await submit(sandbox, again.next_action)
        (paid,) = await sandbox.control.pay(**GBP, reference=KEY)
        (fact,) = await facts_of(adapter, sandbox)
        assert (fact.kind, fact.provider_transaction_id) == (FactKind.CAPTURED, paid.transaction_id)
        assert isinstance(settled := await adapter.charge(account, request), Accepted)
        assert [known.kind for known in settled.facts] == [FactKind.CAPTURED]

    await sandbox.control.add_fault(**GBP, operation="charge", fault=fault, **detail)
    scanned = request_of(Method.PROMPTPAY, key="QK20260000000000EFGH")
    assert type(await hasty.charge(account, scanned)) is qr
    shown = await adapter.charge(account, scanned)
    assert isinstance(shown, Accepted)
    for waiting in (await charges_of(sandbox))[1:]:
        await sandbox.control.pay(**GBP, reference=waiting["id"])
    facts = await facts_of(adapter, sandbox, scanned.provider_key)
    assert len(facts) == len(await charges_of(sandbox)) - 1 == (2 if kept and fault != "decline" else 1)


@pytest.mark.parametrize(
    ("fault", "outcome", "moved"),
    [
        ("timeout_before", Unknown, 0),
        ("timeout_after", Unknown, 1),
        ("server_error", Unknown, 0),
        ("malformed", Unknown, 1),
        ("decline", Declined, 0),
        ("slow", Accepted, 1),
    ],
)
async def test_refund_under_a_fault_and_again_under_the_same_key(
    sandbox: Sandbox, adapter: Gbprimepay, hasty: Gbprimepay, *, fault: str, outcome: type, moved: int
):
    account, request = account_of(sandbox), request_of(Method.RABBIT_LINEPAY)
    await begin(adapter, sandbox, request)
    await sandbox.control.pay(**GBP, reference=KEY)
    detail = {"seconds": SECONDS[fault]} if fault in SECONDS else {}
    await sandbox.control.add_fault(**GBP, operation="refund", fault=fault, **detail)
    refund = refund_of(request)
    assert type(await hasty.refund(account, refund)) is outcome
    assert (await charges_of(sandbox))[0]["refunded_minor"] == moved * 1234_50
    found = await adapter.inquire_refund(account, refund)
    assert isinstance(found, Inquiry)
    assert found.found is bool(moved)
    again = await adapter.refund(account, refund)
    assert isinstance(again, Accepted)
    assert (await charges_of(sandbox))[0]["refunded_minor"] == 1234_50


async def test_refund_that_fails_later_is_pending_and_then_failed(sandbox: Sandbox, adapter: Gbprimepay):
    account, request = account_of(sandbox), request_of(Method.CARD)
    await begin(adapter, sandbox, request)
    await sandbox.control.pay(**GBP, reference=KEY)
    await sandbox.control.add_fault(**GBP, operation="refund", fault="refund_fails_later", seconds=0)
    refund = refund_of(request)
    pending = await adapter.refund(account, refund)
    assert isinstance(pending, Accepted)
    assert [fact.kind for fact in pending.facts] == [FactKind.REFUND_PENDING]
    found = await adapter.inquire_refund(account, refund)
    assert isinstance(found, Inquiry)
    (fact,) = found.facts
    assert (fact.kind, fact.failure_code) == (FactKind.REFUND_FAILED, "refund_failed")
    assert fact.provider_transaction_id == pending.facts[0].provider_transaction_id
    assert (await charges_of(sandbox))[0]["refunded_minor"] == 0
    again = await adapter.refund(account, refund)
    assert isinstance(again, Declined)
    assert [known.kind for known in again.facts] == [FactKind.REFUND_FAILED]


@pytest.mark.parametrize("fault", ["timeout_before", "timeout_after", "server_error", "malformed"])
async def test_inquiry_and_statement_under_a_fault_are_unknown_and_change_nothing(
    sandbox: Sandbox, adapter: Gbprimepay, hasty: Gbprimepay, fault: str
):
    account, request = account_of(sandbox), request_of(Method.CARD)
    await begin(adapter, sandbox, request)
    await sandbox.control.pay(**GBP, reference=KEY)
    before = await charges_of(sandbox)
    detail = {"seconds": SECONDS[fault]} if fault in SECONDS else {}
    await sandbox.control.add_fault(**GBP, operation="inquiry", fault=fault, times=3, **detail)
    assert isinstance(await hasty.inquire(account, KEY, request.created_at), Unknown)
    # Nothing was asked of the payment yet: the refund may be tried again.
    assert isinstance(await hasty.refund(account, refund_of(request)), NotAttempted)
    assert isinstance(await hasty.inquire_refund(account, refund_of(request)), Unknown)
    assert await charges_of(sandbox) == before
    assert [fact.kind for fact in await facts_of(adapter, sandbox)] == [FactKind.CAPTURED]
    today = business_date_of(real_now())
    await sandbox.pass_days(1)
    await sandbox.control.add_fault(**GBP, operation="statement", fault=fault, **detail)
    if fault == "malformed":
        (file,) = await hasty.statements(account, today)
        assert FORMAT.parse((await adapter.statements(account, today))[0].content).lines
        with pytest.raises(Exception, match=r"cut_off|malformed"):
            FORMAT.parse(file.content)
    else:
        with pytest.raises(StatementUnavailable):
            await hasty.statements(account, today)


async def test_wrong_keys_are_not_attempted(sandbox: Sandbox, adapter: Gbprimepay):
    right = account_of(sandbox)
    wrong = msgspec.structs.replace(right, credentials={**right.credentials, "secret_key": "other"})
    request = request_of(Method.CARD, card_token=await card_token(sandbox))
    assert await adapter.charge(wrong, request) == NotAttempted(reason="http_401")
    assert await adapter.inquire(wrong, KEY, request.created_at) == Unknown(reason="http_401")
    # A form signed with it leads nowhere either.
    begun = await adapter.charge(wrong, request_of(Method.TRUEMONEY))
    assert isinstance(begun, Accepted)
    assert begun.next_action is not None
    answer = await sandbox.http.post(
        str(begun.next_action.redirect_url), data=dict(begun.next_action.form_fields or {})
    )
    assert (answer.status_code, answer.text) == (400, "Invalid checksum")
    lost = msgspec.structs.replace(right, credentials={**right.credentials, "token": "other"})
    outcome = await adapter.charge(lost, request_of(Method.PROMPTPAY))
    assert isinstance(outcome, Declined)
    assert (outcome.failure_code, outcome.provider_code) == ("invalid_request", "02")
    assert await charges_of(sandbox) == []


async def test_payers_and_callbacks_that_go_wrong_are_told_apart_by_the_inquiry(sandbox: Sandbox, adapter: Gbprimepay):
    account, told = account_of(sandbox), 0
    cases = [
        ("pay", "pay_twice", Method.PROMPTPAY, [1234_50, 1234_50], 2),
        ("pay", "pay_wrong_amount", Method.PROMPTPAY, [1233_50], 1),
        ("callback", "callback_forged", Method.SHOPEEPAY, [1234_50], 2),
        ("callback", "callback_duplicate", Method.TRUEMONEY, [1234_50], 2),
        ("callback", "callback_lost", Method.MOBILE_BANKING, [1234_50], 0),
    ]
    for number, (operation, fault, method, amounts, callbacks) in enumerate(cases):
        request = request_of(method, key=f"QK2026000000000000{number:02d}")
        await begin(adapter, sandbox, request)
        await sandbox.control.add_fault(**GBP, operation=operation, fault=fault)
        await sandbox.control.pay(**GBP, reference=request.provider_key)
        told += callbacks
        heard = (await sandbox.gateway.wait_for(told))[told - callbacks :]
        parsed = [adapter.parse_callback(account, callback_of(each)) for each in heard]
        assert {each.inquire for each in parsed} <= {(request.provider_key,)}
        assert len({each.event_id for each in parsed}) == (1 if fault == "callback_duplicate" else callbacks)
        facts = await facts_of(adapter, sandbox, request.provider_key)
        assert [(fact.kind, fact.amount_minor) for fact in facts] == [(FactKind.CAPTURED, each) for each in amounts]
        assert len({fact.provider_transaction_id for fact in facts}) == len(amounts)
