"""The whole process, as a subprocess: start, reload, drain, and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ext_proc.credentials.api_keys import new_key
from ext_proc.server.address import parse_address
from ext_proc.wire.pb.external_processor_pb2 import HttpBody, ProcessingRequest, ProcessingResponse
from ext_proc.wire.pb.processing_mode_pb2 import ProcessingMode
from ext_proc.wire.service import PROCESS
from tests.unit.server.fakes import headers_message, post_message
from tests.unit.server.test_http import get, send, status

ROOT = Path(__file__).resolve().parents[3]
START = 20.0  # seconds: imports on a busy machine
BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: tested, revision: "REVISION"}
routes:
  - {name: all, match: {path: /}, protocol: mcp, policies: []}
"""


class Running:
    """A process, its log lines, and where it listens."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.listen = self.admin = ""

    async def logged(self, event: str) -> dict[str, Any]:
        """The next line of the log with this event."""
        assert self.process.stderr is not None
        async with asyncio.timeout(START):
            while line := await self.process.stderr.readline():
                facts: dict[str, Any] = json.loads(line) if line.startswith(b"{") else {"event": line.decode()}
                if facts["event"] == event:
                    return facts
        raise AssertionError(f"it ended without {event!r}")

    async def decision(self) -> dict[str, Any]:
        """The next line of the decision log."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START):
            found: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return found

    async def asked(self, path: str) -> bytes:
        from ext_proc.server.address import parse_tcp_address

        return await send(parse_tcp_address(self.admin), get(path))

    def signalled(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        async with asyncio.timeout(START):
            return await self.process.wait()


async def spawn(bundle: Path, *options: str) -> asyncio.subprocess.Process:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "ext_proc.cli", "serve", "--bundle", str(bundle), *options]
    return await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


@contextlib.asynccontextmanager
async def running(bundle: Path, *options: str) -> AsyncIterator[Running]:
    process = await spawn(bundle, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *options)
    try:
        found = Running(process)
        facts = await found.logged("serving")
        found.listen, found.admin = facts["listen"], facts["admin"]
        yield found
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def write(bundle: Path, text: str) -> None:
    bundle.write_text(text)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "bundle.yaml"
    write(path, BUNDLE.replace("REVISION", "1"))
    return path


@pytest.fixture
def default_bundle() -> Path:
    return ROOT / "policies" / "bundles" / "default.yaml"


@contextlib.asynccontextmanager
async def exchange(process: Running) -> AsyncIterator[Any]:
    """An exchange that had its first reply."""
    channel: Any  # the stubs ask for arguments that are optional
    async with grpc.aio.insecure_channel(process.listen) as channel:
        call = channel.stream_stream(PROCESS)()
        await call.write(headers_message())
        assert await call.read()
        yield call


async def finish(call: Any) -> grpc.StatusCode:
    await call.done_writing()
    async with asyncio.timeout(START):
        code: grpc.StatusCode = await call.code()
    return code


async def test_an_exchange_is_decided_logged_and_explained(bundle: Path) -> None:
    async with running(bundle, "--region", "eu") as process:
        async with exchange(process) as call:
            assert await finish(call) is grpc.StatusCode.OK
        decision = await process.decision()
        assert (decision["event"], decision["region"], decision["revision"]) == ("decision", "eu", "1")
        assert decision["cause"] == "half_closed"
        found = await process.asked(f"/decisions?id={decision['id']}")
        assert json.loads(found.partition(b"\r\n\r\n")[2])["decisions"][0]["id"] == decision["id"]
        metrics = await process.asked("/metrics")
        labels = f'outcome="{decision["outcome"]}",protocol="mcp",region="eu",revision="1",route="all"'
        assert labels.encode() + b"} 1.0" in metrics
        assert b'gatehouse_exchanges_active{region="eu"} 0.0' in metrics
        explaining = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "ext_proc.cli", "explain", decision["id"], "--admin", process.admin],
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        shown, _ = await explaining.communicate()
        assert explaining.returncode == 0
        assert decision["id"] in shown.decode()


