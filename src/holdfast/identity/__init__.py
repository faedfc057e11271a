# SPDX-License-Identifier: Apache-2.0
"""How persons prove who they are."""
