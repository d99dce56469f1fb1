"""`quickkub database` on a server of one's own: roles, schema and fence, as a DBA meets them."""

import asyncio
import secrets
from urllib.parse import urlsplit

import asyncpg
import pytest
from click.testing import CliRunner

from gateway.cli import group
from gateway.foundation.settings import ROLES


def run(*arguments, code=0):
    result = CliRunner().invoke(group, arguments)
    if code:
        return str(result.exception)
    assert result.exit_code == 0, result.output
    return result.output


def execute(dsn, *statements):
    async def each():
        connection = await asyncpg.connect(dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(each())


def address(like, *, user, password, database):
    parts = urlsplit(like)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{user}:{password}@{host}", path=f"/{database}").geturl()


@pytest.fixture
def own_server(endpoints, valkey_url, monkeypatch):
    """A server where the printed script has been run, with other names than ours; gives the superuser's address."""
    mark = f"own_{secrets.token_hex(4)}"
    names = {role: f"{mark}_{role}" for role in ROLES}
    for role, name in names.items():
        monkeypatch.setenv(f"QUICKKUB_ROLE_{role.upper()}", name)
    script = run("database", "roles", "--name", mark)
    lines = [line for line in script.splitlines() if line and not line.startswith("--")]
    # psql asks the DBA for each password.
    lines = [f"ALTER ROLE {line.split()[1]} PASSWORD 'x'" if line.startswith(r"\password") else line for line in lines]
    execute(endpoints.superuser_url, *lines)
    for variable, role in (("DATABASE_OWNER_URL", "owner"), ("DATABASE_URL", "app")):
        dsn = address(endpoints.superuser_url, user=names[role], password="x", database=mark)
        monkeypatch.setenv(variable, dsn)
    monkeypatch.setenv("REDIS_URL", valkey_url)
    monkeypatch.setenv("MASTER_KEY", "07" * 32)
    parts = urlsplit(endpoints.superuser_url)
    yield parts._replace(path=f"/{mark}").geturl()
    execute(
        endpoints.superuser_url,
        f"DROP DATABASE {mark} WITH (FORCE)",
        *(f"DROP ROLE {name}" for name in names.values()),
    )


def test_printed_script_is_enough_to_migrate_and_to_run(own_server):
    assert run("database", "migrate").endswith("was empty\n")
    assert "was" not in run("database", "migrate")
    assert [line.split()[0] for line in run("database", "check").splitlines()] == ["ok", "ok", "ok"]


def test_fence_is_put_up_by_a_superuser_after_the_first_migration(own_server, monkeypatch):
    assert "DATABASE_SUPERUSER_URL must be set" in run("database", "fence", code=1)
    assert "migrate` first" in run("database", "fence", "--superuser-url", own_server, code=1)
    run("database", "migrate")
    monkeypatch.setenv("DATABASE_SUPERUSER_URL", own_server)
    for _ in range(2):
        assert run("database", "fence") == "the ledger's tables are fenced\n"
    run("database", "migrate")
    with pytest.raises(asyncpg.PostgresError, match="the books are append-only"):
        execute(own_server, "ALTER TABLE ledger.entries DISABLE TRIGGER ALL")


def test_fence_cannot_be_put_up_by_the_owner(database, monkeypatch):
    monkeypatch.setenv("DATABASE_SUPERUSER_URL", database.owner_dsn)
    assert "needs a superuser" in run("database", "fence", code=1)