async def test_a_denied_tool_call_is_found_by_the_id_that_its_caller_got(default_bundle: Path) -> None:
    body = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"delete_all","arguments":{"a":"hush"}}}'
    async with running(default_bundle) as process:
        channel: Any
        async with grpc.aio.insecure_channel(process.listen) as channel:
            call = channel.stream_stream(PROCESS)()
            await call.write(post_message("/mcp", len(body)))
            headers = ProcessingResponse.FromString(await call.read())
            assert headers.mode_override.request_body_mode == ProcessingMode.BUFFERED
            await call.write(
                ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=True)).SerializeToString()
            )
            denial = ProcessingResponse.FromString(await call.read()).immediate_response
            assert await finish(call) is grpc.StatusCode.OK
        decision = await process.decision()
        assert decision["id"] in denial.body.decode()
        assert (decision["level"], decision["outcome"], decision["target"]) == ("warning", "refused", "delete_all")
        found = await process.asked("/decisions?outcome=refused&policy=who-may-call")
        assert json.loads(found.partition(b"\r\n\r\n")[2])["decisions"][0]["id"] == decision["id"]
        metrics = await process.asked("/metrics")
        assert b'gatehouse_verdicts_total{enforced="true",policy="who-may-call",' in metrics
        assert b"hush" not in str(decision).encode() + found + metrics


async def test_sighup_swaps_the_bundle_and_an_exchange_ends_under_the_one_it_began_with(bundle: Path) -> None:
    async with running(bundle) as process:
        async with exchange(process) as early:
            write(bundle, BUNDLE.replace("REVISION", "2"))
            process.signalled(signal.SIGHUP)
            assert (await process.logged("bundle reloaded"))["revision"] == "2"
            async with exchange(process) as late:
                await finish(late)
            await finish(early)
        assert [(await process.decision())["revision"] for _ in range(2)] == ["2", "1"]


async def test_sighup_with_a_bad_bundle_keeps_the_good_one(bundle: Path) -> None:
    async with running(bundle) as process:
        write(bundle, "kind: Nonsense")
        process.signalled(signal.SIGHUP)
        facts = await process.logged("bundle not reloaded; the one in force stays")
        assert facts["revision"] == "1"
        assert len(facts["problems"]) >= 1
        assert b'gatehouse_bundle_reloads_total{region="",result="failed"} 1.0' in await process.asked("/metrics")
        async with exchange(process) as call:
            assert await finish(call) is grpc.StatusCode.OK


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_what_runs_and_ends_with_0(bundle: Path, number: int) -> None:
    async with running(bundle, "--drain-seconds", "10") as process, exchange(process) as call:
        process.signalled(number)
        assert (await process.logged("draining"))["active"] == 1
        assert status(await process.asked("/readyz")) == 503
        assert status(await process.asked("/healthz")) == 200
        assert await finish(call) is grpc.StatusCode.OK
        assert (await process.logged("drained"))["finished"] is True
        assert await process.ended() == 0
        assert (await process.decision())["cause"] == "half_closed"


async def test_a_drain_of_a_process_to_which_nobody_comes_ends_at_once(bundle: Path) -> None:
    async with running(bundle, "--drain-seconds", "6000") as process:
        process.signalled(signal.SIGTERM)
        assert await process.ended() == 0


async def test_who_looks_at_readiness_has_a_moment_to_see_that_the_process_leaves(bundle: Path) -> None:
    async with running(bundle, "--drain-seconds", "6000") as process:
        assert status(await process.asked("/readyz")) == 200
        process.signalled(signal.SIGTERM)
        await process.logged("draining")
        assert status(await process.asked("/readyz")) == 503
        process.signalled(signal.SIGTERM)
        assert await process.ended() == 0


async def test_a_drain_ends_after_its_time(bundle: Path) -> None:
    async with running(bundle, "--drain-seconds", "0.2") as process, exchange(process):
        process.signalled(signal.SIGTERM)
        assert (await process.logged("drained"))["finished"] is False
        assert await process.ended() == 0
        assert (await process.decision())["cause"] == "cancelled"


async def test_a_second_signal_ends_the_drain_at_once(bundle: Path) -> None:
    async with running(bundle, "--drain-seconds", "600") as process, exchange(process):
        process.signalled(signal.SIGTERM)
        await process.logged("draining")
        process.signalled(signal.SIGTERM)
        assert await process.ended() == 0


