"""The command line: settings in, everything wired, nothing decided.

Rules:
- Every option also reads an environment variable GATEHOUSE_<NAME>.
- A command imports what it runs when it runs: `gatehouse check` starts neither gRPC nor a demo.
- Exit codes: 0 done, 1 it did not succeed (each reason printed), 2 wrong usage.

Not here: what a command does.
"""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated

import typer

import ext_proc
from ext_proc.cli_usage import usage
from ext_proc.errors import Problem

app = typer.Typer(
    name="gatehouse",
    help="An Envoy external processor that understands and governs AI traffic.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables: payload and secrets
    rich_markup_mode=None,
)


keys = typer.Typer(name="keys", help="API keys.", no_args_is_help=True)
app.add_typer(keys)
tools = typer.Typer(
    name="tools", help="What servers say of their tools: looked at, approved, locked.", no_args_is_help=True
)
app.add_typer(tools)
app.add_typer(usage)


class Layout(enum.StrEnum):
    """How `tools list` prints."""

    TABLE = "table"
    JSON = "json"


class Format(enum.StrEnum):
    """How `check` prints."""

    TEXT = "text"
    JSON = "json"


Admin = Annotated[
    str, typer.Option(help="HOST:PORT of the admin endpoint.", envvar="GATEHOUSE_ADMIN", metavar="HOST:PORT")
]


@app.command()
def serve(
    bundle: Annotated[Path, typer.Option(help="The bundle to serve.", envvar="GATEHOUSE_BUNDLE")],
    listen: Annotated[
        str, typer.Option(help="Where Envoy connects: unix:PATH or HOST:PORT.", envvar="GATEHOUSE_LISTEN")
    ] = "127.0.0.1:50051",
    admin: Admin = "127.0.0.1:9902",
    pages: Annotated[
        str,
        typer.Option(
            help="Where Envoy finds the pages of policies for people: unix:PATH or HOST:PORT; nowhere if empty.",
            envvar="GATEHOUSE_PAGES",
        ),
    ] = "",
    region: Annotated[
        str, typer.Option(help="Written into metrics, spans and decisions.", envvar="GATEHOUSE_REGION")
    ] = "",
    otlp_endpoint: Annotated[
        str, typer.Option(help="Where spans go (OTLP over gRPC); nowhere if empty.", envvar="GATEHOUSE_OTLP_ENDPOINT")
    ] = "",
    drain_seconds: Annotated[
        float,
        typer.Option(help="How long running exchanges may end after SIGTERM.", envvar="GATEHOUSE_DRAIN_SECONDS", min=0),
    ] = 15.0,
    log_level: Annotated[
        str, typer.Option(help="debug, info, warning or error.", envvar="GATEHOUSE_LOG_LEVEL")
    ] = "info",
) -> None:
    """Serves Envoy under a bundle; SIGHUP loads it again, SIGTERM drains."""
    from ext_proc.server import run
    from ext_proc.server.settings import Settings

    settings = Settings(
        bundle=bundle,
        listen=listen,
        admin=admin,
        pages=pages,
        region=region,
        otlp_endpoint=otlp_endpoint,
        drain_seconds=drain_seconds,
        log_level=log_level,
    )
    raise typer.Exit(run.serve(settings))


