"""Upload an exported folder to the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from mamo.runs.run import RunError

_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def check_repository_name(name: str) -> None:
    """Check that a text is a name of a repository on the hub, before anything is written.

    Raises:
        RunError: it is not of the form USER/NAME.
    """
    if not _NAME.fullmatch(name):
        raise RunError(f"'{name}' is not a name on the hub: write USER/NAME")


def push(folder: Path, name: str) -> str:
    """Upload an exported folder; the repository is created if it does not exist. Returns its address.

    Raises:
        RunError: the hub refused, or could not be reached.
    """
    from huggingface_hub import HfApi

    check_repository_name(name)
    api = HfApi()
    try:
        address = str(api.create_repo(name, exist_ok=True))
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export of the MAMO workbench")
    except Exception as error:  # the hub raises many kinds of errors; all mean that the upload failed
        raise RunError(
            f"{folder} could not be uploaded to {name} ({error}); it lies there whole. Log in with `hf auth login`, then "
            f"`hf upload {name} {folder}`"
        ) from error
    return address
