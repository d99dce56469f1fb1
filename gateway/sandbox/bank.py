"""The invented bank's interface for its corporate customer: MT940 statements out, pain.001 payment files in."""

import hashlib
from collections.abc import Iterator
from datetime import date
from typing import Final, NoReturn

import msgspec
from litestar import Controller, Response, get, post
from litestar.params import FromPath
from lxml import etree

from gateway.sandbox import bank_account
from gateway.sandbox.faults import Fault, FaultKind, strike
from gateway.sandbox.provider import SandboxProvider
from gateway.sandbox.service import Act, InjectedSandbox, Sandbox, fingerprint_of
from gateway.sandbox.statements import AccountDay, mt940
from gateway.sandbox.wire import Answer, AnyRequest, Refusal, json_answer, satang, short_id
from gateway.sandbox.world import World

NAME: Final = "bank"
END_TO_END_LENGTH_MAX: Final = 35
FILE_BYTES_MAX: Final = 10_000_000
LAST_DIGITS: Final = 4


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One credit transfer of a payment file; of the payee's account only the last digits are kept."""

    end_to_end_id: str
    amount_minor: int
    account_last_digits: str
    execute_on: date


class PaymentFile(msgspec.Struct, frozen=True, kw_only=True):
    """A read pain.001."""

    message_id: str
    debtor_account: str
    orders: list[Order]


def _refuse(status: int, code: str, message: str) -> NoReturn:
    raise Refusal(json_answer({"code": code, "message": message}, status))


async def _answer(request: AnyRequest, sandbox: Sandbox, operation: str, act: Act) -> Response[bytes]:
    try:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        world = await sandbox.accounts.find(NAME, "access_token", token) if scheme == "Bearer" and token else None
        if world is None:
            _refuse(401, "unauthorized", "access token is missing or unknown")
        answer = await sandbox.perform(
            world,
            act,
            provider=NAME,
            operation=operation,
            fingerprint=await fingerprint_of(request),
        )
    except Refusal as refusal:
        answer = refusal.answer
    return answer.response()


