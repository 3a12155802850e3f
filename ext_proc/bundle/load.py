"""Loads a bundle: every problem in it at once, or the rulebook.

Rules:
- One wrong part hides nothing in the others: each is looked at, and all problems are told together.
- A bundle with one problem is not used at all.
- No secret's text is in any problem (problems.py).

Not here: the steps themselves, one file each beside this one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ext_proc.bundle import checks, identities, page_checks, plugins, secrets
from ext_proc.bundle.compile import compile_bundle
from ext_proc.bundle.document import Document, read_document, read_text
from ext_proc.bundle.models import Bundle
from ext_proc.bundle.problems import Describer
from ext_proc.bundle.registry import PolicyTypes
from ext_proc.bundle.store_settings import store_settings
from ext_proc.credentials.chain import Chain
from ext_proc.engine.route import Rulebook
from ext_proc.errors import BundleError, Problem
from ext_proc.secret import CONTEXT_KEY


@dataclass(frozen=True, slots=True)
class Examined:
    """What there is to say of a bundle's text.

    Attributes:
        bundle: as written; None where its format is wrong.
        rulebook: None where there is any problem.
        problems: errors.
        warnings: of a bundle without errors.
        document: its values with their lines; None where it could not be read as YAML.
    """

    bundle: Bundle | None
    rulebook: Rulebook | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    document: Document | None = None


def load(path: Path) -> Rulebook:
    """The rulebook of the bundle at `path`.

    Raises:
        BundleError: with every problem found.
    """
    examined = examine(path)
    if examined.rulebook is None:
        raise BundleError(examined.problems)
    return examined.rulebook


def parse(
    text: str,
    *,
    origin: Path = Path("bundle.yaml"),
    environ: Mapping[str, str] | None = None,
    types: PolicyTypes | None = None,
) -> Bundle:
    """The bundle that `text` is, all of it checked; the arguments are `examine_text`'s.

    Raises:
        BundleError: with every problem found.
    """
    examined = examine_text(text, origin=origin, environ=environ, types=types)
    if examined.bundle is None or examined.problems:
        raise BundleError(examined.problems)
    return examined.bundle


def examine(path: Path) -> Examined:
    """Everything there is to say of the bundle at `path`; never raises for what is in the file."""
    try:
        text = read_text(path)
    except BundleError as error:
        return Examined(None, None, error.problems)
    return examine_text(text, origin=path)


def examine_text(
    text: str,
    *,
    origin: Path,
    environ: Mapping[str, str] | None = None,
    types: PolicyTypes | None = None,
) -> Examined:
    """Everything there is to say of a bundle's text; never raises for what is in it.

    Args:
        origin: the file it is of: where relative paths (of secrets, keys, the store) start.
        environ: the environment variables; the process's own unless given.
        types: the policy types; those of the installed packages unless given.
    """
    try:
        document = read_document(text)
    except BundleError as error:
        return Examined(None, None, error.problems)
    tree = document.tree
    environ = os.environ if environ is None else environ
    found, unresolved = secrets.resolve(tree.get("secrets"), origin.parent, environ)
    describer = Describer(found.values())
    bundle: Bundle | None = None
    chain: Chain | None = None
    problems = [*document.problems, *unresolved]
    try:
        bundle = Bundle.model_validate(tree, context={CONTEXT_KEY: found})
    except ValidationError as error:
        problems += describer.translate(error, tree, Bundle, ())
    else:
        depth = bundle.limits.json_depth
        chain, unusable = identities.build(bundle.identity, bundle.clients, origin.parent, depth, describer)
        problems += unusable
        problems += page_checks.problems(bundle, describer)
    policies, unusable = plugins.set_up(tree.get("policies"), types or PolicyTypes(), found, origin.parent, describer)
    problems += unusable
    problems += checks.references(tree, describer)
    problems += checks.contradictions(tree, describer)
    if bundle is None or problems:
        return Examined(bundle, None, _in_file_order(problems, document), document=document)
    warnings = (
        *checks.warnings(bundle, policies, describer),
        *page_checks.warnings(bundle, policies, describer),
    )
    assert chain is not None  # made with the bundle
    store = store_settings(bundle, policies, origin.parent, environ)
    rulebook = compile_bundle(bundle, policies, hashlib.sha256(text.encode()).hexdigest()[:12], chain, store)
    return Examined(bundle, rulebook, (), warnings, document)


def _in_file_order(problems: list[Problem], document: Document) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: document.line_of(problem.path) or 0))
