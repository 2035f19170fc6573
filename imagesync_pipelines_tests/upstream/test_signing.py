"""Signatures of webhooks: the published test vector, and the library that receivers use."""

import base64
import time

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from imagesync_pipelines.upstream.signing import WebhookSecretError, key_of, new_secret, signed_headers

# As the test suites of Standard Webhooks have it.
SECRET = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_published_vector_is_signed_as_it_says() -> None:
    assert signed_headers(ID, AT, BODY, [key_of(SECRET)]) == {
        "webhook-id": ID,
        "webhook-timestamp": str(AT),
        "webhook-signature": SIGNATURE,
    }


def test_while_a_secret_is_rotated_a_receiver_verifies_with_either() -> None:
    new, old, other = new_secret(), new_secret(), new_secret()
    body = '{"sku":"Größe"}'.encode()
    headers = signed_headers("msg_1", int(time.time()), body, [key_of(new), key_of(old)])
    for one in (new, old):
        assert Webhook(one.get_secret_value()).verify(body, headers) == {"sku": "Größe"}
    for wrong_body, secret in ((body + b" ", new), (body, other)):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret.get_secret_value()).verify(wrong_body, headers)


SHORT, LONG = (f"whsec_{base64.b64encode(b'x' * size).decode()}" for size in (23, 65))


@pytest.mark.parametrize("text", ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not base64!", SHORT, LONG])
def test_what_is_no_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(WebhookSecretError) as caught:
        key_of(SecretStr(text))
    assert not text or text == "whsec_" or text not in str(caught.value)


def test_new_secrets_are_in_the_bounds_of_the_specification_and_differ() -> None:
    assert len({key_of(new_secret()) for _ in range(20)}) == 20
