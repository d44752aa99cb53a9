"""``mamo schema``: the JSON schema of scale and ablation files, for editors."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "schema",
        help="print the JSON schema of scale or ablation files",
        description="Print the JSON schema of the files in ablations/, with every setting's meaning, source and default.",
    )
    parser.add_argument("what", choices=("scale", "ablation", "pretrain"))
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    from mamo.specs.ablation import AblationSpec
    from mamo.specs.base import Spec
    from mamo.specs.pretrain import PretrainSpec
    from mamo.specs.scale import Scale

    schemas: dict[str, type[Spec]] = {"scale": Scale, "ablation": AblationSpec, "pretrain": PretrainSpec}
    print(json.dumps(schemas[args.what].model_json_schema(), indent=2))
    return 0
