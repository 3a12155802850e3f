"""CEL conditions: what is found when they are compiled, and what when they are asked."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from ext_proc.expressions import FUNCTIONS, MAX_LENGTH, VARIABLES, Condition, Expression, ExpressionError, Formula

CALL: dict[str, Any] = {
    "identity": {"kind": "verified", "subject": "ada", "groups": ["admin", "dev"], "tenant": "acme"},
    "request": {"method": "POST", "path": "/mcp", "host": "a.example", "headers": {"x-team": "search"}},
    "route": "tools",
    "server": "files",
    "message": {"kind": "tool_call", "method": "tools/call", "target": "delete_file"},
    "args": {"path": "/tmp/x", "count": 3, "tags": ["a", "b"]},
}


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("true", True),
        ("'admin' in identity.groups", True),
        ("'root' in identity.groups", False),
        ("identity.tenant == 'acme' && route == 'tools'", True),
        ("message.target.startsWith('delete_') || args.count > 5", True),
        ("args.path.matches('^/tmp/')", True),
        ("args.tags.all(t, t.size() == 1)", True),
        ("args.tags.exists(t, t == 'c')", False),
        ("args.tags.filter(t, t != 'a').size() == 1", True),
        ("args.tags.map(t, t + '!') == ['a!', 'b!']", True),
        ("args.tags.exists_one(t, t == 'a')", True),
        ("has(args.missing)", False),
        ("request.headers['x-team'] == 'search'", True),
        ("int('7') == 7 && string(args.count) == '3'", True),
        ("args.count in [1, 2, 3] ? true : false", True),
    ],
)
def test_a_condition_holds_or_not(source: str, holds: bool) -> None:
    assert Expression(source).holds(CALL) is holds


@pytest.mark.parametrize("source", ["", "1 +", "identity.", "a b", "'open", "identity.tenant = 'x'", "((", "\0"])
def test_a_syntax_error_is_found_when_it_is_compiled(source: str) -> None:
    with pytest.raises(ExpressionError, match="expected a CEL expression: "):
        Expression(source)


def test_a_syntax_error_is_told_in_one_line() -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression("identity.tenant ==\n\n")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("user.name == 'x'", "user"),
        ("identity.groups.exists(g, h == 'x')", "h"),
        ("Identity.tenant == 'x'", "Identity"),
    ],
)
def test_an_unknown_name_is_found_when_it_is_compiled(source: str, name: str) -> None:
    with pytest.raises(ExpressionError, match=f"unknown name '{name}'; known are args, identity, message"):
        Expression(source)


@pytest.mark.parametrize(
    "source", ["lower(identity.tenant) == 'x'", "identity.tenant.lower() == 'x'", "getenv('X') == ''"]
)
def test_an_unknown_function_is_found_when_it_is_compiled(source: str) -> None:
    with pytest.raises(ExpressionError, match=r"unknown function '(lower|getenv)'; known are "):
        Expression(source)


def test_a_macros_own_variable_is_no_unknown_name() -> None:
    assert Expression("args.tags.all(each, args.tags.exists(other, each == other))").holds(CALL)


def test_it_knows_which_variables_it_uses() -> None:
    assert Expression("'a' in args.tags && identity.tenant == 'x'").variables == {"args", "identity"}
    assert Expression("args.tags.all(t, t == 'x')").variables == {"args"}
    assert Expression("true").variables == frozenset()
    assert set(CALL) == VARIABLES


def test_the_known_functions_are_really_there() -> None:
    assert {"matches", "startsWith", "size", "has"} <= FUNCTIONS
    assert not Expression("args.path.matches('^/etc') || args.path.endsWith('.py')").holds(CALL)


@pytest.mark.parametrize(
    "source",
    [
        "args.missing == 1",
        "identity.groups.tenant == 'x'",
        "args.count == 'x' + 1",
        "args.tags[9] == 'x'",
        "1 / 0 == 1",
    ],
)
def test_what_cannot_be_evaluated_raises(source: str) -> None:
    with pytest.raises(ExpressionError, match="cannot be evaluated"):
        Expression(source).holds(CALL)


@pytest.mark.parametrize(
    ("source", "kind"), [("1", "int"), ("args.path", "str"), ("identity.groups", "list"), ("null", "NoneType")]
)
def test_what_is_no_boolean_raises(source: str, kind: str) -> None:
    with pytest.raises(ExpressionError, match=f"yields {kind}, not a boolean"):
        Expression(source).holds(CALL)


def test_no_value_of_the_message_is_in_an_error() -> None:
    secret = "hunter2-hunter2"
    for source in ("args.path[args.path] == 'x'", "int(args.path) == 1", "args[args.path] == 1", "args.path + 1 == 2"):
        with pytest.raises(ExpressionError) as caught:
            Expression(source).holds({**CALL, "args": {"path": secret}})
        assert secret not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_an_expression_of_any_length_is_not_compiled() -> None:
    longest = "true" + " " * (MAX_LENGTH - 4)
    assert Expression(longest).holds(CALL)
    with pytest.raises(ExpressionError, match=f"at most {MAX_LENGTH} characters"):
        Expression(longest + " ")


def test_its_repr_is_its_source() -> None:
    assert repr(Expression("true")) == "Expression('true')"


class Rule(BaseModel, extra="forbid"):
    allow: Condition
    when: Expression | None = None


def test_a_condition_is_true_false_or_an_expression() -> None:
    assert Rule.model_validate({"allow": True}).allow is True
    assert Rule.model_validate({"allow": False}).allow is False
    compiled = Rule.model_validate({"allow": "route == 'tools'", "when": "true"})
    assert isinstance(compiled.allow, Expression)
    assert compiled.allow.holds(CALL)
    assert Rule.model_validate({"allow": compiled.allow}).allow is compiled.allow
    assert compiled.model_dump(mode="json") == {"allow": "route == 'tools'", "when": "true"}


@pytest.mark.parametrize("value", [1, 0, None, [], 1.0, "yes +", "yes"])
def test_what_is_no_condition_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        Rule.model_validate({"allow": value})


def test_its_schema_says_what_is_written() -> None:
    schema = Rule.model_json_schema()["properties"]["allow"]
    assert schema["anyOf"] == [{"type": "boolean"}, {"title": "CEL expression", "type": "string"}]


def test_the_evaluator_comes_without_its_command_line_which_stays_there_for_others() -> None:
    script = """
