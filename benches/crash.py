"""SIGKILL at random moments: what fastft and transformers' Trainer make of it, side by side.

    python benches/crash.py [--kills 20] [--seed 0] [--side both] [--json benches/results/crash.json]

Both train the same random Llama (5 M parameters, all trained, AdamW, batch 2) on the CPU and save every step. A child is
killed at a random moment and started again the way each documents: fastft by the same command, the Trainer
by `resume_from_checkpoint=True`. A start that fails counts, and what a person would do is done for it: the newest checkpoint
is deleted. At the end the weights are compared, bit by bit, with those of a run that nobody killed.

Children are forked from a parent that has imported everything, so a start costs a tenth of a second.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the parent forks

import peft  # noqa: F401 - imported here, so that no child has to
import torch
import transformers
from keeping import keep
from safetensors import safe_open

from fastft.run.train import train as fastft_train

STEPS = 40
SPREAD_S = 0.5
"""Four kills of five fall this long after the first save of a start; the fifth falls before it, as a resume runs."""


@dataclass
class Result:
    """What became of one side."""

    side: str
    kills: int = 0
    inside_save: int = 0
    failed_resumes: int = 0
    runs: int = 0
    runs_equal: int = 0
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Side:
    """One trainer: how it trains into a folder, and what its checkpoints look like."""

    name: str
    train: Callable[[Path, Path], None]
    checkpoints: Callable[[Path], list[Path]]
    half_written: Callable[[Path], set[str]]
    final: Callable[[Path], Path]


def train_ours(model: Path, folder: Path) -> None:
    """The road, as `fastft train CONFIG --out FOLDER` walks it."""
    from fastft.config.schema import RunConfig
    from fastft.core.events import Bus

    config = RunConfig.model_validate(
        {
            "model": {"path": str(model)},
            "data": {
                "train": [{"path": str(model / "rows.txt.jsonl"), "format": {"kind": "text"}}],
                "max_length": 64,
                "packing": "none",
                "truncate": "right",
                "threads": 1,
            },
            "stage": {"kind": "pretrain"},
            "method": {"kind": "full"},
            "optimizer": {"kind": "adamw", "lr": 1e-3},
            "steps": STEPS,
            "batch": {"windows": 2, "micro": 2},
            "checkpoint": {"every": 1, "keep": 2},
            "log": {"tensorboard": False},
            "device": "cpu",
        }
    )
    fastft_train(config, out=folder, bus=Bus())


def train_theirs(model: Path, folder: Path) -> None:
    """transformers' Trainer on the same model, with its own resume."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained(model)
    lines = [json.loads(line)["text"] for line in (model / "rows.txt.jsonl").read_text().splitlines()]
    rows = [tokenizer(line)["input_ids"][:32] for line in lines]
    data = [{"input_ids": row, "labels": row} for row in rows if len(row) == 32]
    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=STEPS,
            per_device_train_batch_size=2,
            learning_rate=1e-3,
            save_steps=1,
            save_total_limit=2,
            use_cpu=True,
            seed=42,
            report_to=[],
            disable_tqdm=True,
            logging_steps=10_000,
        ),
        train_dataset=data,
    )
    folder.mkdir(parents=True, exist_ok=True)
    trainer.train(resume_from_checkpoint=bool(list(folder.glob("checkpoint-*"))) or None)
    trainer.save_model(str(folder / "final"))


OURS = Side(
    "fastft",
    train_ours,
    lambda folder: sorted((folder / "checkpoints").glob("step-*")),
    lambda folder: {path.name for path in (folder / "checkpoints").glob(".tmp-*")},
    lambda folder: folder / "final",
)
THEIRS = Side(
    "transformers.Trainer",
    train_theirs,
    lambda folder: sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])),
    # It writes its state last; an older one without it was being deleted.
    lambda folder: {p.name for p in THEIRS.checkpoints(folder)[-1:] if not (p / "trainer_state.json").exists()},
    lambda folder: folder / "final",
)


