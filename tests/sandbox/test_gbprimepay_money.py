"""GBPrimePay's refunds, report, expiry and callbacks over plain HTTP."""

import csv
import io
from typing import Any

import httpx
import pytest

from gateway.sandbox.client import SandboxRefused

from .gbprimepay import (
    GBP,
    PATHS,
    SECRET,
    call,
    charges,
    paid,
    post,
    qr_form,
    redirect_form,
    status,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_money_goes_back_by_the_table_of_methods_and_by_settlement(sandbox):
    methods = ("card", "promptpay", *PATHS)
    ids = {method: await paid(sandbox, method, f"QK{number}") for number, method in enumerate(methods)}
    ids["card2"] = await paid(sandbox, "card", "QK8")

    async def back(kind: str, method: str, reference: str, **fields: Any) -> dict[str, Any]:
        body = {"gbpReferenceNo": ids[method], "referenceNo": reference, **fields}
        return (await call(sandbox, f"/v1/{kind}", body)).json()

    async def codes(kind: str, reference: str, **fields: Any) -> dict[str, str]:
        return {method: (await back(kind, method, reference, **fields))["resultCode"] for method in methods}

    assert await codes("refund", "R1", amount=1.00) == {
        "card": "25",
        "promptpay": "57",
        "truemoney": "25",
        "rabbit_linepay": "25",
        "shopeepay": "25",
        "mobile_banking": "57",
    }
    for kind, fields in (("void", {"gbpReferenceNo": "other"}), ("void", {"referenceNo": None}), ("refund", {})):
        answer = await back(kind, "card", "R1", **fields)
        assert answer == {"resultCode": "02", "resultMessage": "Invalid data"}
    assert (await back("void", "card", "QK0"))["resultMessage"] == "Duplicate referenceNo"
    assert {charge["refunded_minor"] for charge in await charges(sandbox)} == {0}
    void = await back("void", "card", "V1", merchantDefined1="QKR1")
    assert (void["resultCode"], void["status"], void["amount"], void["referenceNo"]) == ("00", "S", 1234.5, "V1")
    assert (await status(sandbox, "V1"))["txn"] == void
    assert (await status(sandbox, "QK0"))["txn"]["status"] == "V"
    assert (await back("void", "card", "V1"))["resultMessage"] == "Duplicate referenceNo"
    assert (await back("void", "card", "V2"))["resultCode"] == "57"
    assert (await back("void", "truemoney", "V2"))["resultCode"] == "57"

    await sandbox.pass_days(1)
    assert (await back("void", "card2", "V2"))["resultCode"] == "21"
    for wrong in ("1.00", 0, -1, 1.001, None):
        assert (await back("refund", "card2", "R2", amount=wrong))["resultCode"] == "02"
    assert (await back("refund", "card2", "R2", amount=1234.51))["resultCode"] == "61"
    assert (await back("refund", "card2", "R2", amount=1000))["resultCode"] == "00"
    assert (await status(sandbox, "QK8"))["txn"]["status"] == "S"
    assert (await back("refund", "card2", "R3", amount=234.51))["resultCode"] == "61"
    assert (await back("refund", "card2", "R3", amount=234.50))["resultCode"] == "00"
    assert (await status(sandbox, "QK8"))["txn"]["status"] == "V"
    refunded = {charge["reference"]: charge["refunded_minor"] for charge in await charges(sandbox)}
    assert refunded == {"QK0": 1234_50, "QK8": 1234_50, **{f"QK{number}": 0 for number in range(1, 6)}}


async def test_report_is_given_when_the_day_is_over_and_adds_up(sandbox):
    ids = {method: await paid(sandbox, method, f"QK{number}") for number, method in enumerate(("card", "promptpay"))}
    ids["shopeepay"] = await paid(sandbox, "shopeepay", "QK2")
    await call(sandbox, "/v1/void", {"gbpReferenceNo": ids["card"], "referenceNo": "V1"})
    today = (await sandbox.books())["today"]
    year, month, day = today.split("-")

    async def report(text: str) -> httpx.Response:
        return await sandbox.http.get("/gbprimepay/v1/settlement_report", params={"date": text}, auth=SECRET)

    assert (await report(f"{day}{month}{year}")).status_code == 404
    for wrong in (today, "", "99999999", "01012020", "1012026"):
        assert (await report(wrong)).status_code in {400, 404}
    await sandbox.pass_days(1)
    answer = await report(f"{day}{month}{year}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.text.startswith(
        "Settlement Date,Transaction Date,Transaction Time,GBP Reference No,Reference No,Payment Type,Amount,Fee,VAT,"
        "WHT,Net Amount,Status\r\n"
    )
    names = ("GBP Reference No", "Reference No", "Payment Type", "Amount", "Fee", "VAT", "WHT", "Net Amount", "Status")
    found = [tuple(row[name] for name in names) for row in rows]
    assert found[:3] == [
        (ids["card"], "QK0", "C", "1234.50", "34.57", "2.42", "0.00", "1197.51", "S"),
        (ids["promptpay"], "QK1", "Q", "1234.50", "9.88", "0.69", "0.00", "1223.93", "S"),
        (ids["shopeepay"], "QK2", "S", "1234.50", "24.69", "1.73", "0.00", "1208.08", "S"),
    ]
    assert found[3][1:] == ("V1", "C", "-1234.50", "-34.57", "-2.42", "0.00", "-1197.51", "V")
    assert {row["Transaction Date"] for row in rows} == {f"{day}{month}{year}"}
    # What the report nets to is what the bank was told.
    (credit,) = (line for line in (await sandbox.books())["bank_lines"] if "GBPRIMEPAY" in line["description"])
    assert credit["amount_minor"] == 1223_93 + 1208_08


async def test_unpaid_charge_expires_and_a_qr_is_payable_all_the_same(sandbox):
    await post(sandbox, "/v3/qrcode/text", qr_form(sandbox))
    form = redirect_form(sandbox, "truemoney", referenceNo="QK2")
    await post(sandbox, "/v2/trueWallet", form)
    await sandbox.control.move_clock(world="7", offset_seconds=16 * 60)
    assert [charge["status"] for charge in await charges(sandbox)] == ["expired", "expired"]
    assert (await status(sandbox))["txn"]["status"] == "G"
    with pytest.raises(SandboxRefused, match="not_payable"):
        await sandbox.control.pay(**GBP, reference="QK2")
    await sandbox.control.pay(**GBP, reference="QK20260000001")
    assert (await status(sandbox))["txn"]["status"] == "S"


async def test_failed_callback_is_sent_again_and_a_forged_one_names_another_transaction(sandbox, gateway):
    await sandbox.control.configure(world="7", settings={"callback_retry_seconds": 1})
    await post(sandbox, "/v3/qrcode/text", qr_form(sandbox))
    with pytest.raises(SandboxRefused, match="unknown_reference"):
        await sandbox.control.forge(**GBP, reference="QK9")
    await sandbox.control.forge(**GBP, reference="QK20260000001")
    (forged,) = await gateway.wait_for(1)
    txn = (await status(sandbox))["txn"]
    assert (forged.fields["resultCode"], txn["status"]) == ("00", "G")
    assert forged.fields["gbpReferenceNo"] != txn["gbpReferenceNo"]
    gateway.refusals = 1
    await sandbox.control.pay(**GBP, reference="QK20260000001")
    told = await gateway.wait_for(3)
    assert told[1].body == told[2].body
    assert told[1].fields["gbpReferenceNo"] == txn["gbpReferenceNo"]
