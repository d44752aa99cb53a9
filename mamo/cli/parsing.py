"""The command line's parser: argparse, with the nearest name for a wrong word and with examples in every help."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from mamo.cli.examples import EXAMPLES
from mamo.specs.names import nearest


class Parser(argparse.ArgumentParser):
    """Parser whose help ends with examples and whose errors suggest what was probably meant."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["formatter_class"] = _Help
        super().__init__(*args, **kwargs)
        given = EXAMPLES.get(self.prog.removeprefix("mamo ").removeprefix("dev "), ())
        if given:
            lines = "\n".join(f"  {line}" for line in given)
            before = f"{self.epilog}\n\n" if self.epilog else ""
            self.epilog = f"{before}example{'s' * (len(given) > 1)}:\n{lines}"

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse unknown words here, where the command that they were meant for is known."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            if word.startswith("-"):
                known = [
                    name for action in self._actions for name in action.option_strings if name[:2] == "--"
                ]
                self.error(f"unknown option '{word}'{nearest(word, known)}")
            self.error(f"'{word}' is unexpected here; put all names side by side, and options after them")
        return parsed, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            shown = list(action.choices)
            if isinstance(action, argparse._SubParsersAction):
                shown = [choice.dest for choice in action._choices_actions]
            raise argparse.ArgumentError(
                action, f"unknown name '{value}'{nearest(str(value), map(str, shown))}"
            )


class _Help(argparse.HelpFormatter):
    """Wrap paragraphs, and leave texts of several lines as they are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_help_position = 16

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(f"{indent}{line}" for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


class Hidden:
    """Sub-commands that work but are not listed in any help: older spellings."""

    def __init__(self, commands: Any) -> None:
        self._commands = commands

    def add_parser(self, name: str, **kwargs: Any) -> Any:
        """Add a parser as argparse does, but without a line in the list of commands."""
        kwargs.pop("help", None)
        return self._commands.add_parser(name, **kwargs)


class Version(argparse.Action):
    """Print the versions of the package, its code, PyTorch and Python, and exit."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **kwargs)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Look the versions up only when asked for, since that calls git."""
        print(version())
        parser.exit()


def version() -> str:
    """Return one line: the package's version and commit, PyTorch's version and Python's. Imports nothing heavy."""
    from mamo.specs.code import PACKAGE, git_environment

    package = Path(PACKAGE).parent
    words = ["git", "-c", "safe.directory=*", "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(
            words, cwd=package, env=git_environment(), capture_output=True, text=True, timeout=10, check=False
        )
        commit = done.stdout.strip() if (package / ".git").exists() else ""
    except (OSError, subprocess.SubprocessError):
        commit = ""
    python = ".".join(map(str, sys.version_info[:3]))
    return (
        f"mamo {_version('mamo')} ({f'commit {commit}' if commit else 'no commit'}), torch {_version('torch')}, "
        f"Python {python}"
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
