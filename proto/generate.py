"""Generates ext_proc/wire/pb/ from the .proto files beside this script: `python proto/generate.py [--out ROOT]`.

Rules:
- The output is committed, and a test generates it anew and compares: run this after every change of a .proto file.
- protoc is told that this folder *is* `ext_proc/wire/pb`. A .proto file's path becomes the module of what is made from
  it, so the generated imports are right as they stand, and no file meets one of Envoy's in the descriptor pool.

Not here: ext_proc/wire/pb/__init__.py, which is written by hand.
"""

from __future__ import annotations

import argparse
import sys
from importlib.resources import as_file, files
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

PROTO = Path(__file__).resolve().parent
PACKAGE = "ext_proc/wire/pb"


def generate(root: Path) -> int:
    """Writes one module and one stub per .proto file under `root`/ext_proc/wire/pb; returns protoc's exit status."""
    root.mkdir(parents=True, exist_ok=True)
    with as_file(files("grpc_tools") / "_proto") as well_known:
        arguments = ["protoc", f"-I{PACKAGE}={PROTO}", f"-I{well_known}", f"--python_out={root}", f"--pyi_out={root}"]
        sources = [f"{PACKAGE}/{source.name}" for source in sorted(PROTO.glob("*.proto"))]
        return int(protoc.main(arguments + sources))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Generate ext_proc/wire/pb/ from the .proto files.")
    parser.add_argument("--out", type=Path, default=PROTO.parent, help="the source root (the repository's by default)")
    sys.exit(generate(parser.parse_args().out))
