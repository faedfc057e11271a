# SPDX-License-Identifier: Apache-2.0
"""Holdfast: an archive for scientific facilities. `holdfast.Client` is the REST API as a library."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return `Client`, imported when it is wanted: commands and workers need not wait for it."""
    if name == "Client":
        return import_module("holdfast.client").Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
