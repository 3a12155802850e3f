"""`gatehouse tools`: over a real store in a file, approving exactly what was looked at."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from ext_proc.cli import app
from ext_proc.pins.canonical import canonical, digest_of
from ext_proc.pins.ledger import SPACE, Head, Ledger
from ext_proc.pins.lock import Lock, parse_lock, render_lock
from ext_proc.pins.records import QUARANTINED, Pin, Terms, Version, allows, listed
from ext_proc.server import tools
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.keyspace import Keyspace
from ext_proc.stores.settings import EmbeddedSettings

FORMS = [canonical({"name": "read", "title": f"version {number}"}) for number in range(4)]
DIGESTS = [digest_of(form) for form in FORMS]
TOLD = [canonical("Read first."), canonical("Send first.")]


class Desk:
    """A bundle, and the store that its service would use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle = folder / "bundle.yaml"
        self.write()

    def write(self, mode: str = "enforce", **parameters: Any) -> None:
        self.bundle.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "gatehouse/v1",
                    "kind": "Bundle",
                    "metadata": {"name": "desk"},
                    "store": {"hosts": "one", "embedded": {"path": "pins.db"}},
                    "routes": [{"name": "mcp", "match": {"path": "/mcp"}, "protocol": "mcp", "policies": ["pins"]}],
                    "policies": [{"name": "pins", "type": "tool-pinning", "mode": mode, "parameters": parameters}],
                }
            )
        )

    def run(self, *arguments: str, answer: str = "") -> Result:
        command, *rest = arguments
        return CliRunner().invoke(app, ["tools", command, "--bundle", str(self.bundle), *rest], input=answer)

    def with_ledger(self, doing: Callable[[Ledger], Any], space: str = "") -> Any:
        async def run() -> Any:
            store = await EmbeddedStore.open(EmbeddedSettings(self.folder / "pins.db", 1 << 22, 10.0))
            try:
                return await doing(Ledger(Keyspace(store, f"{space}shared.{SPACE}")))
            finally:
                await store.close()

        return asyncio.run(run())

    def lists(
        self,
        *numbers: int,
        tool: str = "read",
        forms: Sequence[bytes] = FORMS,
        space: str = "",
        locked: tuple[str, ...] | None = None,
    ) -> None:
        """What a server lists, one after the other, as the service would keep it; the first at first use."""

        async def keep(ledger: Ledger) -> None:
            for number in numbers:
                kept = await ledger.server("docs")
                head = kept.head or Head(opened=1.0)
                pin = head.instructions if tool == "" else kept.pin(tool)
                terms = Terms(locked=locked, opens=pin is None)
                after = listed(pin, digest_of(forms[number]), len(forms[number]), (), terms, 100.0)
                new = {digest_of(forms[number]): forms[number]}
                if tool == "":
                    head = Head(opened=1.0, instructions=after)
                assert await ledger.change(kept, head, {tool: after} if tool else {}, new)

        self.with_ledger(keep, space)

    def pin(self, tool: str = "read") -> Pin:
        async def find(ledger: Ledger) -> Pin | None:
            return (await ledger.server("docs")).pin(tool)

        found = self.with_ledger(find)
        assert isinstance(found, Pin)
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_what_is_pinned_and_what_waits_is_listed(desk: Desk) -> None:
    desk.lists(0, 1)
    desk.lists(0, tool="", forms=TOLD)
    shown = desk.run("list")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert re.search(rf"docs +read +quarantined +changed +{DIGESTS[1][:12]} +1970-01-01T00:01:40Z", shown.stdout)
    assert re.search(rf"docs +\(instructions\) +pinned +{digest_of(TOLD[0])[:12]} .* first-use", shown.stdout)
    assert json.loads(desk.run("list", "--format", "json", "--server", "docs").stdout)[1]["tool"] == "read"


