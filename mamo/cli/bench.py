"""``mamo bench``: how fast pre-training steps run on this machine, and the share of its peak that they reach."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mamo.cli import options
from mamo.cost.parameters import BERT_VOCABULARY
from mamo.specs.overrides import SpecError
from mamo.specs.scale import read_scale

if TYPE_CHECKING:
    from mamo.data.tokenizer import Tokenizer
    from mamo.training.throughput import Throughput


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bench",
        help="time pre-training steps on this machine: pairs a second, share of the hardware's peak",
        description="Train a network of a scale's size on noise for some steps, on the GPU if there is one, and print pairs a "
        "second and the share of the hardware's peak. A GPU's peak is looked up by its name, a CPU's is measured; of "
        "another device only the throughput is printed. Needs no data and no weights.",
    )
    parser.add_argument(
        "--pairs", type=int, metavar="N", help="pairs of a step on this device (default: ITM's group)"
    )
    parser.add_argument(
        "--steps", type=int, default=20, metavar="N", help="steps that are timed (default: 20)"
    )
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="default: the scale's")
    parser.add_argument("--scale", metavar="NAME", help="a file of ablations/scales (default: params.yaml)")
    options.add_execution(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    from mamo.runs.run import Options
    from mamo.training.loop import pick_device
    from mamo.training.throughput import measure_throughput

    name = options.setting(args, "scale")
    scale = read_scale(name, options.ABLATIONS)
    spec, text = scale.pretrain, scale.weights.text
    entries = text.vocab_size if text.source == "mlm" else BERT_VOCABULARY
    pairs = args.pairs or spec.objectives.itm_group
    if args.steps < 1 or pairs < 2:
        raise SpecError("--steps is at least 1, and --pairs at least 2")
    objectives = spec.objectives.model_copy(update={"itm_group": min(pairs, spec.objectives.itm_group)})
    if pairs % objectives.itm_group:
        raise SpecError(f"--pairs {pairs} is not a multiple of objectives.itm_group {objectives.itm_group}")
    spec = spec.model_copy(
        update={"objectives": objectives, "precision": args.precision or spec.precision, "batch_size": pairs}
    )
    how = Options(**options.execution_of(args)).of_training()
    throughput = measure_throughput(spec, _vocabulary(entries), pick_device(), pairs, args.steps, **how)
    print(f"Scale {name}: {pairs} pairs a step, {spec.model.max_words} tokens a text, {spec.precision}")
    for line in measurement_lines(throughput):
        print(line)
    return 0


def measurement_lines(measured: Throughput) -> Iterator[str]:
    """Put the measurements into lines of text."""
    yield f"  device                {measured.device}"
    yield f"  a step                {measured.seconds:.3g} s: " + ", ".join(
        f"{share:.1%} {part}" for part, share in measured.shares.items()
    )
    yield f"  pairs a second        {measured.pairs_per_second:,.3g}"
    yield f"  operations a pair     {measured.flops / 1e12:.3g} TFLOP, forward and backward"
    yield f"  operations a second   {measured.rate / 1e12:,.3g} TFLOP/s"
    if measured.memory is not None:
        yield f"  memory held at most   {measured.memory / 2**30:.1f} GiB"
    if measured.peak is None or measured.share is None:
        yield f"  share of the peak     unknown: {measured.peak_source}"
    else:
        yield f"  peak                  {measured.peak / 1e12:,.3g} TFLOP/s ({measured.peak_source})"
        yield f"  share of the peak     {measured.share:.1%}"


def _vocabulary(entries: int) -> Tokenizer:
    """Make a vocabulary of ``entries`` invented words: its logits cost as much as a real one's."""
    from mamo.data.tokenizer import SPECIAL, Tokenizer

    with tempfile.TemporaryDirectory() as folder:
        words = [*SPECIAL, *(f"w{number}" for number in range(entries - len(SPECIAL)))]
        (Path(folder) / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        return Tokenizer.load(Path(folder))
