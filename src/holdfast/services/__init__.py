# SPDX-License-Identifier: Apache-2.0
"""One use case per module; each is safe to repeat (P11) and to kill at any point (P6)."""
