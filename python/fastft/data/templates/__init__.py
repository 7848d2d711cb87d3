"""Chat templates: which one a run uses, and proof that the engine renders it as transformers does.

    data.template = "auto"              the tokenizer's own
                    "qwen3"             a built-in one: a file of this folder, see `catalog.py`
                    "my/chat.jinja"     a file

Before a template is used, the engine's rendering of every conversation in `probes.py` is compared
with transformers'. A template that passes is rendered by the engine; one that does not is rendered
by transformers, row by row, which is slower and just as right. The verdict is kept in the cache, so
that the next run imports neither transformers nor torch. Built-in templates mark answers by
`{% generation %}`; a tokenizer whose own template reads as one of the official ones gets the
built-in twin, compared with the tokenizer's own.
"""

from __future__ import annotations

from fastft.data.templates.catalog import BuiltinTemplate, builtin, table
from fastft.data.templates.choose import ChosenTemplate, choose, problem_of

__all__ = ["BuiltinTemplate", "ChosenTemplate", "builtin", "choose", "problem_of", "table"]
