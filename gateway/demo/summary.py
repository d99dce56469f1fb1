"""The one summary at the end: gathered from the API, the books and the reports; printed for a person."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from gateway.bootstrap import Services
from gateway.demo.client import MerchantClient
from gateway.demo.orders import Befalls, Order, plan
from gateway.demo.proofs import Proof
from gateway.demo.story import State
from gateway.foundation.settings import Settings
from gateway.settlement.report_files import write_reports
from ledger.balances import all_balances
from ledger.chart_of_accounts import CHART as KINDS
from ledger.chart_of_accounts import AccountKind, NormalSide
from ledger.money import to_text
from ledger.posting_rules.fees_and_tax import vat_rate_on
from reconciliation.breaks import Break
from reconciliation.runs import RunResult

CURRENCY: Final = "THB"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Payments that ended alike."""

    count: int
    asked_minor: int
    received_minor: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What the demonstration came to. All amounts in satang.

    Attributes:
        lanes: by provider and method; cases: what befell an order → how its payments ended.
    """

    state: State
    outcomes: Mapping[str, Outcome]
    lanes: Mapping[str, Outcome]
    cases: Mapping[str, str]
    refunds: Mapping[str, Outcome]
    balances: Mapping[AccountKind, int]
    debits_minor: int
    credits_minor: int
    runs: Sequence[RunResult]
    breaks: Sequence[Break]
    payouts: Sequence[tuple[str, int, str]]
    folder: Path
    files: Sequence[Path]
    proofs: Sequence[Proof] = ()

    @property
    def holds(self) -> bool:
        """Whether everything that must hold does."""
        return bool(self.proofs) and self.debits_minor == self.credits_minor and all(p.holds for p in self.proofs)


async def gather(services: Services, state: State, api: MerchantClient) -> Summary:
    """Read the results and write the reports. Nothing is posted.

    Raises:
        IdentityFailed: a report does not add up.
    """
    assert state.paid_on is not None
    assert state.settled_on is not None
    book_id = state.book_id
    runs = [await services.daily.reconcile(book_id, day) for day in (state.paid_on, state.settled_on)]
    folder = services.settings.home / "reports" / f"{state.settled_on}"
    written = await write_reports(
        services.database, services.vault, book_id, folder=folder, from_on=state.paid_on, to_on=state.settled_on
    )
    async with services.database.ledger_pool.acquire() as connection:
        balances = await all_balances(connection, book_id)
    kinds: Counter[AccountKind] = Counter()
    for balance in balances:
        kinds[balance.account.kind] += balance.balance_minor
    intents = await api.all("/v1/payment_intents")
    debit_kinds = [kind for kind in AccountKind if KINDS[kind].normal_side is NormalSide.DEBIT]
    return Summary(
        state=state,
        outcomes=_outcomes(intents, _words_of, received="amount_received"),
        lanes=_outcomes(intents, _lane_of, received="amount_received"),
        cases=_cases(plan(state.orders), intents),
        refunds=_outcomes(await api.all("/v1/refunds"), _words_of, received="amount"),
        balances=dict(kinds),
        debits_minor=sum(kinds[kind] for kind in debit_kinds),
        credits_minor=sum(amount for kind, amount in kinds.items() if kind not in debit_kinds),
        runs=runs,
        breaks=runs[-1].breaks,
        payouts=written.payouts,
        folder=folder,
        files=written.files,
    )


def show(console: Console, summary: Summary, *, seconds: float, settings: Settings) -> None:
    """Print it."""
    console.print()
    console.rule("[bold]QuickKub demonstration")
    console.print(_outcome_table("payments", summary.outcomes))
    console.print(_outcome_table("by provider and method", summary.lanes))
    console.print(_outcome_table("refunds", summary.refunds))
    console.print(_case_table(summary.cases))
    console.print(_money_table(summary))
    console.print(_reconciliation_table(summary.runs))
    console.print(_tie_out_table(summary.runs))
    console.print(_break_table(summary.breaks, summary.state.settled_on))
    for name, amount_minor, state in summary.payouts:
        console.print(f"payout   {name}  {_money(amount_minor)}  [bold]{state}[/]")
    difference = summary.debits_minor - summary.credits_minor
    console.print(
        f"trial balance   debits {_money(summary.debits_minor)} − credits {_money(summary.credits_minor)} = "
        f"[bold]{to_text(difference, CURRENCY)}[/]"
    )
    for proof in summary.proofs:
        console.print(f"{'[green]holds[/]' if proof.holds else '[bold red]BROKEN[/]'}   {proof.name}: {proof.detail}")
    console.print(f"files    {len(summary.files)} in {summary.folder}")
    console.print(f"took     {seconds:.0f} s from the start of the servers to this line")
    console.print()
    console.print(f"API      {settings.public_url}   documentation {settings.public_url}/docs")
    console.print(f"sandbox  {settings.sandbox_url}")
    console.print(f"test key {summary.state.api_key}")
    console.print(
        f"try      curl -s {settings.public_url}/v1/balance -H 'Authorization: Bearer {summary.state.api_key}'",
        soft_wrap=True,
    )
    console.rule("[bold green]every identity holds" if summary.holds else "[bold red]SOMETHING DOES NOT HOLD")


def _words_of(each: Mapping[str, Any]) -> str:
    error = each.get("last_error")
    return ", ".join([each["status"], *each.get("qualifiers", []), *([error["code"]] if error else [])])


def _lane_of(intent: Mapping[str, Any]) -> str:
    return f"{intent['latest_attempt']['provider']} {intent['payment_method']}"


def _outcomes(
    objects: Sequence[Mapping[str, Any]], words_of: Callable[[Mapping[str, Any]], str], *, received: str
) -> dict[str, Outcome]:
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for each in objects:
        grouped.setdefault(words_of(each), []).append(each)
    return {
        words: Outcome(
            count=len(members),
            asked_minor=sum(member["amount"] for member in members),
            received_minor=sum(member[received] for member in members),
        )
        for words, members in sorted(grouped.items(), key=lambda item: -len(item[1]))
    }


def _cases(orders: Sequence[Order], intents: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """How each hard case ended, by the provider that had it in the end."""
    by_reference = {intent["merchant_reference"]: intent for intent in intents}
    ended: dict[str, Counter[str]] = {}
    for order in orders:
        intent = by_reference.get(order.reference)
        if intent is not None and order.befalls is not Befalls.NOTHING:
            words = f"{intent['latest_attempt']['provider']}: {_words_of(intent)}"
            ended.setdefault(order.befalls, Counter())[words] += 1
    return {
        befalls: "; ".join(f"{count} × {words}" if count > 1 else words for words, count in found.items())
        for befalls, found in sorted(ended.items())
    }


def _case_table(cases: Mapping[str, str]) -> Table:
    table = _table("hard cases", "case", "ended as")
    for case, ended in cases.items():
        table.add_row(case, ended)
    return table


def _outcome_table(title: str, outcomes: Mapping[str, Outcome]) -> Table:
    table = _table(title, "outcome", "count", "asked for", "amount" if title == "refunds" else "booked")
    for words, outcome in outcomes.items():
        table.add_row(words, str(outcome.count), _money(outcome.asked_minor), _money(outcome.received_minor))
    table.add_section()
    table.add_row(
        "all",
        str(sum(outcome.count for outcome in outcomes.values())),
        _money(sum(outcome.asked_minor for outcome in outcomes.values())),
        _money(sum(outcome.received_minor for outcome in outcomes.values())),
    )
    return table


def _money_table(summary: Summary) -> Table:
    table = _table("balances", "account", "THB")
    for kind, amount_minor in sorted(summary.balances.items(), key=lambda item: KINDS[item[0]].code):
        table.add_row(f"{KINDS[kind].code} {kind.name.lower().replace('_', ' ')}", to_text(amount_minor, CURRENCY))
    assert summary.state.paid_on is not None
    rate = vat_rate_on(summary.state.paid_on)
    table.caption = f"VAT {to_text(rate.rate_ppm // 100, CURRENCY)} %" + (
        "" if rate.verified else " (unverified for this date)"
    )
    return table


def _reconciliation_table(runs: Sequence[RunResult]) -> Table:
    table = _table("reconciliation", "business date", "source", "lines", "matched", "rate", "unmatched")
    for run in runs:
        for source in run.sources:
            lines, matched = source.lines.count, source.matched.count
            rate = f"{matched * 100 / lines:.1f} %" if lines else "–"
            table.add_row(
                str(run.business_on), source.source, str(lines), str(matched), rate, str(source.unmatched.count)
            )
    return table


def _tie_out_table(runs: Sequence[RunResult]) -> Table:
    """Statement against books, day by day: their closing, ours, what explains the difference, what is left."""
    table = _table("tie-out", "business date", "account", "theirs", "ours", "explained", "left over", "tied")
    for run in runs:
        for bank in run.banks:
            explained = sum(difference.amount_minor for difference in bank.differences) + bank.brought_forward_minor
            figures = (bank.closing_minor, bank.ledger_closing_minor, explained, bank.remainder_minor)
            _tie_out_row(table, run, "bank", figures, tied=bank.tied)
        for provider in run.providers:
            explained = sum(difference.amount_minor for difference in provider.differences)
            figures = (provider.provider_minor, provider.ledger_minor, explained, provider.remainder_minor)
            _tie_out_row(table, run, f"owed by {provider.provider}", figures, tied=provider.remainder_minor == 0)
    return table


def _tie_out_row(table: Table, run: RunResult, account: str, figures: Sequence[int], *, tied: bool) -> None:
    amounts = (to_text(figure, CURRENCY) for figure in figures)
    table.add_row(str(run.business_on), account, *amounts, "yes" if tied else "no")


def _break_table(breaks: Sequence[Break], on: date | None) -> Table | str:
    if not breaks:
        return "no breaks are open"
    assert on is not None
    table = _table("open breaks", "kind", "amount", "days", "owner", "reason")
    for each in breaks:
        age = str(each.age_days(on))
        table.add_row(each.kind, to_text(each.amount_minor, each.currency), age, each.owner, each.reason)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        text = number == 0 or column in {"source", "account", "owner", "reason", "ended as"}
        table.add_column(column, justify="left" if text else "right", no_wrap=column not in {"reason", "ended as"})
    return table


def _money(amount_minor: int) -> str:
    return f"{to_text(amount_minor, CURRENCY)} {CURRENCY}"
