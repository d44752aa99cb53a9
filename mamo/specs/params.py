"""``params.yaml``: the scale to reproduce, and the folders to use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StrictBool, StrictInt, StrictStr

from mamo.specs.base import Spec
from mamo.specs.overrides import SpecError, build, load_yaml

FOLDERS = ("releases", "results", "reports")
TEXTS = ("scale", "profile", *FOLDERS)


def text(value: Any) -> Any:
    """Refuse values that YAML reads as a number or a truth value, such as a folder named ``2024``.

    Raises:
        ValueError: how to write it.
    """
    if value is None or isinstance(value, str):
        return value
    shown, what = (str(value).lower(), "a truth value") if isinstance(value, bool) else (value, "a number")
    if not isinstance(value, int | float):
        what = f"a {type(value).__name__}"
    raise ValueError(f'YAML takes {shown} for {what}: put a name or path in quotes, e.g. "2024"')


def folder(value: str | None) -> str | None:
    """Replace ``~`` in a folder's path by a home, as shells do, so that every program finds the same place.

    Raises:
        ValueError: ``~NAME`` of an unknown user.
    """
    if value is None:
        return None
    path = os.path.expanduser(value)
    if path.startswith("~"):
        raise ValueError(
            f"{value}: there is no user named {value[1:].split('/')[0]}; write ./{value} for a folder of that name"
        )
    return path


Text = Annotated[StrictStr | None, BeforeValidator(text)]
Folder = Annotated[StrictStr | None, BeforeValidator(text), AfterValidator(folder)]


class Params(Spec):
    """The content of ``params.yaml``; ``workflow/schemas/config.schema.yaml`` says the same to Snakemake."""

    scale: Text = None
    releases: Folder = None
    results: Folder = None
    reports: Folder = None
    profile: Text = None
    seeds: StrictInt | StrictStr | dict[str, Any] | None = None
    record: StrictBool | None = None
    any_code: StrictBool | None = None
    micro_batch: StrictInt | None = None
    compile: StrictBool | None = None
    activation_checkpointing: StrictBool | None = None


def read_params(path: Path) -> Params:
    """Read ``params.yaml``; nothing is set if there is no such file.

    Raises:
        SpecError: an unknown key, or a value of another type, with file, key and nearest valid name.
    """
    params: Params = build(Params, load_yaml(path) if path.exists() else {}, str(path))
    return params


def read_config(config: dict[str, Any]) -> dict[str, Any]:
    """Read the settings of a Snakemake call in the same way as ``params.yaml``.

    Raises:
        SpecError: a text that YAML reads as another type, or the folder of an unknown user.
    """
    try:
        read = config | {name: text(config[name]) for name in TEXTS if name in config}
        return read | {name: folder(read[name]) for name in FOLDERS if name in read}
    except ValueError as error:
        raise SpecError(f"--config or params.yaml: {error} (after --config: 'results=!!str 2024')") from None
