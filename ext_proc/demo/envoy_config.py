"""Fills in envoy/bootstrap.yaml: addresses, the access log's path and the demo's public key, and nothing else.

    python -m ext_proc.demo.envoy_config --listen 0.0.0.0:10000 ... > bootstrap.yaml

Rules:
- An address is written as everywhere in Gatehouse: "HOST:PORT" or "unix:PATH".
- A placeholder without a value, or a value without a placeholder, is an error: the file and this module agree.

Not here: starting Envoy (stack.py).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template

from ext_proc.demo.files import shipped
from ext_proc.demo.tokens import TokenSigner


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where everything is, each "HOST:PORT" or "unix:PATH". Clients come in at `listen`; `admin` is Envoy's own."""

    listen: str
    admin: str
    gatehouse: str
    mcp: str
    model_a: str
    model_b: str


def bootstrap(addresses: Addresses, jwks: str, access_log: str = "/dev/stdout") -> str:
    """Envoy's whole configuration as YAML.

    Args:
        addresses: what to listen on and where the clusters are.
        jwks: the public keys that tokens are verified with, as a JSON Web Key Set on one line.
        access_log: the file that gets one JSON line per request.

    Raises:
        ValueError: an address is neither "HOST:PORT" nor "unix:PATH".
    """
    template = Template(shipped("envoy/bootstrap.yaml").read_text(encoding="utf-8"))
    values = {f"{name.upper()}_ADDRESS": address(text) for name, text in asdict(addresses).items()}
    values |= {"JWKS": jwks, "ACCESS_LOG": access_log}
    if unused := values.keys() - set(template.get_identifiers()):
        raise ValueError(f"envoy/bootstrap.yaml has no placeholder for {', '.join(sorted(unused))}")
    return template.substitute(values)


def address(text: str) -> str:
    """Envoy's `core.v3.Address` for "HOST:PORT" or "unix:PATH", as JSON on one line; HOST is an IP address."""
    if text.startswith("unix:"):
        return json.dumps({"pipe": {"path": text.removeprefix("unix:")}})
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{text!r} is neither HOST:PORT nor unix:PATH")
    return json.dumps({"socket_address": {"address": host.strip("[]"), "port_value": int(port)}})


def main() -> None:
    """Prints the configuration; the issuer's key file is made if it is not there."""
    parser = argparse.ArgumentParser(description="Fill in envoy/bootstrap.yaml.")
    parser.add_argument("--listen", default="127.0.0.1:10000")
    parser.add_argument("--admin", default="127.0.0.1:9901")
    parser.add_argument("--gatehouse", default="127.0.0.1:50051")
    parser.add_argument("--mcp", default="127.0.0.1:18081")
    parser.add_argument("--model-a", default="127.0.0.1:18082")
    parser.add_argument("--model-b", default="127.0.0.1:18083")
    parser.add_argument("--access-log", default="/dev/stdout")
    parser.add_argument("--key", type=Path, required=True, help="PEM file of the demo's token issuer")
    arguments = vars(parser.parse_args())
    jwks = TokenSigner.from_file(arguments.pop("key")).jwks()
    access_log = arguments.pop("access_log")
    print(bootstrap(Addresses(**arguments), jwks, access_log), end="")


if __name__ == "__main__":
    main()