def test_what_waits_is_shown_against_what_was_approved(desk: Desk) -> None:
    desk.lists(0, 1)
    desk.lists(0, tool="other", forms=[canonical({"name": "other"})])
    for arguments in (["docs"], ["docs", "read"]):
        shown = desk.run("diff", *arguments).stdout
        assert '-  "title": "version 0"\n+  "title": "version 1"' in shown
        assert "other" not in shown
    assert '"other"' in desk.run("diff", "docs", "other").stdout


def test_of_several_that_wait_each_can_be_looked_at(desk: Desk) -> None:
    desk.lists(0, 1, 2)
    shown = desk.run("diff", "docs", "read").stdout
    assert '+  "title": "version 2"' in shown
    assert f"also waits: sha256:{DIGESTS[1]}, first listed 1970-01-01T00:01:40Z\n" in shown
    shown = desk.run("diff", "docs", "read", "--digest", DIGESTS[1][:10]).stdout
    assert '-  "title": "version 0"\n+  "title": "version 1"' in shown
    assert f"also waits: sha256:{DIGESTS[2]}" in shown
    assert desk.run("diff", "docs", "read", "--digest", "0" * 10).exit_code == 1
    assert desk.run("diff", "docs", "--digest", DIGESTS[1]).exit_code == 2


def test_nothing_that_waits_is_no_failure(desk: Desk) -> None:
    desk.lists(0)
    for command in (["diff", "docs"], ["approve", "docs", "--all", "--yes"]):
        done = desk.run(*command)
        assert (done.exit_code, done.stdout) == (0, "nothing waits to be approved\n")


def test_the_given_digest_is_approved_and_no_other(desk: Desk) -> None:
    desk.lists(0, 1)
    done = desk.run("approve", "docs", "read", "--digest", f"sha256:{DIGESTS[1][:8]}", "--by", "ann")
    assert (done.exit_code, done.stdout) == (0, f"approved docs read sha256:{DIGESTS[1]}\n")
    pin = desk.pin()
    assert allows(pin, None, True)
    assert [(version.digest, version.by) for version in pin.approved] == [
        (DIGESTS[0], "first-use"),
        (DIGESTS[1], "ann"),
    ]
    assert pin.approved[-1].at > 1e9


@pytest.mark.parametrize(
    ("digest", "why"),
    [
        ("0" * 10, "0 of its definitions have a digest that begins with 0000000000"),
        ("abc", "at least its first 8"),
        ("nothex--", "at least its first 8"),
        ("", "at least its first 8"),
        (DIGESTS[1] + "0", "at least its first 8"),
    ],
)
def test_a_digest_that_is_none_of_them_approves_nothing(desk: Desk, digest: str, why: str) -> None:
    desk.lists(0, 1)
    done = desk.run("approve", "docs", "read", "--digest", digest)
    assert (done.exit_code, why in done.stderr) == (1, True)
    assert not allows(desk.pin(), None, True)


def test_digits_with_which_two_definitions_begin_approve_none(desk: Desk) -> None:
    alike = tuple(Version("c" * 63 + last, 0, 1.0) for last in "de")

    async def keep(ledger: Ledger) -> None:
        pin = Pin(QUARANTINED, 1.0, ("new",), (), alike)
        assert await ledger.change(await ledger.server("docs"), Head(opened=1.0), {"read": pin}, {})

    desk.with_ledger(keep)
    done = desk.run("approve", "docs", "read", "--digest", "c" * 12)
    assert (done.exit_code, done.stderr) == (
        1,
        "read: 2 of its definitions have a digest that begins with cccccccccccc\n",
    )
    assert desk.run("approve", "docs", "read", "--digest", "c" * 63 + "e").exit_code == 0


def test_without_a_digest_it_is_shown_and_asked_about(desk: Desk) -> None:
    desk.lists(0, 1)
    refused = desk.run("approve", "docs", "read", answer="n\n")
    assert (refused.exit_code, "read was not approved" in refused.stderr) == (1, True)
    assert '+  "title": "version 1"' in refused.stdout
    assert desk.run("approve", "docs", "read", answer="").exit_code == 1
    assert not allows(desk.pin(), None, True)
    assert desk.run("approve", "docs", "read", answer="y\n").exit_code == 0
    assert allows(desk.pin(), None, True)
    assert desk.pin().approved[-1].by != ""


