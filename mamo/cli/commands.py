"""``mamo dev commands``: docs/commands.md from the parser of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mamo.cli import options
from mamo.cli.examples import EXAMPLES

PAGE = Path("docs/commands.md")
INTRODUCTION = f"""\
# Commands

Every command of `mamo` with its options; `mamo plan --help` shows one of them. `mamo dev commands` makes this page from the
parser. Call commands in the project's root folder. Defaults are in `params.yaml` ([settings.md](settings.md)).

```bash
source .venv/bin/activate      # once per shell; without it, call .venv/bin/mamo
```

**Names.** RUN stands for {options.RUN}, as long as
only one run matches: `pretrain/mamo-0123abcdef`, `mamo-0123abcdef`, `mamo`, `pretrain/mamo`, `mamo-01`. Planned runs go before
older executed ones. If a command, option, table, run or scale is not found, the message names the nearest ones.

**Exit status.** 0: done; 1: a failure that was reported, or something found by a check; 2: a wrong name or setting; 75: a run
that was asked to stop and saved its state; 128 and a signal's number: another command that a signal ended
([troubleshooting.md](troubleshooting.md)).

**Completion.** `mamo completion bash` and `mamo completion zsh` print a script that completes commands, options, and the
names of scales, tables and runs. Planned runs are looked up once and kept in `logs/SCALE/names.txt` until a settings file
changes.

**Programs.** `--json` of plan, status, explain, compare and doctor prints one JSON object and nothing else to standard output;
messages go to standard error, and the exit status is the same. Later versions may add keys but do not rename them:"""
# Command -> key of its object -> meaning. A test compares them with what the commands print.
JSON: dict[str, dict[str, str]] = {
    "plan": {
        "scale, title, cost": "of the scale, in words",
        "hardware": "what `hours` are counted for: `gpu`, `gpus`, `mfu`",
        "tables": "name -> its own `cost` in words, and the `runs` that it needs, inputs of inputs included",
        "figures": "name -> the runs that it needs",
        "runs": "a list: `run` (kind/id), `kind`, `id`, `name`, `done`, `inputs`, `tables` that read it, and counted: "
        "`operations`, `steps`, `hours`; null where data must be prepared first",
        "without_sharing": "how many runs there would be if each table made all of its own",
        "unknown_until_prepared": "data sets whose sizes are not known yet",
    },
    "status": {
        "scale, results": "its name, and the folder of its results",
        "counts": "kind -> state -> how many runs",
        "runs": "a list: `run`, `kind`, `state`, `log` (null: there is none), `step` of one that is running (`finished`, "
        "`total`, `left`, `parts`; else null), `metrics`, `seconds` that it took",
    },
    "explain RUN": {
        "run, state, log": "as of status",
        "nearest": "null where it is done or nothing like it is recorded; else the recorded `run` with the fewest differences: "
        "`settings` (a list: `key`, `before`, `now`, `from` where it is set), `revision`, `inputs` (`role`, `before`, `now`)",
        "needs": "what it needs and is not made: a list of the same form",
    },
    "explain TABLE": {
        "table, runs": "its name, and how many runs it needs",
        "page": "`file`, `there`, `planned` and `shown` (ids of the page), `to_write`",
        "needs": "its runs that are not made, as of explain RUN",
    },
    "explain TABLE ROW": {
        "table, row, label": "what is explained",
        "numbers": "a list: `column`, `label`, `metric`, `seed`, `value`, `run`, `pretraining`",
        "runs": "run -> `run`, `kind`, `done`, `seed`, `spec`, `inputs`, `data`, `facts`, `metrics`, `checks`",
    },
    "compare": {
        "scale, reported": "its name; whether `--reported` was given",
        "tables": "a list: `table`, `title`, `base` (the row compared with), `missing` runs, and `differences` from the base "
        "row (`row`, `column`, `mean` and `difference`, each with `_lower` and `_upper` of its 95 % interval), or with "
        "`--reported` `cells` (`row`, `column`, `ours`, `half` of the interval, `paper`, `difference`, how each `ended` and "
        "was `reported`)",
    },
    "doctor": {
        "wrong": "how many findings are wrong",
        "findings": "a list: `state` (ok, note or wrong), `what`, `fix` (null: nothing to do)",
    },
}


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "commands",
        help="write the page on the commands",
        description=f"Write {PAGE} from the parser of the command line.",
    )
    options.add_check(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    options.check_project()
    return options.generated(PAGE, commands_page(), args, "mamo dev commands")


def commands_page() -> str:
    """Write the Markdown page."""
    from mamo.cli.main import parser

    keys = ["| command | keys | meaning |", "|---|---|---|"]
    for command, lines in JSON.items():
        for names, meaning in lines.items():
            listed = ", ".join(f"`{name}`" for name in names.split(", "))
            keys.append(f"| {command} | {listed} | {meaning} |")
    return "\n\n".join([INTRODUCTION, "\n".join(keys), *_commands(parser(), "mamo", 2)]) + "\n"


def _commands(parser: argparse.ArgumentParser, name: str, level: int) -> Iterator[str]:
    """Yield a section for each command that a help lists."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                inner = action.choices[choice.dest]
                yield f"{'#' * level} {name} {choice.dest}"
                yield from _command_parts(inner, choice.help or "")
                yield from _commands(inner, f"{name} {choice.dest}", level + 1)


def _command_parts(parser: argparse.ArgumentParser, words: str) -> Iterator[str]:
    yield _escaped(parser.description or f"{words[:1].upper()}{words[1:]}.")
    rows = [_row(action) for action in parser._actions if not _is_left_out(action)]
    if rows:
        yield "\n".join(["| argument | meaning |", "|---|---|", *rows])
    given = EXAMPLES.get(parser.prog.removeprefix("mamo ").removeprefix("dev "), ())
    if given:
        yield "\n".join(["```bash", *given, "```"])


def _is_left_out(action: argparse.Action) -> bool:
    return action.help == argparse.SUPPRESS or isinstance(
        action, argparse._HelpAction | argparse._SubParsersAction
    )


def _row(action: argparse.Action) -> str:
    """Return the table row of one argument."""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    value = value if isinstance(value, str) else " ".join(value)
    repeated = f"{value} ..." if action.nargs in ("*", "+") else value
    shown = repeated if not action.option_strings else ", ".join(action.option_strings)
    if action.option_strings and action.nargs != 0:
        shown = f"{shown} {repeated}"
    return f"| `{_escaped(shown)}` | {_escaped(action.help or '')} |"


def _escaped(text: str) -> str:
    return " ".join(text.replace("%%", "%").replace("|", "\\|").split())
