"""One cell, from the first request to the last event: what its merchant and its payer do, whatever befalls them.

All cells of a provider are played at once. Where a cell needs time to pass it waits for the next round; when every
cell waits or has ended, the driver lets the gateway come to rest and moves the clocks.
"""

import asyncio
from datetime import timedelta
from typing import Any, Final

import msgspec

from gateway.foundation.clock import business_date_of
from gateway.payments.requests import provider_key_of
from gateway.payments.views import ANSWER_LOST_CODE
from gateway.providers.base import FactKind
from gateway.providers.dispute_terms import DisputeTerms
from gateway.sandbox.client import SandboxRefused
from tests.matrix.cells import ALONE, FORGED_UNPAID, NOTHING, PAID_AFTER_EXPIRY, PAID_TOO_MUCH, TOO_MUCH_MINOR, Cell
from tests.matrix.house import HELD_SECONDS, SLOW_SECONDS, House, Lane
from tests.matrix.payers import card_token, open_page, wallet_code

ROUNDS_SECONDS: Final = (12, 35, 130, 620, 3_700, 22_000, 90_000, 90_000, 90_000, 90_000, 90_000)
"""How far the clock moves from round to round: each time past the janitor's next question."""
ENDS: Final = frozenset({"succeeded", "expired", "canceled", "conflicted"})
OPEN: Final = frozenset({"processing", "requires_confirmation"})
TAKEN: Final = frozenset({PAID_AFTER_EXPIRY, "pay_wrong_amount", "pay_twice"})
"""After which the merchant takes what is held; otherwise it is offered back to the payer."""


class Rounds:
    """Lets those who wait go on together."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Lane, asyncio.Future[bool]]] = []
        self._playing = 0
        self._changed = asyncio.Event()
        self.number = 0

    async def next(self, lane: Lane) -> bool:
        """Wait for the next round; false when there is none."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((lane, future))
        self._changed.set()
        return await future

    async def drive(self, house: House, tasks: list[asyncio.Task[None]]) -> None:
        """Move the clocks from round to round until every task has ended.

        A book whose cells have all ended is left where it is.
        """
        for task in tasks:
            task.add_done_callback(lambda _: self._changed.set())
        for seconds in (*ROUNDS_SECONDS, None):
            while len(self._waiting) < sum(not task.done() for task in tasks):
                self._changed.clear()
                await self._changed.wait()
            await house.until_quiet()
            waiting, self._waiting = self._waiting, []
            if not waiting:
                break
            if seconds is not None:
                for lane in {lane.book_id: lane for lane, _ in waiting}.values():
                    await house.pass_time(lane, timedelta(seconds=seconds))
                await house.until_quiet()
            self.number += 1
            for _, future in waiting:
                future.set_result(seconds is not None)
        await asyncio.gather(*tasks)
        await house.until_quiet()


class Played(msgspec.Struct, kw_only=True):
    """What a cell came to.

    Attributes:
        intent: the payment at its end; refund: what was given back, if that was asked for.
        note: what the payer or merchant could not do.
    """

    cell: Cell
    lane: Lane
    intent: dict[str, Any] = {}
    refund: dict[str, Any] | None = None
    note: str = ""


