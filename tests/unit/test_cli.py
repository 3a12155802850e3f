"""The command line: what it prints, how it exits, and what it hands on."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

import ext_proc
from ext_proc import cli
from ext_proc.bundle import reference
from ext_proc.bundle.identity_models import ApiKeyPart
from ext_proc.bundle.protocols import PROTOCOLS
from tests.unit.bundle.building import PLUGINS, good

runner = CliRunner()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "bundle.yaml"
    written = good()
    written["policies"][0]["type"] = f"{PLUGINS}:ToolAllowlist"
    path.write_text(yaml.safe_dump(written, sort_keys=False))
    return path


def broken(path: Path) -> Path:
    path.write_text(path.read_text().replace("gatehouse/v1", "v9").replace("protocol: mcp", "protocol: mpc"))
    return path


def test_a_good_bundle_is_ok(bundle: Path) -> None:
    result = runner.invoke(cli.app, ["check", str(bundle)])
    assert result.exit_code == 0
    assert result.output.startswith(f"{bundle}: ok: bundle test, revision ")
    assert result.output.endswith(", 1 route(s)\n")


def test_every_problem_is_printed_with_line_path_value_and_what_was_expected(bundle: Path) -> None:
    result = runner.invoke(cli.app, ["check", str(broken(bundle))])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{bundle}:1: error: apiVersion: expected 'gatehouse/v1' (found 'v9')",
        f"{bundle}:9: error: routes[0].protocol: unknown protocol; known are {', '.join(sorted(PROTOCOLS))}; "
        "did you mean 'mcp'? (found 'mpc')",
        f"{bundle}: 2 error(s)",
    ]


def test_a_warning_is_printed_and_is_no_error(bundle: Path) -> None:
    bundle.write_text(bundle.read_text() + "limits: {decision: 1s}\n")
    result = runner.invoke(cli.app, ["check", str(bundle)])
    assert result.exit_code == 0
    warning, last = result.output.splitlines()
    assert warning.startswith(f"{bundle}:18: warning: limits.decision: Envoy gives up")
    assert ": ok: " in last


def test_the_same_is_printed_as_json(bundle: Path) -> None:
    result = runner.invoke(cli.app, ["check", str(bundle), "--format", "json"])
    assert result.exit_code == 0
    found = json.loads(result.output)
    assert (found["ok"], found["name"], found["problems"], found["warnings"]) == (True, "test", [], [])
    assert len(found["revision"]) == 12
    result = runner.invoke(cli.app, ["check", str(broken(bundle))], env={"GATEHOUSE_FORMAT": "json"})
    assert result.exit_code == 1
    found = json.loads(result.output)
    assert (found["ok"], found["name"], found["revision"]) == (False, None, None)
    assert found["problems"][0] == {
        "path": "apiVersion",
        "message": "expected 'gatehouse/v1'",
        "value": "'v9'",
        "line": 1,
    }


def test_a_bundle_that_cannot_be_read_is_an_error_with_a_sentence(tmp_path: Path) -> None:
    result = runner.invoke(cli.app, ["check", str(tmp_path / "none.yaml")])
    assert result.exit_code == 1
    assert "cannot read" in result.output
    (tmp_path / "bad.yaml").write_text("a: [\n")
    result = runner.invoke(cli.app, ["check", str(tmp_path / "bad.yaml"), "--format", "json"])
    assert json.loads(result.output)["problems"][0]["path"].startswith("line 2")


def test_the_bundle_is_read_from_the_environment_too(bundle: Path) -> None:
    assert runner.invoke(cli.app, ["check"], env={"GATEHOUSE_BUNDLE": str(bundle)}).exit_code == 0
    assert runner.invoke(cli.app, ["check"]).exit_code == 2


def test_the_policy_types_are_listed() -> None:
    result = runner.invoke(cli.app, ["policies"])
    assert result.exit_code == 0
    assert "tool-access\tgatehouse_policies.tool_access:ToolAccess" in result.output.splitlines()


def test_the_reference_is_printed_or_written_between_the_markers(tmp_path: Path) -> None:
    printed = runner.invoke(cli.app, ["policies", "--markdown"])
    assert printed.exit_code == 0
    assert "### tool-access" in printed.output
    path = tmp_path / "p.md"
    path.write_text(f"mine\n{reference.START}\n{reference.END}\n")
    assert runner.invoke(cli.app, ["policies", "--into", str(path)]).exit_code == 0
    assert path.read_text() == f"mine\n{reference.START}\n\n{printed.output}\n{reference.END}\n"


@pytest.mark.parametrize("content", [None, "no markers\n"])
def test_a_document_that_cannot_take_the_reference_is_an_error_with_a_sentence(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "p.md"
    if content is not None:
        path.write_text(content)
    result = runner.invoke(cli.app, ["policies", "--into", str(path)])
    assert result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert str(path) in result.output


def test_a_type_that_cannot_be_imported_is_an_error_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from ext_proc.bundle import registry

    entries = [
        EntryPoint("broken", "no_such_module:X", registry.GROUP),
        EntryPoint("fine", f"{PLUGINS}:ToolAllowlist", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == registry.GROUP else [])
    result = runner.invoke(cli.app, ["policies"])
    assert result.exit_code == 1
    assert f"fine\t{PLUGINS}:ToolAllowlist" in result.output
    assert "broken: cannot import no_such_module:X" in result.output


def test_the_version_is_printed() -> None:
    assert runner.invoke(cli.app, ["version"]).output == f"{ext_proc.__version__}\n"


class Recorder:
    """Stands in for what a command runs: keeps its arguments, returns an exit code."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *arguments: Any) -> int:
        self.calls.append(arguments)
        return self.code


