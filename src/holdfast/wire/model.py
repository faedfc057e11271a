# SPDX-License-Identifier: Apache-2.0
"""The base of all models: unknown keys are errors, numbers are not guessed from text."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


class Model(BaseModel):
    """A value that travels as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(Model):
    """Why something waits or ended badly (P9)."""

    code: str
    sentence: str
    since: str | None = None
    tries: int = 1
    next_try: str | None = None
    who: str = "operator"


class Pending(Model):
    """One thing that is not done yet, and why."""

    what: str
    problem: Problem | None = None


def wrong(error: ValidationError) -> str:
    """Return what a model does not take, without the value: it may be a password."""
    told = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    return f"{'; '.join(told)}."