class Player:
    """Plays one cell."""

    def __init__(self, house: House, rounds: Rounds, gate: asyncio.Semaphore, cell: Cell, lane: Lane) -> None:
        self._house = house
        self._rounds = rounds
        self._gate = gate
        self._cell = cell
        self._lane = lane
        self._key = f"cell-{cell.amount_minor}"
        self._body: dict[str, Any] = {}
        self._has_paid = False
        self._has_canceled = False
        self.played = Played(cell=cell, lane=lane)

    async def play(self) -> None:
        """All of it."""
        async with self._gate:
            await self._begin()
        while True:
            async with self._gate:
                is_over = await self._step()
            if is_over or not await self._rounds.next(self._lane):
                break
        if self._cell.is_refunded and self.played.intent["status"] == "succeeded":
            await self._give_back()
        elif self.played.intent["amount_held"]:
            async with self._gate:
                await self._decide_about_held()

    async def _begin(self) -> None:
        await self._order_faults()
        self._body = await self._request()
        await self._ask()

    async def _order_faults(self) -> None:
        cell = self._cell
        if cell.fault in {NOTHING, PAID_AFTER_EXPIRY, FORGED_UNPAID}:
            return
        if cell.operation == "inquiry":
            # Who has his answers asks nothing: here the charge's answer and the callback are lost as well.
            await self._order("charge", "timeout_after")
            await self._order("callback", "callback_lost")
        too_much = {"paid_minor": cell.amount_minor + TOO_MUCH_MINOR} if cell.fault == PAID_TOO_MUCH else {}
        await self._order(cell.operation, cell.ordered_fault, **too_much)

    async def _order(self, operation: str, fault: str, **more: Any) -> None:
        seconds = {"timeout_before": HELD_SECONDS, "timeout_after": HELD_SECONDS, "slow": SLOW_SECONDS}
        seconds |= {"callback_late": 0.5, "callback_reordered": 0.5, "refund_fails_later": 60}
        details: dict[str, Any] = {"seconds": seconds[fault]} if fault in seconds else {}
        details |= more
        if operation not in ALONE:
            details["amount_minor"] = self._cell.amount_minor
        await self._house.sandbox.add_fault(
            world=self._lane.world, provider=self._cell.provider, operation=operation, fault=fault, **details
        )

    async def _request(self) -> dict[str, Any]:
        able = self._cell.able
        body: dict[str, Any] = {
            "amount": self._cell.amount_minor,
            "currency": able.currency.lower(),
            "payment_method": able.method,
            "provider": self._cell.provider,
            "merchant_reference": self._key,
        }
        if able.return_url:
            body["return_url"] = "https://shop.invalid/back"
        if able.banks:
            body["bank"] = able.banks[0]
        if self._cell.by_code:
            body["card_token"] = wallet_code(self._cell.amount_minor)
        elif able.needs == "card_token":
            body["card_token"] = await card_token(
                self._house.browser, self._cell.provider, self._lane.account.credentials
            )
        if self._cell.is_manual:
            body["capture_method"] = "manual"
        return body

    async def _ask(self) -> None:
        """Ask for the payment; the same request again takes it further, whatever became of the first."""
        status, answer = await self._house.post(self._lane, "/v1/payment_intents", self._body, key=self._key)
        assert status in {200, 201, 202, 402, 409, 502}, f"{self._cell.name}: {status} {answer}"
        await self._read(answer.get("payment_intent") or answer.get("id"))

    async def _read(self, intent_id: str | None) -> None:
        if intent_id is None:
            found = await self._house.get(self._lane, "/v1/payment_intents", merchant_reference=self._key)
            intent_id = found["data"][0]["id"]
        self.played.intent = await self._house.get(self._lane, f"/v1/payment_intents/{intent_id}")

    async def _step(self) -> bool:
        """Do what merchant or payer would do now; whether nothing is left to do."""
        await self._read(self.played.intent["id"])
        if self._is_lost():
            await self._try_another()
        elif self._is_open():
            await self._ask()
        status = self.played.intent["status"]
        if status == "requires_capture":
            await self._capture_or_cancel()
        elif status == "requires_action":
            await self._act()
        elif status == "expired" and self._cell.fault == PAID_AFTER_EXPIRY and not self._has_paid:
            await self._pay()
            return False
        await self._read(self.played.intent["id"])
        return self._is_over()

    def _is_open(self) -> bool:
        error = self.played.intent["last_error"] or {}
        return self.played.intent["status"] in OPEN or bool(error.get("retryable"))

    def _is_lost(self) -> bool:
        """Whether the QR was given up because its answer was lost, so that the payer needs another."""
        error = self.played.intent["last_error"] or {}
        return self.played.intent["status"] == "requires_payment_method" and error.get("code") == ANSWER_LOST_CODE

    async def _try_another(self) -> None:
        how = {name: self._body[name] for name in ("payment_method", "provider") if name in self._body}
        path = f"/v1/payment_intents/{self.played.intent['id']}/confirm"
        status, answer = await self._house.post(self._lane, path, how)
        assert status in {200, 201, 202, 402, 409, 502}, f"{self._cell.name}: {status} {answer}"
        await self._read(self.played.intent["id"])

    def _is_over(self) -> bool:
        intent = self.played.intent
        if intent["status"] == "expired" and self._cell.fault == PAID_AFTER_EXPIRY:
            return self._has_paid
        return intent["status"] in ENDS or (intent["status"] == "requires_payment_method" and not self._is_open())

    async def _capture_or_cancel(self) -> None:
        intent = self.played.intent
        if self._cell.operation == "cancel" and not self._has_canceled:
            await self._cancel()
        else:
            status, answer = await self._house.post(self._lane, f"/v1/payment_intents/{intent['id']}/capture", {})
            if status >= 400:
                self._note(f"capture: {answer['code']}")

    async def _act(self) -> None:
        cell, action = self._cell, self.played.intent["next_action"]
        if cell.operation == "cancel" and not cell.is_manual and not self._has_canceled:
            await self._cancel()
        elif cell.fault == FORGED_UNPAID:
            if not self._has_paid:
                await open_page(self._house.browser, action)
                await self._control("forge")
                self._has_paid = True
        elif cell.fault != PAID_AFTER_EXPIRY:
            if not self._has_paid:
                await open_page(self._house.browser, action)
                await self._pay()
        elif self._rounds.number == 0:
            await open_page(self._house.browser, action)

    async def _cancel(self) -> None:
        path = f"/v1/payment_intents/{self.played.intent['id']}/cancel"
        status, answer = await self._house.post(self._lane, path)
        if status >= 400:
            self._note(f"cancel: {answer['code']}")
            self._has_canceled = not answer["retryable"] and answer["code"] != "payment_processing"

    async def _pay(self) -> None:
        await self._control("pay")
        self._has_paid = True

    async def _control(self, act: str) -> None:
        """The payer's phone, or a forger, at the provider's."""
        attempt = self.played.intent["latest_attempt"]
        # Where the charge's answer was lost the provider's own name for it is not known, ours is.
        reference = attempt["provider_reference"] or provider_key_of(attempt["id"])
        try:
            await getattr(self._house.sandbox, act)(
                world=self._lane.world, provider=self._cell.provider, reference=reference
            )
        except SandboxRefused as refused:
            self._note(f"{act}: {refused.code}")

    async def _give_back(self) -> None:
        """Refund all of it, and then try for more."""
        today = business_date_of(self._lane.now)
        while await self._rounds.next(self._lane):
            if not self._cell.on_another_day or business_date_of(self._lane.now) > today:
                break
        else:
            return
        intent_id = self.played.intent["id"]
        body = {"payment_intent": intent_id, "amount": self._cell.amount_minor}
        async with self._gate:
            status, answer = await self._house.post(self._lane, "/v1/refunds", body, key=f"{self._key}-refund")
        if status >= 400:
            self._note(f"refund: {answer['code']}")
            return
        while True:
            self.played.refund = await self._house.get(self._lane, f"/v1/refunds/{answer['id']}")
            if self.played.refund["status"] != "pending" or not await self._rounds.next(self._lane):
                break
        await self._read(intent_id)
        if self.played.refund["status"] != "failed":
            status, answer = await self._house.post(self._lane, "/v1/refunds", body | {"amount": 1})
            assert status in {409, 422}, f"{self._cell.name}: a satang too much was refunded: {status} {answer}"

    async def _decide_about_held(self) -> None:
        """Take what is held, or offer it back; each of them once, and not while it is disputed."""
        intent_id = self.played.intent["id"]
        await self._dispute_held(intent_id)
        way, code = ("accept_held", 200) if self._cell.fault in TAKEN else ("return_held", 201)
        path = f"/v1/payment_intents/{intent_id}"
        status, answer = await self._house.post(self._lane, f"{path}/{way}", key=f"{self._key}-held")
        assert status == code, f"{self._cell.name}: {way}: {status} {answer}"
        for again in ("accept_held", "return_held"):
            status, answer = await self._house.post(self._lane, f"{path}/{again}")
            assert (status, answer["code"]) == (409, "nothing_held"), f"{self._cell.name}: {again}: {status} {answer}"
        self._note("held: accepted" if way == "accept_held" else "held: offered back")
        await self._read(intent_id)

    async def _dispute_held(self, intent_id: str) -> None:
        """A letter disputes what is held: nobody may have it until the letter that the dispute is won."""
        acts, book_id = self._house.services.dispute_acts, self._lane.book_id
        receipt, held_minor = await self._house.owner.fetchrow(
            "SELECT fact_id, held_minor FROM gateway.facts WHERE intent_id = $1 AND held_minor > 0", intent_id
        )
        terms, said = DisputeTerms(reference=f"case {intent_id}"), {"actor": "op_ann", "reason": "a letter"}
        stated = await acts.open(book_id, intent_id, terms, amount_minor=held_minor, receipt=receipt, **said)
        path = f"/v1/payment_intents/{intent_id}"
        shown = await self._house.get(self._lane, path)
        seen = (shown["amount_held"], shown["amount_disputed"], shown["amount_refundable"])
        unmoved = self.played.intent["amount_refundable"]
        assert seen == (0, held_minor, unmoved), f"{self._cell.name}: the merchant sees {seen} of a dispute"
        for way in ("accept_held", "return_held"):
            status, answer = await self._house.post(self._lane, f"{path}/{way}")
            assert (status, answer["code"]) == (409, "payment_disputed"), f"{self._cell.name}: {way}: {status} {answer}"
        await acts.record(book_id, stated.dispute.dispute_id, FactKind.DISPUTE_WON, **said)

    def _note(self, text: str) -> None:
        if text not in self.played.note:
            self.played.note = f"{self.played.note}, {text}".removeprefix(", ")
