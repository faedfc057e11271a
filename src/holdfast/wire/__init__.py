# SPDX-License-Identifier: Apache-2.0
"""What travels as JSON: the models of the REST API, shared by server, client and portal."""