def fork(work: Callable[[], None], log: Path) -> int:
    """Run `work` in a child whose output goes to `log`; returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        torch.set_num_threads(1)
        work()
        code = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def make_model(folder: Path) -> None:
    """A random Llama with a tokenizer of its own and rows to train on."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnop", k=chance.randint(2, 7))) for _ in range(400)]
    lines = [" ".join(chance.choices(words, k=60)) for _ in range(200)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>").save_pretrained(folder)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=1024,
        hidden_size=320,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=0,
        bos_token_id=None,
    )
    LlamaForCausalLM(shape).save_pretrained(folder)
    (folder / "rows.txt.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))


def weights_hash(folder: Path) -> str:
    """A hash of the names and bytes of all weights in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in sorted(file.keys()):
                digest.update(name.encode())
                digest.update(file.get_tensor(name).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def first_save(side: Side, folder: Path, child: int) -> int | None:
    """Wait until a child has saved once; its exit status when it ended before that."""
    old = {path.name for path in side.checkpoints(folder)}
    while not {path.name for path in side.checkpoints(folder)} - old:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.002)
    return None


def measure(side: Side, model: Path, work: Path, kills: int, seed: int) -> Result:
    """Kill one side `kills` times, over as many runs as that takes."""
    result, chance, begun = Result(side.name), random.Random(seed), time.perf_counter()
    whole = work / "whole"
    child = fork(lambda: side.train(model, whole), work / "log")
    start_s = time.perf_counter()
    while not side.checkpoints(whole) and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.005)
    start_s = time.perf_counter() - start_s
    try:
        _, status = os.waitpid(child, 0)
    except ChildProcessError:
        status = 1
    if status:
        raise SystemExit(f"{side.name} can't train at all:\n{(work / 'log').read_text()[-2000:]}")
    truth = weights_hash(side.final(whole))
    while result.kills < kills:
        folder = work / f"run{result.runs}"
        while True:
            # What an earlier kill left is not this one's, when it falls before the start has looked.
            before = side.half_written(folder)
            child = fork(lambda folder=folder: side.train(model, folder), work / "log")  # type: ignore[misc]
            status = None
            if result.kills < kills:
                early = chance.random() < 0.2
                status = None if early else first_save(side, folder, child)
                if status is None:
                    time.sleep(chance.uniform(0, start_s if early else SPREAD_S))
                    os.kill(child, signal.SIGKILL)
            if status is None:
                _, status = os.waitpid(child, 0)
            if os.WIFSIGNALED(status):
                result.kills += 1
                result.inside_save += bool(side.half_written(folder) - before)
            elif os.WEXITSTATUS(status) == 0:
                break
            else:
                result.failed_resumes += 1
                result.errors.append((work / "log").read_text().strip().splitlines()[-1][:160])
                shutil.rmtree(side.checkpoints(folder)[-1])
        result.runs += 1
        result.runs_equal += weights_hash(side.final(folder)) == truth
        shutil.rmtree(folder)
    result.seconds = time.perf_counter() - begun
    return result


def show(results: list[Result]) -> None:
    """Print the results side by side."""
    rows = [
        ("kills", lambda r: f"{r.kills}"),
        ("of them inside a save", lambda r: f"{r.inside_save}"),
        ("starts that failed (a person had to help)", lambda r: f"{r.failed_resumes}"),
        ("runs with the weights of an unbroken run", lambda r: f"{r.runs_equal} of {r.runs}"),
        ("seconds", lambda r: f"{r.seconds:.0f}"),
    ]
    print(f"{'':<44}" + "".join(f"{result.side:>24}" for result in results))
    for name, cell in rows:
        print(f"{name:<44}" + "".join(f"{cell(result):>24}" for result in results))
    for result in results:
        for error in sorted(set(result.errors)):
            print(f"  {result.side}: {error}")


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", choices=("both", "ours", "theirs"), default="both")
    parser.add_argument("--json", type=Path, help="another file than benches/results/crash.json")
    options = parser.parse_args()
    sides = {"both": [OURS, THEIRS], "ours": [OURS], "theirs": [THEIRS]}[options.side]
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["FASTFT_CACHE"] = str(Path(scratch) / "cache")
        model = Path(scratch) / "model"
        _, status = os.waitpid(fork(lambda: make_model(model), Path(scratch) / "log"), 0)  # libraries start threads
        if status:
            raise SystemExit((Path(scratch) / "log").read_text())
        for side in sides:
            work = Path(scratch) / side.name
            work.mkdir()
            results.append(measure(side, model, work, options.kills, options.seed))
            show(results[-1:])
    show(results)
    figures = {"steps": STEPS, "torch": torch.__version__, "transformers": transformers.__version__}
    keep("crash", figures | {"results": [asdict(r) for r in results]}, target=options.json)


if __name__ == "__main__":
    sys.exit(main())
