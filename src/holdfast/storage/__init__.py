# SPDX-License-Identifier: Apache-2.0
"""Stores: places for packages behind one interface."""