class BankController(Controller):
    """The bank."""

    path = "/bank/v1"

    @get("/statements/{on:str}")
    async def statement(self, request: AnyRequest, sandbox: InjectedSandbox, on: FromPath[str]) -> Response[bytes]:
        """The MT940 of a day that is over; 404 before."""

        async def act(world: World, _: Fault | None) -> Answer:
            try:
                day = date.fromisoformat(on)
            except ValueError:
                _refuse(400, "invalid_date", "the date must be yyyy-MM-dd")
            if not world.opened_on <= day < world.today:
                _refuse(404, "statement_not_available", "the statement of this day is not available")
            return Answer(body=mt940(await account_day(world, day)), media_type="text/plain; charset=us-ascii")

        return await _answer(request, sandbox, "statement", act)

    @post("/payment-files", status_code=200)
    async def submit(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Take a payment file; the same file again gets the same answer, another under its message id is refused."""
        content = await request.body()
        try:
            file: PaymentFile | None = read_payment_file(content)
        except ValueError as error:
            file, problem = None, str(error)

        async def act(world: World, _: Fault | None) -> Answer:
            if file is None:
                _refuse(400, "file_rejected", problem)
            return await _accept(world, file, hashlib.sha256(content).digest())

        return await _answer(request, sandbox, "payment_file", act)

    @get("/payment-files/{file_reference:str}")
    async def payment_file(
        self, request: AnyRequest, sandbox: InjectedSandbox, file_reference: FromPath[str]
    ) -> Response[bytes]:
        """What became of a payment file."""

        async def act(world: World, _: Fault | None) -> Answer:
            rows = await world.connection.fetch(
                "SELECT end_to_end_id, amount_minor, state FROM sandbox.payouts "
                "WHERE world = $1 AND file_reference = $2 ORDER BY end_to_end_id",
                world.name,
                file_reference,
            )
            if not rows:
                _refuse(404, "file_not_found", "no such payment file")
            return json_answer({"file_reference": file_reference, "payments": [dict(row) for row in rows]})

        return await _answer(request, sandbox, "inquiry", act)


async def account_day(world: World, on: date) -> AccountDay:
    """The bank account of a world on a business date."""
    lines = await world.connection.fetch(
        "SELECT * FROM sandbox.bank_lines WHERE world = $1 AND booked_on = $2 ORDER BY position", world.name, on
    )
    return AccountDay(
        on=on,
        number=bank_account.statement_number(world, on),
        account_number=world.credentials("bank")["account_number"],
        opening_minor=await bank_account.balance_minor(world, on),
        lines=lines,
    )


def read_payment_file(content: bytes) -> PaymentFile:
    """The orders of a pain.001 of any version.

    Raises:
        ValueError: not such a file, a total that is wrong, an order that cannot be executed; the message says which.
    """
    if len(content) > FILE_BYTES_MAX:
        raise ValueError("the file is too large")
    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        document = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise ValueError("the file is not XML") from error
    orders = list(_orders(document))
    header = "/*/*/*[local-name()='GrpHdr']"
    if _text(document, f"{header}/*[local-name()='NbOfTxs']") != str(len(orders)):
        raise ValueError("NbOfTxs is not the number of transactions")
    if satang(_text(document, f"{header}/*[local-name()='CtrlSum']")) != sum(order.amount_minor for order in orders):
        raise ValueError("CtrlSum is not the sum of the transactions")
    if len({order.end_to_end_id for order in orders}) != len(orders):
        raise ValueError("an EndToEndId is used twice")
    return PaymentFile(
        message_id=_required(document, f"{header}/*[local-name()='MsgId']", "MsgId"),
        debtor_account=_required(document, f"//*[local-name()='DbtrAcct']{ACCOUNT_ID}", "DbtrAcct"),
        orders=orders,
    )


ACCOUNT_ID: Final = "/*[local-name()='Id']/*[local-name()='Othr']/*[local-name()='Id']"


def _orders(document: etree._Element) -> Iterator[Order]:
    for block in document.xpath("//*[local-name()='PmtInf']"):
        wanted = _text(block, "*[local-name()='ReqdExctnDt']//text()[normalize-space()]/..")
        for item in block.xpath("*[local-name()='CdtTrfTxInf']"):
            amount = item.xpath("*[local-name()='Amt']/*[local-name()='InstdAmt']")
            amount_minor = satang(amount[0].text) if amount and amount[0].get("Ccy") == "THB" else None
            end_to_end_id = _required(item, ".//*[local-name()='EndToEndId']", "EndToEndId")
            if amount_minor is None or len(end_to_end_id) > END_TO_END_LENGTH_MAX:
                raise ValueError(f"transaction {end_to_end_id} has no valid amount in THB or too long an id")
            account = _required(item, f"*[local-name()='CdtrAcct']{ACCOUNT_ID}", "CdtrAcct")
            yield Order(
                end_to_end_id=end_to_end_id,
                amount_minor=amount_minor,
                account_last_digits=account[-LAST_DIGITS:],
                execute_on=date.fromisoformat(wanted),
            )


def _text(element: etree._Element, path: str) -> str:
    found = element.xpath(path)
    return (found[0].text or "").strip() if found else ""


def _required(element: etree._Element, path: str, name: str) -> str:
    text = _text(element, path)
    if not text:
        raise ValueError(f"{name} is missing")
    return text


async def _accept(world: World, file: PaymentFile, content_sha256: bytes) -> Answer:
    if file.debtor_account != world.credentials("bank")["account_number"]:
        _refuse(400, "file_rejected", "the debtor account is not yours")
    row = await world.connection.fetchrow(
        "SELECT file_reference, content_sha256 FROM sandbox.payment_files WHERE world = $1 AND message_id = $2",
        world.name,
        file.message_id,
    )
    if row is not None and row["content_sha256"] != content_sha256:
        _refuse(409, "duplicate_message_id", "another file was taken under this message id")
    file_reference = row["file_reference"] if row is not None else short_id("F")
    if row is None:
        await world.connection.execute(
            "INSERT INTO sandbox.payment_files (world, message_id, file_reference, content_sha256, received_at)"
            " VALUES ($1, $2, $3, $4, $5)",
            world.name,
            file.message_id,
            file_reference,
            content_sha256,
            world.now,
        )
        for order in file.orders:
            await _take_order(world, order, file_reference)
        await bank_account.execute_payouts(world, world.today)
    return json_answer({"file_reference": file_reference, "status": "accepted"})


async def _take_order(world: World, order: Order, file_reference: str) -> None:
    fault = await strike(
        world,
        provider=NAME,
        operation="payout",
        amount_minor=order.amount_minor,
        fingerprint=order.end_to_end_id,
    )
    taken = await world.connection.fetchval(
        "INSERT INTO sandbox.payouts (world, end_to_end_id, file_reference, amount_minor, account_last_digits,"
        " execute_on, state, to_be_returned) VALUES ($1, $2, $3, $4, $5, $6, 'accepted', $7)"
        " ON CONFLICT DO NOTHING RETURNING true",
        world.name,
        order.end_to_end_id,
        file_reference,
        order.amount_minor,
        order.account_last_digits,
        order.execute_on,
        fault is not None and fault.kind is FaultKind.PAYOUT_RETURNED,
    )
    if not taken:
        _refuse(400, "file_rejected", f"EndToEndId {order.end_to_end_id} was taken before")


async def _start_day(world: World, day: date) -> None:
    await bank_account.execute_payouts(world, day)
    await bank_account.return_payouts(world, day)


PROVIDER: Final = SandboxProvider(
    name=NAME,
    credentials=frozenset({"account_number", "access_token"}),
    identifiers=frozenset({"access_token"}),
    operations=frozenset({"inquiry", "statement", "payment_file", "payout"}),
    handlers=(BankController,),
    server_error=lambda: json_answer({"code": "internal_error", "message": "try again later"}, 500),
    start_day=_start_day,
)