async def test_a_collector_that_is_not_there_holds_up_nothing(bundle: Path) -> None:
    async with running(bundle, "--otlp-endpoint", "http://127.0.0.1:1", "--drain-seconds", "1") as process:
        async with exchange(process) as call:
            assert await finish(call) is grpc.StatusCode.OK
        await process.decision()
        process.signalled(signal.SIGTERM)
        assert await process.ended() == 0


async def refused(bundle: Path, *options: str) -> str:
    """What it says when it does not start."""
    process = await spawn(bundle, *options)
    async with asyncio.timeout(START):
        _, said = await process.communicate()
    assert process.returncode == 1
    return said.decode()


async def test_a_bundle_that_cannot_be_used_ends_the_start_with_every_problem(bundle: Path) -> None:
    write(bundle, BUNDLE.partition("routes:")[0] + "routes: 1\npolicies: 2\n")
    said = await refused(bundle)
    assert "routes" in said
    assert "policies" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--listen", "nonsense"), "expected HOST:PORT"),
        (("--listen", "192.0.2.1:1", "--admin", "127.0.0.1:0"), "cannot listen on 192.0.2.1:1: "),
        (("--admin", "192.0.2.1:1"), "cannot listen on 192.0.2.1:1: "),
        (("--log-level", "loud"), "unknown log level 'loud'"),
    ],
)
async def test_a_setting_that_cannot_be_used_ends_the_start_with_one_sentence(
    bundle: Path, options: tuple[str, ...], sentence: str
) -> None:
    said = await refused(bundle, *options)
    assert sentence in said
    assert len(said.splitlines()) == 1


PAGES = (
    BUNDLE.replace("policies: []", "policies: [ask]")
    + """
pages: {url: "https://gate.example.com"}
identity: [{api_keys: {keys: [{sha256: SHA256, subject: ann, kind: human}]}}]
store: {embedded: {path: state.db}}
policies: [{name: ask, type: "tests.asking:Asking"}]
"""
)


async def test_pages_are_served_where_the_command_line_says(bundle: Path, tmp_path: Path) -> None:
    key, sha256 = new_key()
    write(bundle, PAGES.replace("SHA256", sha256).replace("REVISION", "1"))
    where = f"unix:{tmp_path / 'pages.sock'}"
    async with running(bundle, "--pages", where) as process:
        visit = get("/ask/", host="gate.example.com", more=f"x-api-key: {key}\r\n")
        answer = await send(parse_address(where), visit)
        assert (status(answer), b"Say yes, ann?" in answer) == (200, True)
        told = await process.decision()
        assert (told["event"], told["policy"], told["subject"], told["status"]) == ("visit", "ask", "ann", 200)
        assert b'gatehouse_page_visits_total{policy="ask"' in await process.asked("/metrics")
        process.signalled(signal.SIGTERM)
        assert await process.ended() == 0
    assert not (tmp_path / "pages.sock").exists()


async def test_that_pages_and_their_listener_do_not_fit_is_told_at_the_start_and_at_a_reload(
    bundle: Path, tmp_path: Path
) -> None:
    process = await spawn(bundle, "--listen", "127.0.0.1:0", "--admin", "", "--pages", f"unix:{tmp_path / 'p'}")
    found = Running(process)
    try:
        facts = await found.logged("pages and their listener do not fit")
        assert facts["message"] == "there is a listener for pages, and no policy in force has any"
    finally:
        process.kill()
        await process.communicate()
    async with running(bundle) as without:
        write(bundle, PAGES.replace("SHA256", new_key()[1]).replace("REVISION", "2"))
        without.signalled(signal.SIGHUP)
        facts = await without.logged("pages and their listener do not fit")
        assert facts["message"] == "nothing serves the pages of ask: start with --pages"


async def test_an_address_for_pages_that_cannot_be_had_ends_the_start(bundle: Path) -> None:
    process = await spawn(bundle, "--listen", "127.0.0.1:0", "--admin", "", "--pages", "nowhere")
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"'nowhere' is no address" in said
