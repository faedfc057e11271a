# SPDX-License-Identifier: Apache-2.0
"""The catalogue: facts and intentions, in PostgreSQL."""
