# SPDX-License-Identifier: Apache-2.0
"""Which tape gets a drive, in which order its files are read, and where new ones are written: pure computing.

Nothing here reads a catalogue, a clock or a tape. The live library and the simulated one ask the same functions.
"""
