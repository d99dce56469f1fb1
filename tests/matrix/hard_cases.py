"""Hard cases that no fault of the sandbox makes by itself: more attempts than one, two roads at once, two people.

Each is begun here and ends as any cell does (`play.py`): however it began, the journal says in the end what the
provider's own books say. Nothing here names a provider.
"""

import asyncio
from typing import Any, Final

from gateway.payments.calls import subject_of
from gateway.payments.errors import Refused
from gateway.payments.findings import Finding
from gateway.payments.records import attempts_of
from gateway.payments.requests import ConfirmIntent
from gateway.providers.base import Inquiry
from gateway.settlement.overrides import OVERRIDE_AFTER, Proposal
from tests.matrix.cells import ANOTHER_ATTEMPT, JANITOR_AND_CALLBACK, SETTLED_BY_TWO
from tests.matrix.house import QUIET_SECONDS
from tests.matrix.play import Player

ANN, BEN = "op_ann", "op_ben"
NEVER_SECONDS: Final = 3_600
"""How late a callback is that comes when the test says so."""
SLOW_SECONDS: Final = 1.2
"""How long the janitor's answer is under way: longer than a payment takes by its callback."""
SILENT_TIMES: Final = 1_000
MORE_ATTEMPTS: Final = 3
POLL_SECONDS: Final = 0.05
NOT_REACHED: Final = "not reached"
"""It cannot be so: no answer to us is missed, because the payer's browser asks; the payer pays on a page that only the
missed answer leads to; or nothing calls back."""


