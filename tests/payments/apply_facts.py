"""Another process with an applier of its own: says `ready`, takes one line of facts, says how many were new to it."""

import asyncio
import sys

import msgspec

from gateway.foundation.database import Database
from gateway.payments.facts import FactApplier
from gateway.providers.base import Fact


async def main(dsn: str, book_id: int) -> None:
    database = await Database.open(dsn, pool_size=4)
    applier = FactApplier(database)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    facts = msgspec.json.decode(sys.stdin.readline(), type=list[Fact])
    applied = await asyncio.gather(*(applier.apply(fact, book_id=book_id) for fact in facts))
    sys.stdout.write(str(sum(one.new_facts for one in applied)))
    await applier.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
