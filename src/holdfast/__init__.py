# SPDX-License-Identifier: Apache-2.0
"""Holdfast: an archive for scientific facilities."""

__version__ = "0.1.0"
