"""Secrets: from where a bundle says they are to `Secret` values.

Rules:
- A value goes into a `Secret` at once and is in no message; nor is what an operator wrote for its place, which may be
  the value itself, written by mistake.
- A secret that is missing, empty or too large is an error: an empty key would sign and verify everything alike.

Not here: which parameter wants which secret (a policy's model; ext_proc/secret.py).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from ext_proc.bundle.models import SecretSource
from ext_proc.bundle.problems import path_text
from ext_proc.errors import Problem
from ext_proc.secret import Secret

MAX_BYTES = 64 * 1024


def resolve(written: object, folder: Path, environ: Mapping[str, str]) -> tuple[dict[str, Secret], list[Problem]]:
    """The secrets of a bundle, and what is wrong with the others.

    Args:
        written: the bundle's `secrets` as read; parts that do not fit the format are left out here (models.py tells).
        folder: where a relative path starts.
        environ: the environment variables.
    """
    found: dict[str, Secret] = {}
    problems: list[Problem] = []
    for key_id, source in _sources(written):
        try:
            value = _from_file(folder / source.file) if source.file else _from_environment(environ, source.env or "")
        except ValueError as error:
            problems.append(Problem(path_text(("secrets", key_id, "file" if source.file else "env")), str(error)))
        else:
            found[key_id] = Secret(key_id, value)
    return found, problems


def _sources(written: object) -> list[tuple[str, SecretSource]]:
    found = []
    for key_id, source in written.items() if isinstance(written, Mapping) else ():
        try:
            found.append((key_id, SecretSource.model_validate(source)))
        except ValidationError:
            continue  # models.py tells what is wrong with it
    return found


def _from_file(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("expected a regular file")
        with path.open("rb") as file:
            value = file.read(MAX_BYTES + 3)  # the limit, one newline, and a byte that shows there is more
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ValueError(f"cannot read the secret's file ({reason})") from None
    value = value.removesuffix(b"\n").removesuffix(b"\r") if value.endswith(b"\n") else value
    if not value:
        raise ValueError("expected the secret's file not to be empty")
    if len(value) > MAX_BYTES:
        raise ValueError(f"expected the secret's file to be at most {MAX_BYTES // 1024} KiB")
    return value


def _from_environment(environ: Mapping[str, str], name: str) -> bytes:
    value = os.fsencode(environ.get(name, ""))
    if not value:
        raise ValueError("expected the secret's environment variable to be set and not empty")
    return value
