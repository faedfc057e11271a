# SPDX-License-Identifier: Apache-2.0
"""Tape libraries: sessions on LTFS volumes, the real Library Edition or the simulator."""
