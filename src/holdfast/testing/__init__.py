# SPDX-License-Identifier: Apache-2.0
"""For authors of drivers and of tests: contracts that every store and tape library must keep, and faults."""
