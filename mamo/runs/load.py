"""Load trained models from their runs' directories."""

from __future__ import annotations

from mamo.data.store.records import Prepared
from mamo.data.tokenizer import Tokenizer
from mamo.model.pretrained import load_exactly, read_state
from mamo.runs.make_finetuning import load_task
from mamo.runs.run import Context, RunError, read_record, require_files
from mamo.runs.save import WEIGHTS, load_network
from mamo.specs.pretrain import PretrainSpec
from mamo.tasks.pretrain import PretrainTask
from mamo.tasks.task import DownstreamTask
from mamo.training.loop import pick_device


def load_pretrained(context: Context) -> tuple[PretrainTask, Tokenizer]:
    """Load a pre-training's task with its stored weights (online, target and heads), in evaluation mode.

    The tokeniser of visual tokens, which has no weights of its own, is left out: the MIM head is loaded without its targets.

    Raises:
        RunError: the run stored no weights, or they did not travel with its pack.
    """
    require_files(context.run, context.results)
    spec = PretrainSpec.model_validate(context.run.spec)
    path = context.directory / WEIGHTS
    if not path.is_file():
        raise RunError(f"{path} is missing, so {context.run.key} has no weights to explain")
    tokenizer = Tokenizer.load(context.input("text"))
    if spec.needs_visual_tokens:  # its head's width is that of the codebook, and nothing here reads it
        spec = spec.model_copy(update={"objectives": spec.objectives.model_copy(update={"mim": None})})
    steps = read_record(context.run, context.results).details.get("steps")
    task = PretrainTask(load_network(context.directory), spec, tokenizer, steps=steps)
    state = {
        name: tensor
        for name, tensor in read_state(path).items()
        if name.split(".")[0] in dict(task.named_children())
    }
    load_exactly(task, state, path)
    return task.to(pick_device()).eval(), tokenizer


def load_finetuned(context: Context) -> tuple[DownstreamTask, Prepared]:
    """Load a fine-tuning's task with its stored weights (its pre-training's, if it trained none), in evaluation mode.

    Returns:
        the task and the job's first data set.
    """
    require_files(context.run, context.results)
    task, _, data = load_task(context)
    path = context.directory / WEIGHTS
    if path.is_file():
        load_exactly(task, read_state(path), path)
    return task.eval(), data[0]
