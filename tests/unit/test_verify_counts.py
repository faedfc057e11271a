# SPDX-License-Identifier: Apache-2.0
"""What `holdfast verify` says of copies that were not read."""

from __future__ import annotations

import pytest

from holdfast.cli.make import unread
from holdfast.wire.datasets import Copy, DatasetDetail, Package


# number -> state; those with an even number were read
@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        ({0: "verified", 2: "verified"}, 0),
        ({0: "verified", 1: "writing"}, 1),
        ({0: "verified", 2: "lost", 1: "planned"}, 0),
        ({1: "lost", 0: "verified", 3: "planned"}, 1),
        ({1: "lost", 3: "lost", 5: "planned", 7: "planned"}, 2),
        ({0: "verified", 1: "retired"}, 0),
    ],
)
def test_copies_that_were_not_read_are_counted(copies: dict[int, str], expected: int) -> None:
    made = [Copy.model_construct(id=number, state=state) for number, state in copies.items()]
    package = Package.model_construct(state="stored", copies=made)
    found = DatasetDetail.model_construct(packages=[package])
    assert unread(found, {0, 2}) == expected
