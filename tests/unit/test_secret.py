"""A secret's value is in nothing that is shown."""

from __future__ import annotations

import copy
import traceback

import pytest
from pydantic import BaseModel, ValidationError

from ext_proc.secret import CONTEXT_KEY, Secret

VALUE = b"hunter2-hunter2"


class Parameters(BaseModel, extra="forbid"):
    key: Secret
    keys: list[Secret] = []


def parameters(**values: object) -> Parameters:
    return Parameters.model_validate(values, context={CONTEXT_KEY: {"signing": Secret("signing", VALUE)}})


def test_a_key_id_arrives_resolved() -> None:
    found = parameters(key="signing", keys=["signing", "signing"])
    assert found.key.reveal() == VALUE
    assert found.key.key_id == "signing"
    assert [secret.reveal() for secret in found.keys] == [VALUE, VALUE]


def test_a_secret_that_is_one_already_stays_itself() -> None:
    secret = Secret("other", b"x")
    assert Parameters(key=secret).key is secret


def test_a_secret_is_equal_to_itself_resolved_again_and_to_no_other() -> None:
    assert Secret("signing", VALUE) == Secret("signing", VALUE)
    assert len({Secret("signing", VALUE), Secret("signing", VALUE)}) == 1
    assert Secret("signing", VALUE) != Secret("signing", b"other")
    assert Secret("signing", VALUE) != Secret("other", VALUE)
    assert Secret("signing", VALUE) != VALUE


def test_its_value_is_in_no_text_that_is_made_of_it() -> None:
    found = parameters(key="signing", keys=["signing"])
    texts = [
        repr(found.key),
        str(found.key),
        f"{found.key}",
        f"{found.key!a}",
        repr(found),
        str(found),
        found.model_dump_json(),
        str(found.model_dump(mode="json")),
        str(found.model_dump()),
        repr(copy.copy(found)),
        repr([found.key]),
        str(Parameters.model_json_schema()),
    ]
    assert not [text for text in texts if "hunter2" in text]
    assert found.model_dump(mode="json") == {"key": "signing", "keys": ["signing"]}


def test_its_value_is_in_no_traceback() -> None:
    secret = Secret("signing", VALUE)
    try:
        raise ValueError(secret)
    except ValueError as error:
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "Secret('signing')" in text
    assert "hunter2" not in text


def test_it_has_no_dictionary_that_would_show_it() -> None:
    with pytest.raises(TypeError):
        vars(Secret("signing", VALUE))


def test_an_unknown_key_id_is_told_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="no usable secret 'sining' under `secrets`; known: signing"):
        parameters(key="sining")


@pytest.mark.parametrize("value", [7, None, ["signing"], {"file": "x"}, b"signing"])
def test_what_is_no_key_id_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="expected the key id of a secret under `secrets`"):
        parameters(key=value)


def test_without_a_bundle_no_secret_is_known() -> None:
    with pytest.raises(ValidationError, match="known: none"):
        Parameters.model_validate({"key": "signing"})


def test_its_schema_says_that_a_key_id_is_written() -> None:
    assert Parameters.model_json_schema()["properties"]["key"]["type"] == "string"
    assert Parameters.model_json_schema()["properties"]["key"]["title"] == "key id of a secret"
