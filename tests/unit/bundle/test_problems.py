"""Problems in words: one mistake is one problem, unions included, and no secret is shown."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from ext_proc.bundle.problems import MAX_MESSAGE, MAX_VALUE, Describer, path_text
from ext_proc.secret import Secret
from tests.unit.bundle.building import examined, good
from tests.unit.bundle.plugins import UnionParameters


def problems_of(values: dict[str, Any], model: type[BaseModel] = UnionParameters) -> list[tuple[str, str, str]]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    problems = Describer().translate(caught.value, values, model, ("p",))
    return [(problem.path, problem.message, problem.value) for problem in problems]


@pytest.mark.parametrize(
    ("value", "message", "found"),
    [
        (5, "expected true or false, or a CEL expression as text", "5"),
        (None, "expected true or false, or a CEL expression as text", "nothing"),
        ([], "expected true or false, or a CEL expression as text", "a list of 0"),
        ("x == 1", "unknown name 'x'; known are args, identity, message, request, route, server", "'x == 1'"),
        ("nope()", None, "'nope()'"),
    ],
)
def test_a_condition_that_is_wrong_is_one_problem(value: Any, message: str | None, found: str) -> None:
    ((path, told, shown),) = problems_of({"allow": value})
    assert (path, shown) == ("p.allow", found)
    if message is None:
        assert told.startswith("unknown function 'nope'")
    else:
        assert told == message


def test_of_a_union_of_models_the_nearest_alternative_is_told() -> None:
    assert problems_of({"action": {"pattern": "x"}}) == [("p.action.by", "expected this key; it is required", "")]
    assert problems_of({"action": {"words": []}}) == [("p.action.words", "expected at least 1 item", "a list of 0")]


def test_of_a_union_of_models_a_value_of_another_kind_is_one_problem() -> None:
    assert problems_of({"action": 7}) == [("p.action", "expected a mapping", "7")]


def test_of_a_union_of_plain_types_the_alternatives_are_one_sentence() -> None:
    assert problems_of({"level": []}) == [("p.level", "expected a whole number, or a number", "a list of 0")]


def test_a_wrong_key_of_a_mapping_is_told_at_the_key() -> None:
    assert problems_of({"names": {"a": "x"}}) == [("p.names.a", "expected a whole number", "'x'")]


class Bounded(BaseModel, extra="forbid"):
    low: int = Field(default=1, gt=0)
    high: float = Field(default=1, lt=2)
    few: list[int] = Field(default=[], max_length=1)
    short: str = Field(default="", max_length=2, pattern="^a")
    flag: bool = False
    other: complex = 0j


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"low": 0}, ("p.low", "expected more than 0", "0")),
        ({"high": 2}, ("p.high", "expected less than 2.0", "2")),
        ({"high": "x"}, ("p.high", "expected a number", "'x'")),
        ({"few": [1, 2]}, ("p.few", "expected at most 1 item", "a list of 2")),
        ({"short": "aaa"}, ("p.short", "expected at most 2 characters", "'aaa'")),
        ({"short": "b"}, ("p.short", "expected String should match pattern '^a'", "'b'")),
        ({"short": []}, ("p.short", "expected text", "a list of 0")),
        ({"flag": "maybe"}, ("p.flag", "expected true or false", "'maybe'")),
    ],
)
def test_pydantics_errors_become_what_was_expected(values: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert problems_of(values, Bounded) == [expected]


def test_a_model_without_a_schema_is_told_without_its_keys() -> None:
    class Odd(BaseModel, extra="forbid"):
        model_config = {"arbitrary_types_allowed": True}
        thing: Describer | None = None

    assert problems_of({"x": 1}, Odd) == [("p.x", "unknown key", "")]


def test_a_place_is_keys_and_indexes() -> None:
    assert path_text(("a", 0, "b-c", 1, 2)) == "a[0].b-c[1][2]"
    assert path_text(("a", "b.c")) == "a['b.c']"
    assert path_text(()) == ""
    assert len(path_text(("x y" * 1000,))) <= MAX_VALUE + 2


def test_a_long_value_and_a_long_message_are_shortened() -> None:
    problem = Describer().problem(("a",), "m" * 1000, "v" * 1000)
    assert len(problem.value) == MAX_VALUE
    assert len(problem.message) == MAX_MESSAGE


@pytest.mark.parametrize(
    "key", ["password", "apiKey", "api_key", "client-secret", "access_token", "authorization", "pin"]
)
def test_what_lies_under_a_secrets_key_is_not_shown(key: str) -> None:
    for place in ((key,), (key, 0, "inner"), ("outer", key)):
        problem = Describer().problem(place, "expected another than 'hunter2'", "hunter2")
        assert "hunter2" not in str(problem)


@pytest.mark.parametrize("key", ["tools", "key", "spin", "match"])
def test_what_lies_under_another_key_is_shown(key: str) -> None:
    assert Describer().problem((key,), "expected more", 7).value == "7"


def test_a_secrets_text_is_taken_out_of_path_message_and_value_before_they_are_shortened() -> None:
    secret = "s3cr3t-" + "x" * 40
    describer = Describer([Secret("k", f"{secret}\nsecond line".encode())])
    problem = describer.problem(("a", secret), f"it was {secret}", "v" * 40 + secret)
    assert "s3cr3t" not in str(problem)
    assert "s3cr3t" not in str(describer.problem(("a",), "x", [secret]))
    assert "second line" not in str(describer.problem(("a",), "not second line"))


HUNTER = "hunter2-hunter2"


@pytest.mark.parametrize(
    "policy",
    [
        {"parameters": {"signing": "key", "strict": True}},
        {"parameters": {"signing": "key", "note": "raise"}},
        {"parameters": {"signing": HUNTER}},
        {"parameters": {"signing": [HUNTER]}},
        {"parameters": {"signing": "key", "note": [HUNTER]}},
        {"parameters": {"signing": "key", HUNTER: 1}},
        {"type": HUNTER},
        {"type": f"{HUNTER.replace('-', '_')}:X"},
        {"name": HUNTER + "!"},
        {"when": f"'{HUNTER}' +"},
        {"parameters": {"signing": "key"}, "mode": HUNTER},
    ],
)
def test_a_resolved_secret_is_in_no_problem_whatever_a_plug_in_does(policy: dict[str, Any]) -> None:
    bundle = good()
    bundle["secrets"] = {"key": {"env": "KEY"}}
    bundle["policies"] = [{"name": "only", "type": "signed", **policy}]
    result = examined(bundle, environ={"KEY": HUNTER})
    assert result.problems
    told = str(result.problems) + repr(result.problems) + "".join(str(problem) for problem in result.problems)
    assert HUNTER not in told


def test_a_secret_written_in_the_place_of_its_key_id_is_not_shown() -> None:
    bundle = good()
    bundle["policies"] = [{"name": "only", "type": "signed", "parameters": {"signing": "never-resolved"}}]
    (problem,) = examined(bundle).problems
    assert problem.path == "policies[0].parameters.signing"
    assert problem.message == "no usable secret … under `secrets`; known: none"
    assert problem.value == ""


@pytest.mark.parametrize(
    "source", ["hunter2", {"file": ["hunter2"]}, {"env": "hunter2"}, {"file": "hunter2"}, {"x": "hunter2"}]
)
def test_what_is_written_under_secrets_is_not_shown(source: Any) -> None:
    bundle = {**good(), "secrets": {"key": source}}
    result = examined(bundle)
    assert result.problems
    assert "hunter2" not in "".join(str(problem) for problem in result.problems)
