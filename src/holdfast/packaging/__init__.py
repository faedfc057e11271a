# SPDX-License-Identifier: Apache-2.0
"""Packages: written in one pass, read at any place, delivered verified (FORMAT).

This file imports nothing: the child processes of the packer start through it and must start fast.
"""
