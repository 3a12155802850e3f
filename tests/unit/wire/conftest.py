"""Envoy's own API, by an independent implementation (envoy-data-plane), to hold our bytes against."""

from __future__ import annotations

import importlib
import warnings
from types import SimpleNamespace

import pytest

_MODULES = {
    "ext_proc": "envoy_data_plane.envoy.service.ext_proc.v3",
    "mode": "envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3",
    "core": "envoy_data_plane.envoy.config.core.v3",
    "type": "envoy_data_plane.envoy.type.v3",
    "protobuf": "envoy_data_plane.google.protobuf",
}


@pytest.fixture(scope="session")
def envoy() -> SimpleNamespace:
    """The API's modules by a short name."""
    with warnings.catch_warnings():
        # Its generated code is older than the pydantic it runs with, and says so at import.
        warnings.simplefilter("ignore")
        return SimpleNamespace(**{name: importlib.import_module(path) for name, path in _MODULES.items()})
