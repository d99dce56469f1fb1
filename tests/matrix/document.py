"""docs/matrix.md: what becomes of every cell, one section a provider."""

from pathlib import Path
from typing import Final

from gateway.providers.registry import ADAPTERS

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "matrix.md"
PREFACE: Final = """# What becomes of a payment when something goes wrong

Written by `python -m tests.matrix`. Each row is a payment through the whole gateway against the sandbox's provider,
in which one fault befell one operation. `payment` is where it ended, with its qualifiers; `refund` what became of the
refund, where one was asked for. In every row the journal says what the provider's own books say, to the satang, and the
merchant was told the end.

- `inquiry`: the charge's answer and the callback were lost as well, or nobody would have asked.
- `pay_wrong_amount`: the payer pays too little; `pay_too_much`: too much, where the rail takes another amount.
- `another_attempt_while_unknown`: while nobody knows what became of the payment, three more attempts are asked for.
- `janitor_and_callback_at_once`: the payer pays and the callback comes while the janitor's question is under way.
- `settled_by_two_people`: the provider is silent for an hour, two people settle the payment, and then it speaks.
- `pay_after_expiry`: the payer comes when the time to pay is over; `forged_unpaid`: a callback says that he paid.
- `held: accepted`, `held: offered back`: what the merchant decided about the money that was held for the payer, once
  it had been disputed by letter, which kept it from him, and the dispute was won.
- `not reached`: the fault struck nothing: the payment never came to that operation.

"""


def names_in(provider: str) -> list[tuple[str, ...]]:
    """Method, operation and fault of every row of a provider's section; none where it has no section."""
    rows = [line for line in _sections().get(provider, "").splitlines() if line.startswith("| ")][1:]
    return [tuple(cell.strip() for cell in row.split("|")[1:4]) for row in rows]


def write(provider: str, section: str) -> None:
    """Write a provider's section anew and leave the others as they are."""
    sections = _sections() | {provider: section}
    DOCUMENT.parent.mkdir(exist_ok=True)
    ordered = [sections[adapter.name].strip() for adapter in ADAPTERS if adapter.name in sections]
    DOCUMENT.write_text(PREFACE + "\n\n".join(ordered) + "\n")


def _sections() -> dict[str, str]:
    if not DOCUMENT.exists():
        return {}
    parts = DOCUMENT.read_text().split("\n## ")[1:]
    return {part.partition("\n")[0]: f"## {part}" for part in parts}
