from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import run_helpers as helpers
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from fastft.core.errors import ConfigError
from fastft.models.devices import Device
from fastft.run.plan import Place, Size, make_plan, measure

GPU = Device("cuda", 0, "GPU", 80 << 30, 80 << 30)
SMALL = Size(parameters=135_000_000, hidden=576, intermediate=1536, layers=30, vocabulary=49152, attention=576)


def codes(config: Any, devices: list[Device], **parts: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        make_plan(config, devices, **parts)
    return [problem.code for problem in error.value.problems]


@pytest.mark.parametrize(
    ("batch", "windows"),
    [({}, 8), ({"windows": 3}, 3), ({"tokens": 32 * 5 + 1}, 5), ({"tokens": 1}, 1)],
)
def test_a_step_has_as_many_windows_as_the_batch_says(batch: dict[str, int], windows: int) -> None:
    plan = make_plan(helpers.config(batch=batch), [helpers.CPU])
    assert plan.windows_per_step == windows
    assert plan.tokens_per_step == windows * 32


def test_groups_of_s2_are_a_quarter_of_the_window_or_as_asked() -> None:
    def group(length: int, **model: Any) -> int | None:
        run = helpers.config(data__max_length=length, model={"path": "tiny", **model})
        return make_plan(run, [helpers.CPU]).s2_group

    assert [group(n, attention="s2") for n in (32, 33, 40, 41, 8192)] == [8, 10, 10, 12, 2048]
    assert group(32, attention="s2", s2_group=6) == 6
    assert group(32) is None


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"s2_group": 8}, '`s2_group` has no effect without `attention = "s2"`'),
        ({"attention": "s2", "s2_group": 7}, "multiple of 2"),
        ({"attention": "s2", "s2_group": 0}, "greater than or equal to 2"),
        ({"attention": "s2", "s2_group": 32}, "`model.s2_group` is not below `data.max_length`"),
    ],
)
def test_a_size_of_groups_without_effect_is_refused(model: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        helpers.config(model={"path": "tiny", **model})


def test_micro_batches_share_out_a_step_over_ranks() -> None:
    plan = make_plan(helpers.config(batch={"windows": 9, "micro": 2}), [helpers.CPU], place=Place(1, 2, 1))
    assert (plan.micro, plan.accumulation, plan.world, plan.rank) == (2, 3, 2, 1)
    assert make_plan(helpers.config(batch={"windows": 3, "micro": 8}), [helpers.CPU]).micro == 3


def test_the_micro_batch_is_what_fits_the_memory() -> None:
    run = helpers.config(data__max_length=2048, batch={"windows": 64})
    plans = [make_plan(run, [Device("cpu", 0, "CPU", free << 30, free << 30)], size=SMALL) for free in (10, 24, 1000)]
    assert plans[0].micro < plans[1].micro < plans[2].micro == 64
    assert all(0 < plan.estimated_bytes <= plan.memory_bytes for plan in plans)


def test_recomputing_and_adapters_need_less() -> None:
    def estimate(**changes: Any) -> int:
        run = helpers.config(data__max_length=2048, batch={"windows": 1, "micro": 1}, **changes)
        return make_plan(run, [helpers.CPU], size=SMALL).estimated_bytes

    assert estimate(model__recompute="full") < estimate()
    assert estimate(method={"kind": "lora"}) < estimate()


MEASURED = [
    # layers, method, recompute, tokens of a window, windows, MiB: peak resident size of a process after two steps of
    # SmolLM2-135M or its first four layers, LoRA r = 16 or full, AdamW, float32, one thread
    (4, "lora", "none", 512, 1, 1181),
    (4, "lora", "none", 512, 4, 1559),
    (4, "full", "none", 512, 1, 1634),
    (4, "full", "none", 512, 4, 2036),
    (30, "lora", "none", 512, 1, 2334),
    (30, "lora", "none", 512, 2, 3286),
    (30, "lora", "full", 512, 2, 2053),
    (30, "lora", "full", 512, 4, 2598),
    (4, "lora", "none", 2048, 1, 1573),
]


@pytest.mark.parametrize("case", MEASURED, ids=str)
def test_the_estimate_is_not_below_what_was_measured(case: tuple[Any, ...]) -> None:
    layers, method, recompute, tokens, windows, measured = case
    size = replace(SMALL, layers=layers, parameters=28_312_128 + 3_540_096 * layers)
    run = helpers.config(
        data__max_length=tokens,
        method={"kind": method},
        model__recompute=recompute,
        batch={"windows": windows, "micro": windows},
    )
    ratio = make_plan(run, [helpers.CPU], size=size).estimated_bytes / (measured << 20)
    assert 0.95 <= ratio <= 1.3


def test_a_gpu_does_not_hold_the_process_and_a_wider_adapter_is_more() -> None:
    def estimate(device: Device, **method: Any) -> int:
        run = helpers.config(device="auto", model__dtype="float32", method={"kind": "lora", **method})
        return make_plan(run, [device, helpers.CPU], size=SMALL).estimated_bytes

    assert estimate(helpers.CPU) - estimate(GPU) == 850 << 20
    assert estimate(GPU, rank=64) - estimate(GPU, rank=16) > 48 * 30 * 16 * 9000


def test_a_model_that_can_not_fit_is_a_problem_unless_the_user_insists() -> None:
    tiny = [Device("cpu", 0, "CPU", 1 << 30, 1 << 30)]
    run = helpers.config(batch={"windows": 4})
    assert codes(run, tiny, size=SMALL) == ["plan.memory"]
    assert make_plan(helpers.config(batch={"windows": 4, "micro": 1}), tiny, size=SMALL).micro == 1


def test_all_that_a_machine_can_not_do_is_told_at_once() -> None:
    run = helpers.config(device="cuda", strategy__kind="single", batch={"windows": 1}, model__dtype="float16")
    assert codes(run, [helpers.CPU], place=Place(0, 2, 0)) == [
        "plan.no-cuda",
        "plan.single-of-many",
        "plan.idle-ranks",
        "plan.half-weights",
    ]


def test_a_process_without_a_gpu_of_its_own_is_a_problem() -> None:
    run = helpers.config(device="cuda", strategy__kind="ddp")
    assert codes(run, [GPU, helpers.CPU], place=Place(1, 2, 1)) == ["plan.too-few-gpus"]
    assert make_plan(run, [GPU, helpers.CPU], place=Place(0, 2, 0)).device == "cuda:0"


def test_auto_takes_the_gpu_and_ddp_where_there_are_several_processes() -> None:
    assert make_plan(helpers.config(device="auto"), [GPU, helpers.CPU]).device == "cuda:0"
    assert make_plan(helpers.config(device="auto"), [helpers.CPU]).device == "cpu"
    assert make_plan(helpers.config(), [helpers.CPU]).strategy == "single"
    assert make_plan(helpers.config(), [helpers.CPU], place=Place(0, 2, 0)).strategy == "ddp"
    assert make_plan(helpers.config(), [helpers.CPU]).dtype == "float32"
    assert make_plan(helpers.config(model__dtype="bfloat16"), [helpers.CPU]).dtype == "bfloat16"


def test_a_model_is_measured_by_its_headers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 10, "intermediate_size": 16})
    )
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, tmp_path / "model.safetensors", {"format": "pt"})
    assert measure(tmp_path) == Size(22, 8, 16, 2, 10, 8)
    assert measure(tmp_path / "nothing") is None


def test_the_record_is_the_same_on_every_rank() -> None:
    plans = [make_plan(helpers.config(), [helpers.CPU], place=Place(rank, 2, rank)) for rank in (0, 1)]
    assert plans[0].record() == plans[1].record()
    assert json.loads(json.dumps(plans[0].record()))["windows_per_step"] == 4
