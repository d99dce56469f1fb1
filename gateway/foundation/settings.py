"""Settings: read once from the environment, then passed on as one frozen value.

Without any setting QuickKub runs on the embedded servers. Addresses of your own servers are `DATABASE_URL` (login
of the app role), `DATABASE_OWNER_URL` (migrations and archiving only, never given to serve or work),
`SANDBOX_DATABASE_URL`, `AUDITOR_DATABASE_URL` and `REDIS_URL`; the key over all keys is `MASTER_KEY` (64 hexadecimal
digits), the one that signs checkpoints of the books `CHECKPOINT_SIGNING_KEY` (as many). Everything else is
`QUICKKUB_<NAME OF THE FIELD>`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self, get_type_hints

import msgspec

PREFIX: Final = "QUICKKUB_"
UNPREFIXED: Final = frozenset(
    {
        "database_url",
        "database_owner_url",
        "sandbox_database_url",
        "auditor_database_url",
        "redis_url",
        "master_key",
        "checkpoint_signing_key",
        "sandbox_control_key",
    }
)
"""Fields whose variable has no prefix, because hosting platforms set them under these names."""
MASTER_KEY_BYTES: Final = 32
ROLES: Final = ("owner", "app", "auditor", "sandbox")


class SettingsInvalid(Exception):
    """A setting cannot be read; the message names the variable and what it should be."""

    code = "settings_invalid"
    retryable = False


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What this process was told.

    Attributes:
        home: folder of the embedded servers and their keys.
        database_url: login of the app role; None = embedded.
        database_owner_url: login of the owner role, for migrations; None = embedded.
        sandbox_database_url: login of the sandbox role; None = embedded.
        auditor_database_url: login of the auditor role, for exports; None = embedded.
        redis_url: Redis 7+ or Valkey; None = embedded.
        sandbox_url: where the sandbox is reached; by default its host and port.
        public_url: where the world reaches the API; by default its host and port.
        worker_metrics_port: where a worker serves its own `/metrics`; 0 = nowhere. Each worker needs its own.
        master_key: the key over all data keys, 32 bytes; None = the embedded one.
        checkpoint_signing_key: the Ed25519 key that signs checkpoints, 32 bytes; None = the embedded one. Lost with it
            is nothing that was signed; whoever has it can sign other books.
        checkpoint_folder: where checkpoints are published, outside the database; by default `checkpoints` in the
            embedded home, else none are made.
        sandbox_control_key: bearer of the sandbox's control interface; None = the embedded one.
        sandbox_enabled: test-mode keys may talk to the sandbox; in production only when switched on.
        allow_loopback_webhooks: webhook endpoints may be on this machine; in production only when switched on.
    """

    home: Path = Path(".quickkub")
    database_url: str | None = None
    database_owner_url: str | None = None
    sandbox_database_url: str | None = None
    auditor_database_url: str | None = None
    redis_url: str | None = None
    master_key: bytes | None = None
    checkpoint_signing_key: bytes | None = None
    checkpoint_folder: Path | None = None
    environment: Literal["development", "production"] = "development"
    api_host: str = "127.0.0.1"
    api_port: int = 8080
    sandbox_host: str = "127.0.0.1"
    sandbox_port: int = 8090
    sandbox_url: str = ""
    sandbox_control_key: str | None = None
    sandbox_enabled: bool = True
    public_url: str = ""
    web_workers: int = 2
    worker_metrics_port: int = 0
    allow_loopback_webhooks: bool = True
    provider_timeout_seconds: float = 10
    delivery_timeout_seconds: float = 15
    janitor_first_delay_seconds: float = 10
    janitor_poll_seconds: float = 1
    inbox_poll_seconds: float = 0.2
    delivery_poll_seconds: float = 0.2
    payout_sweep_seconds: float = 30
    registration_poll_seconds: float = 5
    scheduler_tick_seconds: float = 5
    idempotency_lease_seconds: float = 90

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The settings that the variables say; an empty variable counts as absent.

        Raises:
            SettingsInvalid: a value cannot be read, or production lacks what it must have.
        """
        values: dict[str, Any] = {}
        for field, kind in get_type_hints(cls).items():
            text = environ.get(_variable(field), "").strip()
            if text:
                values[field] = _read(_variable(field), kind, text)
        production = values.get("environment") == "production"
        for switch in ("sandbox_enabled", "allow_loopback_webhooks"):
            values.setdefault(switch, not production)
        settings = cls(**values)
        return msgspec.structs.replace(
            settings,
            sandbox_url=settings.sandbox_url or f"http://{settings.sandbox_host}:{settings.sandbox_port}",
            public_url=settings.public_url or f"http://{settings.api_host}:{settings.api_port}",
        )

    def as_environment(self) -> dict[str, str]:
        """The variables from which another process of ours reads these same settings."""
        variables: dict[str, str] = {}
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if value is None:
                continue
            variables[_variable(field)] = value.hex() if isinstance(value, bytes) else str(value)
        return variables


def role_names(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The database roles by their part: `{"owner": "quickkub_owner", …}`; `QUICKKUB_ROLE_OWNER` and so on rename."""
    names = {role: environ.get(f"{PREFIX}ROLE_{role.upper()}", "").strip() or f"quickkub_{role}" for role in ROLES}
    for name in names.values():
        if not (name.isascii() and name.replace("_", "").isalnum() and name == name.lower()):
            raise SettingsInvalid(f"role name {name!r} must be lower-case letters, digits and underscores")
    return names


def _variable(field: str) -> str:
    return field.upper() if field in UNPREFIXED else PREFIX + field.upper()


def _read(variable: str, kind: Any, text: str) -> Any:
    try:
        if kind == bytes | None:
            key = bytes.fromhex(text)
            if len(key) != MASTER_KEY_BYTES:
                raise SettingsInvalid(f"{variable} must be {2 * MASTER_KEY_BYTES} hexadecimal digits")
            return key
        if kind in (Path, Path | None):
            return Path(text)
        if kind is bool:
            text = text.lower()
        return msgspec.convert(text, kind, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        # The value itself stays out of the message: it may be a secret.
        expected = f"{2 * MASTER_KEY_BYTES} hexadecimal digits are needed" if kind == bytes | None else str(error)
        raise SettingsInvalid(f"{variable} cannot be read: {expected}") from None
