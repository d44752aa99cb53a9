"""The base of every spec: immutable, and closed to unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A frozen pydantic model which refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)
