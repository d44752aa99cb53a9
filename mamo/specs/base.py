"""The base of every spec: immutable, and closed to unknown keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Spec(BaseModel):
    """A frozen pydantic model which refuses keys that it does not know, infinite numbers, and yes or no for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, values: Any) -> Any:
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields:
                kinds = get_args(annotation := cls.model_fields[name].annotation) or (annotation,)
                if bool not in kinds and Any not in kinds and {int, float} & set(kinds):
                    raise ValueError(f"{name}: {str(value).lower()} is not a number")
        return values


def check_names(names: Iterable[str], what: str) -> None:
    """Check that names can be used in paths and commands without quoting.

    Raises:
        ValueError: a name has other characters than letters, digits, ``_``, ``-`` and ``.``.
    """
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{what} '{name[:60]}': a name has letters, digits, '_', '-' and '.' only")