@app.command()
def check(
    bundle: Annotated[Path, typer.Argument(help="The bundle to check.", envvar="GATEHOUSE_BUNDLE")],
    output: Annotated[
        Format, typer.Option("--format", help="How to print what was found.", envvar="GATEHOUSE_FORMAT")
    ] = Format.TEXT,
) -> None:
    """Validates a bundle: every problem with its place, what was expected and what was found."""
    from ext_proc.bundle.load import examine

    examined = examine(bundle)
    document = examined.document

    def line(problem: Problem) -> int | None:
        return document.line_of(problem.path) if document else None

    if output is Format.JSON:
        found = {
            "ok": not examined.problems,
            "name": examined.rulebook.name if examined.rulebook else None,
            "revision": examined.rulebook.revision if examined.rulebook else None,
            "problems": [_as_dict(problem, line(problem)) for problem in examined.problems],
            "warnings": [_as_dict(problem, line(problem)) for problem in examined.warnings],
        }
        typer.echo(json.dumps(found, indent=2))
    else:
        for kind, problems in (("error", examined.problems), ("warning", examined.warnings)):
            for problem in problems:
                at = line(problem)
                typer.echo(f"{bundle}:{at}: {kind}: {problem}" if at else f"{bundle}: {kind}: {problem}")
        if examined.rulebook is not None:
            book = examined.rulebook
            typer.echo(f"{bundle}: ok: bundle {book.name}, revision {book.revision}, {len(book.routes)} route(s)")
        else:
            typer.echo(f"{bundle}: {len(examined.problems)} error(s)")
    raise typer.Exit(1 if examined.problems else 0)


@app.command()
def policies(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the reference as Markdown.", envvar="GATEHOUSE_MARKDOWN")
    ] = False,
    into: Annotated[
        Path | None,
        typer.Option(help="Write the reference between the markers of this file.", envvar="GATEHOUSE_INTO"),
    ] = None,
) -> None:
    """Lists the policy types, or prints the reference of the bundle and of every policy type."""
    from ext_proc.bundle import reference
    from ext_proc.bundle.registry import PolicyTypes, UnusableType

    types = PolicyTypes()
    found = {}
    failed = False
    for name in types.names:
        try:
            found[name] = types.find(name)
        except UnusableType as error:
            typer.echo(f"{name}: {error}", err=True)
            failed = True
    if into is not None:
        try:
            into.write_text(reference.update(into.read_text("utf-8"), reference.render(found)), "utf-8")
        except (OSError, ValueError) as error:
            typer.echo(f"{into}: {error}", err=True)
            failed = True
    elif markdown:
        typer.echo(reference.render(found), nl=False)
    else:
        for name, cls in found.items():
            typer.echo(f"{name}\t{cls.__module__}:{cls.__qualname__}")
    raise typer.Exit(1 if failed else 0)


@app.command()
def demo(
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle in place of the demo's own.", envvar="GATEHOUSE_BUNDLE")
    ] = None,
    port: Annotated[
        int, typer.Option(help="Envoy's port; 0 takes a free one.", envvar="GATEHOUSE_PORT", min=0, max=65535)
    ] = 10000,
    once: Annotated[
        bool, typer.Option("--once", help="Run the tour and exit with its result.", envvar="GATEHOUSE_ONCE")
    ] = False,
) -> None:
    """Starts a real Envoy, a real MCP server and a model stub behind Gatehouse."""
    from ext_proc.demo import tour

    raise typer.Exit(tour.run(bundle, port, once))


@app.command()
def explain(
    trail_id: Annotated[str, typer.Argument(metavar="ID", help="The trail's id, as a denial carries it.")],
    admin: Admin = "127.0.0.1:9902",
) -> None:
    """Shows the way of one decision: stages, policies, verdicts and reasons."""
    from ext_proc.server import explain as explaining

    raise typer.Exit(explaining.explain(trail_id, admin))


@keys.command("new")
def new_key(
    subject: Annotated[
        str, typer.Option(help="Who will hold the key, for the bundle's entry.", envvar="GATEHOUSE_SUBJECT")
    ] = "SUBJECT",
) -> None:
    """Makes an API key: prints it, this once, and the entry for a bundle, which has only its hash."""
    from ext_proc.credentials.api_keys import new_key

    key, sha256 = new_key()
    typer.echo(f"key: {key}")
    typer.echo(f"entry: {{sha256: {sha256}, subject: {json.dumps(subject)}}}")


Pinned = Annotated[Path, typer.Option("--bundle", help="The bundle that is served.", envvar="GATEHOUSE_BUNDLE")]
OneServer = Annotated[str | None, typer.Option(help="Only this server.", envvar="GATEHOUSE_SERVER")]
ToolsServer = Annotated[str, typer.Argument(help="The server, by its name in the bundle.")]


