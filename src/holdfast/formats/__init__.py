# SPDX-License-Identifier: Apache-2.0
"""What scientific files say of themselves: FITS headers, HDF5 attributes and small values."""
