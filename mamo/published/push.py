"""An exported folder to the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from mamo.runs.run import RunError

_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def check_name(name: str) -> None:
    """Refuse what is no name of a repository on the hub, before anything is written.

    Raises:
        RunError: it is not of the form USER/NAME.
    """
    if not _NAME.fullmatch(name):
        raise RunError(f"'{name}' is no name on the hub: write USER/NAME")


def push(folder: Path, name: str) -> str:
    """Upload an exported folder; the repository is made where there is none. Returns its address.

    Raises:
        RunError: the hub refused, or could not be reached.
    """
    from huggingface_hub import HfApi

    check_name(name)
    api = HfApi()
    try:
        address = str(api.create_repo(name, exist_ok=True))
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export of the MAMO workbench")
    except Exception as error:  # the hub raises many kinds; all mean that the model is not there
        raise RunError(
            f"{folder} could not be uploaded to {name} ({error}); it lies there whole. Log in with `hf auth login`, then "
            f"`hf upload {name} {folder}`"
        ) from error
    return address
