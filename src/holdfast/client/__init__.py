# SPDX-License-Identifier: Apache-2.0
"""The REST API as a Python library."""

from holdfast.client.client import Client

__all__ = ["Client"]
