"""Payments and refunds: what is asked for, what providers say, and what becomes of it in states and entries.

Use cases: `intents.py`, `refunds.py`, `idempotency.py` (a request sent twice acts once), `janitor.py` (asks until
somebody knows). Every change goes through `facts.py`, the applier: it locks, `deciding.py` decides by `folding.py`
and `entries.py`, and the same transaction writes rows, moves, events and entries. `states.py` has the legal moves,
`calls.py` talks to providers, `routing.py` chooses one, `schedule.py` says when to ask again, `views.py` is what
merchants see, `records.py` the rows and their locks.
"""