def test_what_was_listed_while_somebody_read_is_not_approved(desk: Desk) -> None:
    desk.lists(0, 1)

    def reads(question: str) -> bool:
        # In a thread: the command's loop runs.
        thread = threading.Thread(target=lambda: desk.lists(2))
        thread.start()
        thread.join()
        return True

    code = tools.approve(
        desk.bundle, "docs", ["read"], digest=None, everything=False, yes=False, by="ann", only=False, ask=reads
    )
    assert code == 1
    assert [version.digest for version in desk.pin().approved] == [DIGESTS[0], DIGESTS[1]]
    assert [version.digest for version in desk.pin().offered] == [DIGESTS[2]]
    assert not allows(desk.pin(), None, True)


def test_what_was_listed_after_the_given_digest_is_told_and_still_holds_the_tool_back(desk: Desk) -> None:
    desk.lists(0, 1, 2)
    done = desk.run("approve", "docs", "read", "--digest", DIGESTS[1])
    assert (done.exit_code, done.stdout) == (1, f"approved docs read sha256:{DIGESTS[1]}\n")
    assert done.stderr == f"read is still held back: sha256:{DIGESTS[2]} was listed after that\n"
    assert not allows(desk.pin(), None, True)
    # Once more says that the server is back at it.
    assert desk.run("approve", "docs", "read", "--digest", DIGESTS[1]).exit_code == 0
    assert allows(desk.pin(), None, True)


def test_all_that_waits_is_approved_at_once_if_somebody_says_so(desk: Desk) -> None:
    desk.lists(0, 1)
    desk.lists(0, 1, tool="", forms=TOLD)
    done = desk.run("approve", "docs", "--all", "--yes")
    assert (done.exit_code, done.stdout.count("approved docs")) == (0, 2)
    assert "quarantined" not in desk.run("list").stdout


def test_only_the_new_definition_stays_approved_if_asked_for(desk: Desk) -> None:
    desk.lists(0, 1)
    assert desk.run("approve", "docs", "read", "--digest", DIGESTS[1], "--only").exit_code == 0
    assert [version.digest for version in desk.pin().approved] == [DIGESTS[1]]

    async def form(ledger: Ledger) -> bytes | None:
        return await ledger.form("docs", DIGESTS[0])

    assert desk.with_ledger(form) is None


def test_the_instructions_are_approved_by_their_own_name(desk: Desk) -> None:
    desk.lists(0, 1, tool="", forms=TOLD)
    shown = desk.run("approve", "docs", "(instructions)", answer="y\n")
    assert (shown.exit_code, '+"Send first."' in shown.stdout) == (0, True)


def test_the_name_belongs_to_the_server_from_then_on(desk: Desk) -> None:
    desk.lists(0, 1)
    desk.run("approve", "docs", "read", "--digest", DIGESTS[1])

    async def owners(ledger: Ledger) -> list[tuple[str, str]]:
        shards = await ledger.names(range(32))
        return [tuple(owner) for shard in shards.values() for found in shard.owners.values() for owner in found]  # type: ignore[misc]

    assert desk.with_ledger(owners) == [("read", "docs")]


def test_a_lock_file_that_the_bundle_names_says_the_same_afterwards(desk: Desk) -> None:
    file = desk.folder / "tools.lock"
    file.write_text(render_lock(Lock().approving("docs", "read", [DIGESTS[0]])))
    file.chmod(0o640)
    desk.write(lock_file="tools.lock")
    desk.lists(0, 1, locked=(DIGESTS[0],))
    done = desk.run("approve", "docs", "read", "--digest", DIGESTS[1])
    assert (done.exit_code, done.stdout.endswith("tools.lock: written\n")) == (0, True)
    assert parse_lock(file.read_bytes()).tool("docs", "read") == (DIGESTS[0], DIGESTS[1])
    assert file.stat().st_mode & 0o777 == 0o640
    # At once, and after the bundle is loaded again.
    assert allows(desk.pin(), (DIGESTS[0],), True)
    desk.run("approve", "docs", "read", "--digest", DIGESTS[1], "--only")
    assert parse_lock(file.read_bytes()).tool("docs", "read") == (DIGESTS[1],)


