# SPDX-License-Identifier: Apache-2.0
"""The REST API: parse, call a service, render."""
