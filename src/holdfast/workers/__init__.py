# SPDX-License-Identifier: Apache-2.0
"""Processes that work: job workers, the planner, and the supervisor of all parts of one host."""