def test_what_is_approved_is_written_as_a_lock_file_or_printed(desk: Desk) -> None:
    desk.lists(0, 1)
    desk.lists(0, tool="", forms=TOLD)
    file = desk.folder / "tools.lock"
    assert desk.run("lock", "--write", str(file)).exit_code == 0
    assert file.read_text() == desk.run("lock").stdout
    lock = parse_lock(file.read_bytes())
    assert (lock.tool("docs", "read"), lock.instructions("docs")) == ((DIGESTS[0],), (digest_of(TOLD[0]),))
    missing = desk.run("lock", "--write", str(desk.folder / "no" / "where"))
    assert (missing.exit_code, "cannot write" in missing.stderr) == (1, True)


def test_what_stands_in_a_lock_file_stays_but_for_what_is_locked(desk: Desk) -> None:
    file = desk.folder / "tools.lock"
    others = Lock().approving("mail", "send", ["7" * 64]).approving("docs", "later", ["8" * 64])
    file.write_text(render_lock(others.approving("docs", "read", ["9" * 64])))
    desk.lists(0)
    assert desk.run("lock", "--server", "docs", "--write", str(file)).exit_code == 0
    assert parse_lock(file.read_bytes()) == others.approving("docs", "read", ["9" * 64, DIGESTS[0]])


def test_what_was_taken_out_of_the_lock_file_does_not_come_back(desk: Desk) -> None:
    file = desk.folder / "tools.lock"
    locks = [Lock().approving("docs", "read", DIGESTS[:2]), Lock().approving("docs", "read", [DIGESTS[1]])]
    desk.lists(0, 1, locked=locks[0].tool("docs", "read"))
    file.write_text(render_lock(locks[1]))
    desk.write(lock_file="tools.lock")
    assert desk.run("lock", "--write", str(file)).exit_code == 0
    assert parse_lock(file.read_bytes()) == locks[1]


def test_what_was_trusted_at_first_is_not_locked_where_only_the_lock_file_is_trusted(desk: Desk) -> None:
    desk.lists(0)
    file = desk.folder / "tools.lock"
    file.write_text(render_lock(Lock()))
    for trust, locked in (("lock", None), ("first-use", (DIGESTS[0],))):
        desk.write(lock_file="tools.lock", trust=trust)
        assert desk.run("lock", "--write", str(file)).exit_code == 0
        assert parse_lock(file.read_bytes()).tool("docs", "read") == locked


def test_a_file_that_is_no_lock_file_is_never_written_over(desk: Desk) -> None:
    desk.lists(0)
    before = desk.bundle.read_text()
    done = desk.run("lock", "--write", str(desk.bundle))
    assert (done.exit_code, "cannot be read as a lock file" in done.stderr) == (1, True)
    assert desk.bundle.read_text() == before


def test_an_approval_that_the_lock_file_cannot_say_is_told(desk: Desk) -> None:
    file = desk.folder / "tools.lock"
    file.write_text(render_lock(Lock()))
    desk.write(lock_file="tools.lock")
    desk.lists(0, 1)

    def breaks(question: str) -> bool:
        file.write_text("7")
        return True

    options: dict[str, Any] = {"digest": None, "everything": False, "yes": False, "by": "ann", "only": False}
    assert tools.approve(desk.bundle, "docs", ["read"], **options, ask=breaks) == 1
    assert file.read_text() == "7"
    assert allows(desk.pin(), None, True)


