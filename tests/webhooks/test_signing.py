"""Our signatures are verified by the specification's own Python package."""

import base64
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gateway.webhooks.signing import SecretInvalid, key_of, new_secret, signed_headers

BODY = '{"id":"evt_1","data":{"object":{"description":"ค่าเช่า"}}}'.encode()


def _headers(*secrets: str, timestamp: int | None = None) -> dict[str, str]:
    return signed_headers(secrets, message_id="evt_1", timestamp=timestamp or int(time.time()), body=BODY)


def test_signature_is_verified_independently():
    secret = new_secret()
    assert Webhook(secret).verify(BODY, _headers(secret)) == {
        "id": "evt_1",
        "data": {"object": {"description": "ค่าเช่า"}},
    }


def test_both_secrets_verify_while_one_rotates():
    new, former = new_secret(), new_secret()
    headers = _headers(new, former)
    assert len(headers["webhook-signature"].split(" ")) == 2
    Webhook(new).verify(BODY, headers)
    Webhook(former).verify(BODY, headers)


def test_published_vector_of_the_specification():
    headers = signed_headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "evt_2"},
        {"webhook-timestamp": str(int(time.time()) - 301)},
        {"webhook-signature": "v1," + base64.b64encode(bytes(32)).decode()},
    ],
)
def test_changed_message_is_not_verified(change: dict[str, str]):
    secret = new_secret()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, {**_headers(secret), **change})


def test_changed_body_is_not_verified():
    secret = new_secret()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY + b" ", _headers(secret))


def test_new_secret_has_256_bits():
    assert len(key_of(new_secret())) == 32
    assert new_secret() != new_secret()


@pytest.mark.parametrize("length", [24, 64])
def test_secret_of_24_to_64_bytes_is_taken(length: int):
    assert key_of("whsec_" + base64.b64encode(bytes(length)).decode()) == bytes(length)


@pytest.mark.parametrize(
    "secret",
    [
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        base64.b64encode(bytes(32)).decode(),
        "whsec_!",
        "whsec_ก",
        "",
    ],
)
def test_other_secrets_are_refused(secret: str):
    with pytest.raises(SecretInvalid):
        key_of(secret)
