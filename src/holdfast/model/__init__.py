# SPDX-License-Identifier: Apache-2.0
"""What is true: dataclasses and pure functions, no I/O, no framework."""
