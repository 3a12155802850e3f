"""form_secrets.py: which forms ask for what no form may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from gatehouse_policies.form_secrets import asks_for_secrets


def form(name: str = "value", **field: Any) -> dict[str, Any]:
    """A form with one field beside a harmless one."""
    return {"type": "object", "properties": {"colour": {"type": "string"}, name: {"type": "string", **field}}}


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "Password",
        "userpassword",
        "new_password",
        "pass-phrase",
        "PIN",
        "pin_code",
        "token",
        "accessToken",
        "refresh_token",
        "apiKey",
        "api-key",
        "APIKey",
        "apikey",
        "privateKey",
        "client_secret",
        "credentials",
        "card",
        "cardNumber",
        "credit_card",
        "cvv",
        "CVC2",
        "iban",
        "ssn",
        "otp",
        "oneTimeCode",
        "verification_code",
        "seed phrase",
        "recovery_codes",
        "pass\u00adword",  # a soft hyphen
        "p\u00e1ssword",
        "\uff50assword",
        "pass\u200bword",
        "pass\u3164word",  # a letter that shows nothing
        "p\u0430ssword",  # Cyrillic
        "\u0430piKey",
        "\u03a4OKEN",  # Greek
    ],
)
def test_a_field_for_a_secret_is_seen_by_its_name_and_its_label(name: str) -> None:
    assert asks_for_secrets(form(name))
    assert asks_for_secrets(form(title=name))


@pytest.mark.parametrize("kind", ["password", "x-api-key", "credit-card"])
def test_a_field_for_a_secret_is_seen_by_its_format(kind: str) -> None:
    assert asks_for_secrets(form(format=kind))


@pytest.mark.parametrize("said", ["Your API key, please", "the password of your account", "card number and CVV"])
def test_a_field_for_a_secret_is_seen_by_its_description(said: str) -> None:
    assert asks_for_secrets(form(description=said))


@pytest.mark.parametrize("schema", [[form("token")], {"allOf": [form("token")]}, {"Properties": {"token": {}}}])
def test_a_field_is_seen_wherever_it_stands(schema: Any) -> None:
    assert asks_for_secrets(schema)


@pytest.mark.parametrize(
    "name",
    [
        "name",
        "email",
        "birthday",
        "approved",
        "max_tokens",
        "page_token",
        "token_limit",
        "spin",
        "secretary",
        "keyboard",
        "discard",
        "compass",
        "cardinality",
        "opinion",
        "postcode",
        "primary_key",
    ],
)
def test_other_fields_are_none(name: str) -> None:
    assert not asks_for_secrets(form(name))
    assert not asks_for_secrets(form(title=name))


@pytest.mark.parametrize("schema", [None, {}, {"type": "object"}, {"properties": None}, "password", 1])
def test_a_form_without_fields_asks_for_nothing(schema: Any) -> None:
    assert not asks_for_secrets(schema)


@pytest.mark.parametrize("said", ["who keeps the cards up to date", "shown with a pin on the map"])
def test_a_description_may_use_a_word_in_passing(said: str) -> None:
    assert not asks_for_secrets(form(description=said))
