"""Real chat templates, where FASTFT_ASSETS has them: how many the engine renders, and whose masks it finds.

The reference is transformers' `render_jinja_template`; masks are compared with the oracle of
`test_ids_and_masks.py`, which renders prefixes with transformers only. The built-in templates are
compared with the models' own.
"""

from __future__ import annotations

import datetime
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from test_ids_and_masks import Side, fixture, probes

from fastft.data.templates import _certify, catalog

pytestmark = pytest.mark.parity

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
FALL_BACK = {"meetkai-functionary-medium-v3.1.jinja": "adds plain texts to ones marked safe, which escapes them"}
"""Templates that transformers has to render, and why."""

DEEPSEEK = {
    "bos_token": "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
    "eos_token": "<\uff5cend\u2581of\u2581sentence\uff5c>",
}
SEED = {"bos_token": "<seed:bos>", "eos_token": "<seed:eos>"}
OWN: dict[str, tuple[str, dict[str, str], int]] = {
    "qwen": ("Qwen-Qwen2.5-7B-Instruct.jinja", SPECIAL, 50),
    "qwen3": ("Qwen-Qwen3-0.6B.jinja", SPECIAL, 40),
    "llama3": ("meta-llama-Llama-3.1-8B-Instruct.jinja", SPECIAL, 30),
    "phi3": ("microsoft-Phi-3.5-mini-instruct.jinja", SPECIAL, 10),
    "gemma": ("google-gemma-2-2b-it.jinja", SPECIAL, 10),
    "mistral": ("mistralai-Mistral-Nemo-Instruct-2407.jinja", SPECIAL, 20),
    "deepseek3": ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja", DEEPSEEK, 4),
    "seed_oss": ("ByteDance-Seed-OSS.jinja", SEED, 4),
    "granite3": ("ibm-granite-granite-3.3-2B-Instruct.jinja", SPECIAL, 2),
    "mistral_small": ("Mistral-Small-3.2-24B-Instruct-2506.jinja", SPECIAL, 2),
}
"""Built-in to the model's own template, special tokens, and how many probes have to agree at least."""


@pytest.fixture(scope="session")
def real_templates() -> dict[str, str]:
    folder = Path(os.environ.get("FASTFT_ASSETS", "")) / "chat_templates"
    if not os.environ.get("FASTFT_ASSETS") or not folder.is_dir():
        pytest.skip("FASTFT_ASSETS names no folder with `chat_templates`")
    return {path.name: path.read_text("utf-8") for path in sorted(folder.glob("*.jinja"))}


@pytest.mark.slow
def test_the_engine_renders_nearly_all_real_templates_as_transformers_does(real_templates, capsys):
    differences = {
        name: found
        for name, source in real_templates.items()
        if (found := _certify.difference(source, source, SPECIAL)) is not None
    }
    rate = 1 - len(differences) / len(real_templates)
    with capsys.disabled():
        print(f"\n{len(real_templates) - len(differences)} of {len(real_templates)} real templates ({rate:.1%})")
        for name, found in differences.items():
            print(f"  {name}: {found[:200]}")
    assert differences.keys() <= FALL_BACK.keys()
    assert rate >= 0.97


@pytest.mark.slow
def test_masks_equal_the_oracle_on_real_templates(real_templates, capsys):
    outcomes: Counter[str] = Counter()
    for name, source in real_templates.items():
        if name in FALL_BACK:
            continue
        if "{% generation" in source.replace("{%-", "{%"):
            continue  # such a template says itself what the answers are
        today = datetime.date.today().isoformat()
        side = Side(fixture("chatml_tokenizer.json"), source, SPECIAL, special_in_text="parse", today=today)
        outcomes.update(side.check(row) for row in probes())
    with capsys.disabled():
        print(f"\nmasks on real templates: {dict(outcomes)}")
    assert outcomes["equal"] + outcomes["equal with another content"] > 1000


@pytest.mark.parametrize("name", OWN)
def test_built_in_templates_read_as_the_models_own(name, real_templates, capsys):
    own, special, least = OWN[name]
    agree, differ, refused = 0, [], 0
    for row in probes():
        texts = []
        for source in (catalog.source(name), real_templates[own]):
            try:
                texts.append(_certify.render(source, special, row["messages"], row.get("tools"), False, "2025-01-01"))
            except Exception:
                texts.append(None)
        if texts == [None, None]:
            continue
        if None in texts:
            refused += 1
        elif texts[0] == texts[1]:
            agree += 1
        else:
            differ.append((json.dumps(row, ensure_ascii=False)[:120], texts))
    with capsys.disabled():
        print(f"\n{name}: {agree} agree, {len(differ)} differ, {refused} refused by one")
        for row, (ours, theirs) in differ[:1]:
            at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
            print(
                "   ",
                row,
                "\n    ours  ",
                repr(ours[max(0, at - 30) : at + 80]),
                "\n    theirs",
                repr(theirs[max(0, at - 30) : at + 80]),
            )
    assert agree >= least