def stand_in(monkeypatch: pytest.MonkeyPatch, package: str, name: str, **members: Any) -> None:
    module = ModuleType(f"{package}.{name}")
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    __import__(package)
    monkeypatch.setattr(sys.modules[package], name, module, raising=False)


def test_serve_hands_on_its_settings(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    from ext_proc.server.settings import Settings

    serve = Recorder(3)
    stand_in(monkeypatch, "ext_proc.server", "run", serve=serve)
    assert runner.invoke(cli.app, ["serve", "--bundle", str(bundle)]).exit_code == 3
    everything = {
        "GATEHOUSE_BUNDLE": str(bundle),
        "GATEHOUSE_LISTEN": "unix:/tmp/x.sock",
        "GATEHOUSE_ADMIN": "127.0.0.1:1",
        "GATEHOUSE_PAGES": "unix:/tmp/pages.sock",
        "GATEHOUSE_REGION": "eu",
        "GATEHOUSE_OTLP_ENDPOINT": "http://127.0.0.1:4317",
        "GATEHOUSE_DRAIN_SECONDS": "2.5",
        "GATEHOUSE_LOG_LEVEL": "debug",
    }
    assert runner.invoke(cli.app, ["serve"], env=everything).exit_code == 3
    assert serve.calls == [
        (Settings(bundle=bundle, listen="127.0.0.1:50051", admin="127.0.0.1:9902"),),
        (
            Settings(
                bundle=bundle,
                listen="unix:/tmp/x.sock",
                admin="127.0.0.1:1",
                pages="unix:/tmp/pages.sock",
                region="eu",
                otlp_endpoint="http://127.0.0.1:4317",
                drain_seconds=2.5,
                log_level="debug",
            ),
        ),
    ]


def test_serve_without_a_bundle_is_wrong_usage() -> None:
    assert runner.invoke(cli.app, ["serve"]).exit_code == 2


def test_demo_hands_on_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Recorder(4)
    stand_in(monkeypatch, "ext_proc.demo", "tour", run=run)
    assert runner.invoke(cli.app, ["demo"]).exit_code == 4
    assert runner.invoke(cli.app, ["demo", "--bundle", "b.yaml", "--port", "0", "--once"]).exit_code == 4
    assert runner.invoke(cli.app, ["demo"], env={"GATEHOUSE_PORT": "7", "GATEHOUSE_ONCE": "1"}).exit_code == 4
    assert run.calls == [(None, 10000, False), (Path("b.yaml"), 0, True), (None, 7, True)]


def test_explain_hands_on_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    explain = Recorder(0)
    stand_in(monkeypatch, "ext_proc.server", "explain", explain=explain)
    assert runner.invoke(cli.app, ["explain", "abc"]).exit_code == 0
    assert runner.invoke(cli.app, ["explain", "abc", "--admin", "127.0.0.1:1"]).exit_code == 0
    assert explain.calls == [("abc", "127.0.0.1:9902"), ("abc", "127.0.0.1:1")]


def test_a_new_key_is_printed_with_the_entry_that_knows_it() -> None:
    result = runner.invoke(cli.app, ["keys", "new", "--subject", "ci: it's"])
    assert result.exit_code == 0
    printed = yaml.safe_load(result.output)
    assert printed["key"].startswith("gh_")
    assert printed["entry"] == {"sha256": hashlib.sha256(printed["key"].encode()).hexdigest(), "subject": "ci: it's"}
    assert ApiKeyPart.model_validate(printed["entry"]).kind == "unknown"
    assert runner.invoke(cli.app, ["keys", "new"]).output != result.output


def test_every_option_reads_an_environment_variable() -> None:
    commands: dict[str, Any] = vars(typer.main.get_command(cli.app))["commands"]
    options = [
        parameter
        for command in commands.values()
        for parameter in command.params
        if parameter.opts[0].startswith("--") and parameter.name != "help"
    ]
    assert len(options) > 10
    for option in options:
        assert option.envvar == f"GATEHOUSE_{option.opts[0].removeprefix('--').upper().replace('-', '_')}"


def test_checking_a_bundle_starts_no_grpc_and_no_server() -> None:
    script = (
        "import sys, ext_proc.cli, ext_proc.bundle.load; print('grpc' in sys.modules, 'ext_proc.server' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False False\n"
