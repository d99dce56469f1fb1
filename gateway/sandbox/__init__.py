"""The other side of each protocol: invented providers and an invented bank, one world a test book.

`app.py` puts it together; `world.py` is the unit of state and of locking; `clock.py` moves business days; `scb.py`,
`omise.py` and `bank.py` speak; `faults.py` spoils on demand; `callbacks.py` calls the gateway; `statements.py` writes
what the others give out as files; `control.py` with `client.py` is the hand of tests and demos.

A world is locked by its row for as long as one operation runs, so everything a world does happens in one order and
no operation needs a thought about races. Nothing here is imported by the gateway but `client.py`.
"""
