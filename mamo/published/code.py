"""Copy the code that an exported model needs: the package's own modules, which transformers loads without the package.

Modules are copied as they are, one file each; only their imports of one another become relative ones, which transformers
follows within one folder. The specs, which need pydantic here, become plain dataclasses of the same fields and defaults.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

from mamo.specs.base import Spec

HUB_CODE = "mamo.published.hub_code"
ROOTS = ("configuration_mamo", "modeling_mamo", "image_processing_mamo", "processing_mamo")
AUTO_CONFIG = {"AutoConfig": "configuration_mamo.MamoConfig", "AutoModel": "modeling_mamo.MamoModel"}
AUTO_IMAGE_PROCESSOR = {"AutoImageProcessor": "image_processing_mamo.MamoImageProcessor"}
AUTO_PROCESSOR = {"AutoProcessor": "processing_mamo.MamoProcessor"}
_SPECS = "mamo.specs."
_HEADER = """\
# From the MAMO workbench, an independent implementation of arXiv:2210.04183; written by `mamo export`.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with the
# License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on an "AS
# IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""


def modules() -> dict[str, str]:
    """File name -> text of every module that the exported folder holds."""
    pending = [f"{HUB_CODE}.{root}" for root in ROOTS]
    sources: dict[str, str] = {}
    while pending:
        module = pending.pop()
        name = f"{_stem(module)}.py"
        if name in sources:
            continue
        if module.startswith(_SPECS):
            sources[name] = _HEADER + _dataclasses(module)
            continue
        text = _source(module).read_text(encoding="utf-8")
        imported = [
            node.module
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mamo.")
        ]
        pending += imported
        for other in imported:
            text = re.sub(
                rf"^(\s*)from {re.escape(other)} import", rf"\1from .{_stem(other)} import", text, flags=re.M
            )
        sources[name] = _HEADER + text
    return sources


def write_code(folder: Path) -> None:
    """Write the modules to an exported folder."""
    for name, text in modules().items():
        (folder / name).write_text(text, encoding="utf-8")


def _source(module: str) -> Path:
    """Read a module's source without executing it, since it may import transformers."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, f"{module} is a module of this package"
    return Path(spec.origin)


def _stem(module: str) -> str:
    """Shorten ``mamo.model.vision`` -> ``mamo_model_vision``; what transformers is told to load keeps its short name."""
    return module.removeprefix(f"{HUB_CODE}.").replace(".", "_")


def _dataclasses(module: str) -> str:
    """Rewrite a module's specs as plain dataclasses without checks: exported values were checked already."""
    lines = [
        f'"""The settings of {module.removeprefix(_SPECS)}, without their checks."""',
        "",
        "from __future__ import annotations",
        "",
        "from dataclasses import dataclass, replace",
        "from typing import Any",
    ]
    for name, spec in vars(importlib.import_module(module)).items():
        if isinstance(spec, type) and issubclass(spec, Spec) and spec.__module__ == module:
            lines += ["", "", "@dataclass(frozen=True)", f"class {name}:", f'    """{_first(spec)}"""', ""]
            lines += [f"    {key}: Any = {_default(field)!r}" for key, field in spec.model_fields.items()]
            lines += [
                "",
                f"    def model_copy(self, update: dict[str, Any]) -> {name}:",
                '        """The same settings but for those of ``update``."""',
                "        return replace(self, **update)",
            ]
    return "\n".join(lines) + "\n"


def _first(spec: type[Spec]) -> str:
    return str(spec.__doc__).splitlines()[0]


def _default(field: Any) -> Any:
    """Return a field's default if it is a plain value; parts of training have none in an exported model."""
    default = field.get_default(call_default_factory=True)
    return None if isinstance(default, Spec) else default