import sys
import ext_proc.expressions
assert not {"cel.cli", "prompt_toolkit"} & sys.modules.keys(), "a terminal's toolkit is loaded"
import cel.cli
assert cel.cli.__file__
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


COUNTS = ("input_tokens", "output_tokens")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input_tokens * 3 + output_tokens", 19),
        ("input_tokens > 4 ? 2 : 1", 2),
        ("output_tokens / 3", 1),
        ("7", 7),
    ],
)
def test_a_formula_yields_a_whole_number(source: str, expected: int) -> None:
    assert Formula(source, COUNTS).value({"input_tokens": 5, "output_tokens": 4}) == expected


@pytest.mark.parametrize("source", ["tokens", "identity.sub", "input_tokens +", "input_tokens.frob()", "1 + " * 2000])
def test_a_formula_that_means_nothing_is_found_when_it_is_compiled(source: str) -> None:
    with pytest.raises(ExpressionError):
        Formula(source, COUNTS)


@pytest.mark.parametrize(
    "source",
    [
        "input_tokens / (output_tokens - 4)",
        "input_tokens > 1",
        "input_tokens * 1.5",
        "9223372036854775807 + input_tokens",
    ],
)
def test_a_formula_that_fails_or_yields_something_else_raises(source: str) -> None:
    with pytest.raises(ExpressionError):
        Formula(source, COUNTS).value({"input_tokens": 5, "output_tokens": 4})