def test_a_forgotten_tool_is_new_when_it_is_listed_again(desk: Desk) -> None:
    desk.lists(0, 1)
    desk.lists(0, tool="other", forms=[canonical({"name": "other"})])
    assert desk.run("forget", "docs", "read", answer="n\n").exit_code == 1
    assert not allows(desk.pin(), None, True)
    done = desk.run("forget", "docs", "read", answer="y\n")
    assert (done.exit_code, done.stdout.endswith("forgot docs read\n")) == (0, True)
    assert [row["tool"] for row in json.loads(desk.run("list", "--format", "json").stdout)] == ["other"]
    assert desk.run("forget", "docs", "read", "--yes").stderr == "docs has never listed a tool 'read'\n"


def test_a_forgotten_server_gives_its_names_back(desk: Desk) -> None:
    desk.lists(0, 1)
    desk.lists(0, tool="", forms=TOLD)
    desk.run("approve", "docs", "read", "--digest", DIGESTS[1])
    done = desk.run("forget", "docs", "--yes")
    assert (done.exit_code, done.stdout) == (0, "forgot docs\n")
    assert desk.run("list").stdout == "no server has listed tools yet\n"

    async def owners(ledger: Ledger) -> int:
        return sum(len(shard.owners) for shard in (await ledger.names(range(32))).values())

    assert desk.with_ledger(owners) == 0
    again = desk.run("forget", "docs", "--yes")
    assert (again.exit_code, again.stderr) == (1, "nothing is kept of a server 'docs'; known: none\n")


def test_forgotten_instructions_leave_the_tools(desk: Desk) -> None:
    desk.lists(0)
    desk.lists(0, 1, tool="", forms=TOLD)
    assert desk.run("forget", "docs", "(instructions)", "--yes").stdout == "forgot docs (instructions)\n"
    assert [row["tool"] for row in json.loads(desk.run("list", "--format", "json").stdout)] == ["read"]


def test_a_shadow_policys_pins_are_looked_at_where_no_other_enforces(desk: Desk) -> None:
    desk.lists(0, 1, space="shadow.")
    desk.write(mode="shadow")
    assert "quarantined" in desk.run("list").stdout
    desk.write()
    assert desk.run("list").stdout == "no server has listed tools yet\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["list", "--server", "mail"], "nothing is kept of a server 'mail'; known: docs"),
        (["diff", "mail"], "nothing is kept of a server 'mail'; known: docs"),
        (["diff", "docs", "nothing\x1b"], "docs has never listed a tool 'nothing⟨ESC⟩'"),
        (["approve", "docs", "nothing"], "docs has never listed a tool 'nothing'"),
        (["approve", "docs", "(instructions)"], "docs has never said anything of itself"),
    ],
)
def test_what_is_not_there_is_told_in_a_sentence(desk: Desk, arguments: list[str], why: str) -> None:
    desk.lists(0)
    done = desk.run(*arguments)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"{why}\n")


@pytest.mark.parametrize(
    "arguments",
    [["docs"], ["docs", "read", "--all"], ["docs", "a", "b", "--digest", "0" * 8], ["docs", "read", "--yes"]],
)
def test_options_that_contradict_each_other_are_wrong_usage(desk: Desk, arguments: list[str]) -> None:
    assert desk.run("approve", *arguments).exit_code == 2


def test_a_store_that_is_not_there_is_not_made(desk: Desk) -> None:
    done = desk.run("list")
    assert (done.exit_code, f"there is no store at {desk.folder / 'pins.db'}" in done.stderr) == (1, True)
    assert not (desk.folder / "pins.db").exists()


def test_a_store_that_cannot_be_used_and_a_bundle_without_pins_are_told(desk: Desk) -> None:
    (desk.folder / "pins.db").write_text("no database, but a text that is long enough to be taken for one" * 20)
    assert "as a store" in desk.run("list").stderr
    desk.bundle.write_text(desk.bundle.read_text().replace("policies:\n  - pins", "policies: []"))
    assert "no policy of type tool-pinning is on a route" in desk.run("list").stderr
    desk.bundle.write_text("kind: 7")
    assert "error" in desk.run("list").stderr