@tools.command("list")
def list_tools(
    bundle: Pinned,
    server: OneServer = None,
    output: Annotated[
        Layout, typer.Option("--format", help="How to print it.", envvar="GATEHOUSE_FORMAT")
    ] = Layout.TABLE,
) -> None:
    """Lists what is pinned, and what is held back and why."""
    from ext_proc.server import tools as pinned

    raise typer.Exit(pinned.show_list(bundle, server, json=output is Layout.JSON))


@tools.command("diff")
def diff_tools(
    bundle: Pinned,
    server: ToolsServer,
    tool: Annotated[str | None, typer.Argument(help='A tool, or "(instructions)"; all that wait unless given.')] = None,
    digest: Annotated[
        str | None,
        typer.Option(help="The first digits of another definition than the latest.", envvar="GATEHOUSE_DIGEST"),
    ] = None,
) -> None:
    """Shows what waits against what was approved: exact text, with everything unseen written out."""
    from ext_proc.server import tools as pinned

    if digest is not None and tool is None:
        raise typer.BadParameter("expected --digest with a tool")
    raise typer.Exit(pinned.diff(bundle, server, tool, digest))


@tools.command("approve")
def approve_tools(
    bundle: Pinned,
    server: ToolsServer,
    tool: Annotated[list[str] | None, typer.Argument(help='Tools, or "(instructions)".')] = None,
    digest: Annotated[
        str | None,
        typer.Option(help="The first digits of the digest that was looked at.", envvar="GATEHOUSE_DIGEST"),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that waits.", envvar="GATEHOUSE_ALL")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --all: asks nobody.", envvar="GATEHOUSE_YES")] = False,
    by: Annotated[str | None, typer.Option(help="Who approves, unless it is you.", envvar="GATEHOUSE_BY")] = None,
    only: Annotated[
        bool, typer.Option("--only", help="Nothing else of the tool stays approved.", envvar="GATEHOUSE_ONLY")
    ] = False,
) -> None:
    """Approves what a server says of tools: the given digest, or what is shown before the question."""
    from ext_proc.server import tools as pinned

    names = tool or []
    if everything == bool(names) or (digest is not None and len(names) != 1) or (yes and not everything):
        raise typer.BadParameter("expected tools, or --all; --digest with one tool; --yes with --all")
    raise typer.Exit(
        pinned.approve(
            bundle, server, names, digest=digest, everything=everything, yes=yes, by=by, only=only, ask=typer.confirm
        )
    )


@tools.command("forget")
def forget_tools(
    bundle: Pinned,
    server: ToolsServer,
    tool: Annotated[
        list[str] | None, typer.Argument(help='Tools, or "(instructions)"; all of the server unless given.')
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Asks nobody.", envvar="GATEHOUSE_YES")] = False,
) -> None:
    """Forgets what is pinned: a tool is new when it is listed again, a server's next listing is its first."""
    from ext_proc.server import tools as pinned

    raise typer.Exit(pinned.forget(bundle, server, tool or [], yes=yes, ask=typer.confirm))


@tools.command("lock")
def lock_tools(
    bundle: Pinned,
    server: OneServer = None,
    write: Annotated[
        Path | None,
        typer.Option(help="The file; what else stands in it stays. Printed unless given.", envvar="GATEHOUSE_WRITE"),
    ] = None,
) -> None:
    """Writes what is approved as a lock file, for Git."""
    from ext_proc.server import tools as pinned

    raise typer.Exit(pinned.lock(bundle, server, write))


@app.command()
def version() -> None:
    """Prints the version."""
    typer.echo(ext_proc.__version__)


def _as_dict(problem: Problem, line: int | None) -> dict[str, str | int | None]:
    return {"path": problem.path, "message": problem.message, "value": problem.value, "line": line}


def main() -> None:
    """The entry point of the `gatehouse` command."""
    app()


if __name__ == "__main__":
    main()
