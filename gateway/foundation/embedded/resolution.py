"""From settings with gaps to settings without: the embedded servers fill what was left out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from gateway.foundation.embedded import servers
from gateway.foundation.settings import Settings, SettingsInvalid


@asynccontextmanager
async def resolved(settings: Settings) -> AsyncIterator[Settings]:
    """The settings with every address and key filled in; embedded servers run for as long as the block lasts.

    Your own database is never mixed with keys that lie in a folder of this machine, so DATABASE_URL asks for
    REDIS_URL and MASTER_KEY, too.

    Raises:
        SettingsInvalid: DATABASE_URL is set, but not all that belongs to it.
        EmbeddedUnavailable: the embedded servers cannot run here.
    """
    if settings.database_url is not None:
        missing = [name for name in ("redis_url", "master_key") if getattr(settings, name) is None]
        if missing:
            names = " and ".join(name.upper() for name in missing)
            hint = " (a new key: openssl rand -hex 32)" if settings.master_key is None else ""
            raise SettingsInvalid(f"DATABASE_URL is set, so set {names} too{hint}")
        yield settings
        return
    if settings.database_owner_url is not None:
        raise SettingsInvalid(
            "DATABASE_OWNER_URL is set, so set DATABASE_URL too: the embedded server has its own owner"
        )
    async with servers(settings.home) as found:
        yield msgspec.structs.replace(
            settings,
            database_url=found.database_url,
            database_owner_url=found.database_owner_url,
            sandbox_database_url=found.sandbox_database_url,
            auditor_database_url=found.auditor_url,
            redis_url=settings.redis_url or found.redis_url,
            master_key=settings.master_key or found.master_key,
            checkpoint_signing_key=settings.checkpoint_signing_key or found.checkpoint_signing_key,
            checkpoint_folder=settings.checkpoint_folder or settings.home / "checkpoints",
            sandbox_control_key=settings.sandbox_control_key or found.sandbox_control_key,
        )
