"""Encryption at rest: what was sealed opens for the same key and context only."""

import os

import pytest

from gateway.foundation.encryption import CannotOpen, Vault

MASTER_KEY = bytes(range(32))
SECRET = "secret of a merchant ร้าน".encode()


@pytest.fixture
def vault() -> Vault:
    return Vault(MASTER_KEY)


def test_sealed_text_opens_also_after_a_restart(vault):
    key = vault.new_data_key()
    sealed = vault.seal(key, SECRET, context="provider_credentials:pa_1")
    assert SECRET not in sealed
    assert Vault(MASTER_KEY).open(key, sealed, context="provider_credentials:pa_1") == SECRET


def test_same_text_is_never_sealed_to_the_same_bytes(vault):
    key = vault.new_data_key()
    assert vault.seal(key, SECRET, context="c") != vault.seal(key, SECRET, context="c")
    assert vault.new_data_key() != vault.new_data_key()


def test_ciphertext_moved_to_another_row_does_not_open(vault):
    key = vault.new_data_key()
    sealed = vault.seal(key, SECRET, context="webhook_secret:whe_1")
    with pytest.raises(CannotOpen, match="another context"):
        vault.open(key, sealed, context="webhook_secret:whe_2")


def test_another_merchants_key_is_told_from_damage(vault):
    sealed = vault.seal(vault.new_data_key(), SECRET, context="c")
    with pytest.raises(CannotOpen, match="under another key"):
        vault.open(vault.new_data_key(), sealed, context="c")


def test_another_master_key_opens_nothing(vault):
    key = vault.new_data_key()
    other = Vault(os.urandom(32))
    with pytest.raises(CannotOpen, match="under another key"):
        other.open(key, vault.seal(key, SECRET, context="c"), context="c")
    with pytest.raises(CannotOpen, match="under another key"):
        other.open_house(vault.seal_house(SECRET, context="c"), context="c")


def test_every_damaged_byte_is_noticed(vault):
    sealed = vault.seal_house(SECRET, context="statement:stf_1")
    assert vault.open_house(sealed, context="statement:stf_1") == SECRET
    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        with pytest.raises(CannotOpen):
            vault.open_house(bytes(damaged), context="statement:stf_1")
    for length in range(len(sealed)):
        with pytest.raises(CannotOpen):
            vault.open_house(sealed[:length], context="statement:stf_1")


def test_layout_carries_version_and_key_id(vault):
    key = vault.new_data_key()
    first, second = vault.seal(key, b"", context="c"), vault.seal(key, b"", context="c")
    assert first[0] == 1
    assert first[1:9] == second[1:9]
    assert len(first) == 1 + 8 + 12 + 16


def test_lookups_find_the_same_value_for_the_same_purpose_only(vault):
    found = vault.lookup("value", purpose="api_key")
    assert len(found) == 32
    assert Vault(MASTER_KEY).lookup("value", purpose="api_key") == found
    others = {
        vault.lookup("value", purpose="callback_token"),
        vault.lookup("Value", purpose="api_key"),
        Vault(os.urandom(32)).lookup("value", purpose="api_key"),
    }
    assert found not in others
    assert len(others) == 3
