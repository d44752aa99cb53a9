"""``mamo completion``: make a shell complete commands, options and the names of scales, tables and runs."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any

# Metavar of an argument -> its completion: a list from `mamo.cli.known`, or shtab's own for files.
_LISTS = {
    "TABLE": "tables",
    "FIGURE": "tables",
    "PAGE": "pages",
    "RUN": "runs",
    "RUN|TABLE": "anything",
    "N|TABLE=N,...": None,
}
_PATHS = {"FILE": "FILE", "FILE|KEY": "FILE", "DIR": "DIRECTORY", "FOLDER": "DIRECTORY"}


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "completion",
        help="print a script that makes bash or zsh complete commands and names",
        description="Print a script for bash or zsh that completes commands, options, and the names of scales, tables and "
        'runs. Save it where the shell looks for such scripts, or try it: eval "$(mamo completion bash)".',
    )
    parser.add_argument("shell", choices=("bash", "zsh"))
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    import shtab

    from mamo.cli.main import parser

    tree = parser()
    _mark(tree)
    print(shtab.complete(tree, args.shell))
    return 0


def _mark(parser: argparse.ArgumentParser) -> None:
    """Set the completion of each argument from its metavar."""
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _mark(inner)
            continue
        if isinstance(action.choices, dict):  # which shtab takes for sub-commands
            action.choices = list(action.choices)
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        kind = "scales" if action.dest == "scale" else _LISTS.get(metavar)
        if kind:
            action.complete = _names_function(kind)  # type: ignore[attr-defined]
        elif metavar in _PATHS:
            action.complete = getattr(shtab, _PATHS[metavar])  # type: ignore[attr-defined]


def _names_function(kind: str) -> dict[str, Any]:
    """Completion through ``mamo.cli.known`` for both shells; it gets the words typed so far (``--scale``, the command)."""
    call = f"{shlex.quote(sys.executable)} -m mamo.cli.known {kind}"
    bash = f'_mamo_{kind}() {{ compgen -W "$({call} "${{COMP_WORDS[@]}}" 2>/dev/null)" -- "$1"; }}'
    # shtab's function for zsh takes a command's own words apart; the line's are in BUFFER.
    zsh = f'_mamo_{kind}() {{ local -a found; found=(${{(f)"$({call} ${{(z)BUFFER}} 2>/dev/null)"}}); compadd -a found }}'
    return {"bash": f"_mamo_{kind}", "zsh": f"_mamo_{kind}", "preamble": {"bash": bash, "zsh": zsh}}
