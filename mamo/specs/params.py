"""``params.yaml``: what is reproduced, and where things lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import StrictBool, StrictInt, StrictStr

from mamo.specs.base import Spec
from mamo.specs.overrides import build, load_yaml


class Params(Spec):
    """The content of ``params.yaml``; ``workflow/schemas/config.schema.yaml`` says the same to Snakemake."""

    scale: StrictStr | None = None
    releases: StrictStr | None = None
    results: StrictStr | None = None
    reports: StrictStr | None = None
    profile: StrictStr | None = None
    seeds: StrictInt | StrictStr | dict[str, Any] | None = None
    record: StrictBool | None = None
    any_code: StrictBool | None = None
    micro_batch: StrictInt | None = None
    compile: StrictBool | None = None
    activation_checkpointing: StrictBool | None = None


def read_params(path: Path) -> Params:
    """Read ``params.yaml``; nothing is set where there is no such file.

    Raises:
        SpecError: an unknown key, or a value of another type, with file, key and nearest valid name.
    """
    params: Params = build(Params, load_yaml(path) if path.exists() else {}, str(path))
    return params