class HardPlayer(Player):
    """Plays a hard case, in a book of its own."""

    async def _begin(self) -> None:
        begins = {
            ANOTHER_ATTEMPT: self._ask_for_another,
            JANITOR_AND_CALLBACK: self._hear_on_two_roads,
            SETTLED_BY_TWO: self._settle_by_two,
        }
        self._body = await self._request()
        await begins[self._cell.fault]()

    async def _ask_for_another(self) -> None:
        """What became of the first attempt is not known: nobody begins a second, however many ask for it."""
        if not await self._ask_in_vain():
            return
        path = f"/v1/payment_intents/{self.played.intent['id']}/confirm"
        again = {name: value for name, value in (await self._request()).items() if name in _CONFIRMED_BY}
        answers = await asyncio.gather(*(self._house.post(self._lane, path, again) for _ in range(MORE_ATTEMPTS)))
        said = [(status, answer["code"]) for status, answer in answers]
        self._must(said == [(409, "payment_processing")] * MORE_ATTEMPTS, said)
        self._must(len(await self._charges()) <= 1, "the provider was asked again")
        await self._must_be(attempts=["unknown"], entries=0)
        await self._end_faults()

    async def _hear_on_two_roads(self) -> None:
        """The janitor asks, and while its answer is under way the payer pays and the callback comes.

        Where there is something to show to the payer first, the janitor's answer is the older one: it says unpaid.
        """
        await self._order("callback", "callback_late", seconds=NEVER_SECONDS)
        if self._takes_at_once:
            await self._order("charge", "malformed")
        await self._order("inquiry", "slow", seconds=SLOW_SECONDS)
        await self._ask()
        self._must(self.played.intent["status"] in {"requires_action", "processing"}, self.played.intent["status"])
        await self._house.owner.execute(
            "UPDATE gateway.payment_attempts SET due_at = created_at WHERE book_id = $1", self._lane.book_id
        )
        struck = "SELECT sum(remaining) = 0 FROM sandbox.faults WHERE world = $1 AND operation = 'inquiry'"
        await self._until(struck, self._lane.world)
        if self.played.intent["status"] == "requires_action":
            await self._act()
        elif not self._takes_at_once:
            await self._pay()
        if not await self._release_callbacks():
            await self._give_up_the_case()
            return
        heard = "SELECT count(*) > 0 FROM gateway.payment_attempts WHERE book_id = $1 AND status = 'captured'"
        await self._until(heard, self._lane.book_id)
        asked = "SELECT bool_and(leased_until IS NULL) FROM gateway.payment_attempts WHERE book_id = $1"
        await self._until(asked, self._lane.book_id)
        await self._must_be(attempts=["captured"], entries=1)

    async def _settle_by_two(self) -> None:
        """The provider has the money and is silent: two people say that it came, and then the provider does, too."""
        await self._order("callback", "callback_late", seconds=NEVER_SECONDS)
        if not await self._ask_in_vain():
            return
        if not self._takes_at_once:
            await self._pay()
        if not any(charge["received_minor"] for charge in await self._charges()):
            await self._give_up_the_case()
            return
        await self._house.pass_time(self._lane, OVERRIDE_AFTER)
        overrides, book_id = self._house.services.overrides, self._lane.book_id
        wanted = Proposal(subject=self.played.intent["id"], outcome="succeeded", evidence="a letter", reason="silence")
        row = await overrides.propose(book_id, wanted, actor=ANN)
        try:
            await overrides.approve(book_id, row.override_id, actor=ANN, reason="seen")
            self._must(False, "one person settled it alone")
        except Refused as refused:
            self._must(refused.code == "second_person_required", refused.code)
        await self._must_be(attempts=["unknown"], entries=0)
        await overrides.approve(book_id, row.override_id, actor=BEN, reason="seen, too")
        await self._read(self.played.intent["id"])
        marked = [self.played.intent[name] for name in ("status", "qualifiers", "amount_captured")]
        self._must(marked == ["succeeded", ["marked_manually"], self._cell.amount_minor], marked)
        await self._must_be(attempts=["captured"], entries=1)
        await self._end_faults()
        if not await self._release_callbacks():
            await self._hear_by_asking()
        proved = "SELECT count(*) = 2 FROM ledger.entries WHERE book_id = $1"
        await self._until(proved, book_id)

    @property
    def _takes_at_once(self) -> bool:
        """Whether the money comes with the charge itself, so that nothing is left to do for the payer."""
        able = self._cell.able
        return self._cell.by_code or (able.expiry_seconds is None and not able.return_url)

    async def _ask_in_vain(self) -> bool:
        """Ask for the payment; nobody can read the answer, nor gets another. False: nobody was asked for one."""
        await self._order("inquiry", "server_error", times=SILENT_TIMES)
        await self._order("charge", "malformed")
        await self._ask()
        left = "SELECT sum(remaining) FROM sandbox.faults WHERE world = $1 AND operation = 'charge'"
        if await self._house.owner.fetchval(left, self._lane.world):
            await self._give_up_the_case()
            return False
        self._must(self.played.intent["status"] == "processing", self.played.intent["status"])
        await self._must_be(attempts=["unknown"], entries=0)
        return True

    async def _give_up_the_case(self) -> None:
        """It cannot be so with this method: the payment goes on as any other."""
        self._note(NOT_REACHED)
        self._has_paid = False
        await self._end_faults()

    async def _end_faults(self) -> None:
        await self._house.owner.execute("UPDATE sandbox.faults SET remaining = 0 WHERE world = $1", self._lane.world)

    async def _release_callbacks(self) -> bool:
        """Let the callbacks go that were kept back; whether there was one."""
        released = await self._house.owner.fetch(
            "UPDATE sandbox.callback_queue SET due_at = now() WHERE world = $1 AND state = 'queued' RETURNING id",
            self._lane.world,
        )
        return bool(released)

    async def _hear_by_asking(self) -> None:
        """What is settled is asked about no more; where nothing calls back, a statement tells what asking would."""
        services, book_id = self._house.services, self._lane.book_id
        async with services.database.read() as connection:
            [attempt] = await attempts_of(connection, book_id, [self.played.intent["id"]])
        answer = await services.overrides._calls.inquire(attempt)
        assert isinstance(answer, Inquiry), f"{self._cell.name}: {answer}"
        finding = Finding(provider=attempt.provider, subject=subject_of(attempt), facts=answer.facts)
        await services.applier.report(finding, book_id=book_id)

    async def _charges(self) -> list[dict[str, Any]]:
        books = await self._house.sandbox.books(self._lane.world)
        return [charge for charge in books["charges"] if charge["amount_minor"] == self._cell.amount_minor]

    async def _must_be(self, *, attempts: list[str], entries: int) -> None:
        """How it stands: the statuses of the attempts, and how many entries the book has."""
        book_id, owner = self._lane.book_id, self._house.owner
        rows = await owner.fetch("SELECT status FROM gateway.payment_attempts WHERE book_id = $1", book_id)
        found = [row["status"] for row in rows], await owner.fetchval(_ENTRIES, book_id)
        self._must(found == (attempts, entries), found)

    async def _until(self, holds: str, parameter: object) -> None:
        deadline = asyncio.get_running_loop().time() + QUIET_SECONDS
        while not await self._house.owner.fetchval(holds, parameter):
            self._must(asyncio.get_running_loop().time() < deadline, f"never came: {holds}")
            await asyncio.sleep(POLL_SECONDS)

    def _must(self, holds: object, said: object) -> None:
        assert holds, f"{self._cell.name}: {said}"


_ENTRIES: Final = "SELECT count(*) FROM ledger.entries WHERE book_id = $1"
_CONFIRMED_BY: Final = frozenset(ConfirmIntent.__struct_fields__)
