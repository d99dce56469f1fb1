"""Settings: read once, wrong ones refused by name, secrets never shown."""

from pathlib import Path

import pytest

from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings, SettingsInvalid, role_names


def test_no_variable_at_all_means_embedded_on_loopback():
    settings = Settings.from_environment({})
    assert settings.database_url is None
    assert settings.redis_url is None
    assert settings.home == Path(".quickkub")
    assert (settings.public_url, settings.sandbox_url) == ("http://127.0.0.1:8080", "http://127.0.0.1:8090")
    assert settings.sandbox_enabled
    assert settings.allow_loopback_webhooks


def test_production_switches_off_what_only_development_needs():
    settings = Settings.from_environment({"QUICKKUB_ENVIRONMENT": "production"})
    assert not settings.sandbox_enabled
    assert not settings.allow_loopback_webhooks
    settings = Settings.from_environment(
        {
            "QUICKKUB_ENVIRONMENT": "production",
            "QUICKKUB_SANDBOX_ENABLED": "True",
            "QUICKKUB_ALLOW_LOOPBACK_WEBHOOKS": "",
        }
    )
    assert settings.sandbox_enabled
    assert not settings.allow_loopback_webhooks


def test_addresses_follow_hosts_and_ports():
    settings = Settings.from_environment({"QUICKKUB_API_PORT": "9000", "QUICKKUB_SANDBOX_HOST": "sandbox"})
    assert (settings.public_url, settings.sandbox_url) == ("http://127.0.0.1:9000", "http://sandbox:8090")


def test_settings_pass_to_another_process_unchanged():
    settings = Settings.from_environment(
        {
            "DATABASE_URL": "postgresql://somewhere/db",
            "MASTER_KEY": "ab" * 32,
            "CHECKPOINT_SIGNING_KEY": "cd" * 32,
            "QUICKKUB_CHECKPOINT_FOLDER": "/published",
            "QUICKKUB_INBOX_POLL_SECONDS": "0.05",
        }
    )
    assert (settings.checkpoint_signing_key, settings.checkpoint_folder) == (b"\xcd" * 32, Path("/published"))
    assert settings.master_key == b"\xab" * 32
    assert settings.inbox_poll_seconds == 0.05
    assert Settings.from_environment(settings.as_environment()) == settings


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("QUICKKUB_API_PORT", "eighty", "QUICKKUB_API_PORT cannot be read"),
        ("QUICKKUB_ENVIRONMENT", "staging", "QUICKKUB_ENVIRONMENT cannot be read"),
        ("QUICKKUB_SANDBOX_ENABLED", "perhaps", "QUICKKUB_SANDBOX_ENABLED cannot be read"),
        ("MASTER_KEY", "ab" * 31, "MASTER_KEY must be 64 hexadecimal digits"),
        ("MASTER_KEY", "not hexadecimal", "MASTER_KEY cannot be read: 64 hexadecimal digits are needed"),
    ],
)
def test_wrong_value_is_refused_by_its_name(variable, value, said):
    with pytest.raises(SettingsInvalid) as caught:
        Settings.from_environment({variable: value})
    assert str(caught.value).startswith(said)
    if variable == "MASTER_KEY":
        assert value not in str(caught.value)


def test_role_names_can_be_set_but_not_to_something_that_needs_quoting():
    assert role_names({}) == {
        "owner": "quickkub_owner",
        "app": "quickkub_app",
        "auditor": "quickkub_auditor",
        "sandbox": "quickkub_sandbox",
    }
    assert role_names({"QUICKKUB_ROLE_APP": "payments_app"})["app"] == "payments_app"
    for bad in ("Payments", "a b", "a;b", 'a"b', "การเงิน"):
        with pytest.raises(SettingsInvalid):
            role_names({"QUICKKUB_ROLE_APP": bad})


async def test_own_database_asks_for_all_that_belongs_to_it():
    settings = Settings.from_environment({"DATABASE_URL": "postgresql://somewhere/db"})
    with pytest.raises(SettingsInvalid, match="set REDIS_URL and MASTER_KEY too"):
        async with resolved(settings):
            pass
    whole = Settings.from_environment(
        {"DATABASE_URL": "postgresql://somewhere/db", "REDIS_URL": "redis://cache", "MASTER_KEY": "ab" * 32}
    )
    async with resolved(whole) as same:
        assert same == whole
