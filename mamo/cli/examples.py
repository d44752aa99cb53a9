"""Examples of every command, for its help and for docs/commands.md; a test parses each of them."""

from __future__ import annotations

EXAMPLES = {
    "reproduce": (
        "mamo reproduce --scale smoke",
        "mamo reproduce table5 figure6 --scale demo",
        "mamo reproduce --scale paper --profile slurm",
        "mamo reproduce table5 table6 table7 --scale study --seed 3",
    ),
    "plan": ("mamo plan table5 table6 --scale smoke", "mamo plan --scale paper --gpu h100 --gpus 8"),
    "status": ("mamo status --scale demo --runs", "mamo status table5 --scale demo --json"),
    "explain": (
        "mamo explain table5 --scale demo",
        "mamo explain table5 full --scale demo",
        "mamo explain pretrain/mamo --scale demo",
    ),
    "diff": ("mamo diff mamo mamo-no_mrm --scale demo",),
    "compare": ("mamo compare table5 --scale demo", "mamo compare table5 --reported --csv table5.csv"),
    "results": ("mamo results pack --scale demo", "mamo results unpack packs/demo.tar.xz"),
    "results pack": (
        "mamo results pack --scale demo --out demo.tar.xz",
        "mamo results pack --weights --scale study --site attic",
    ),
    "results unpack": (
        "mamo results unpack demo.tar.xz",
        "mamo results unpack packs/demo-weights.tar.xz --scale study",
    ),
    "results merge": ("mamo results merge demo.tar.xz --site cluster",),
    "results sites": ("mamo results sites --scale demo --runs",),
    "results forget": ("mamo results forget mamo-no_mrm --scale demo",),
    "prepare": ("mamo prepare coco --scale smoke --needs",),
    "weights": ("mamo weights vision --scale smoke --needs",),
    "pretrain": ("mamo pretrain --scale demo", "mamo pretrain mamo --scale demo --needs"),
    "finetune": ("mamo finetune vqa-mamo --scale demo --needs",),
    "evaluate": ("mamo evaluate vqa-mamo --scale demo",),
    "export": ("mamo export mamo exported --scale demo",),
    "report": ("mamo report table5 --scale demo",),
    "figure": (
        "mamo figure figure1 --scale demo",
        'mamo figure figure1 --image photo.jpg --text "a dog on the beach" --out mine.png',
    ),
    "site": ("mamo site --scale demo",),
    "paper": ("mamo paper --scale demo",),
    "doctor": ("mamo doctor --scale demo", "mamo doctor --slurm --profile slurm"),
    "dvc": ("mamo dvc record",),
    "completion": (
        "mamo completion bash > ~/.local/share/bash-completion/completions/mamo",
        "mamo completion zsh > ~/.zfunc/_mamo",
    ),
    "dev": ("mamo dev lint table5",),
    "lint": ("mamo dev lint table5 --scale smoke",),
    "schema": ("mamo dev schema ablation",),
    "deviations": ("mamo dev deviations --check",),
    "licences": ("mamo dev licences --check",),
    "bench": ("mamo dev bench --scale demo --steps 10",),
    "commands": ("mamo dev commands --check",),
}
