# SPDX-License-Identifier: Apache-2.0
"""A tape library on paper: the same scheduler and allocator as the live one, on a virtual clock."""
