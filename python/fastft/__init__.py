"""fastft: fine-tune language models.

    import fastft

    run = fastft.train("config.toml")
    chat = fastft.load(run)
    print(chat.chat("Who are you?"))

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fastft.config.kinds import TokenizerFiles
    from fastft.config.schema import RunConfig
    from fastft.data.tokenizer import Tokenizer
    from fastft.export import Exported
    from fastft.run import Run
    from fastft.serve.chat import Chat

__version__ = "0.1.0"
__all__ = ["__version__", "export", "load", "load_config", "load_run", "tokenizer", "tokenizer_files", "train"]


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a config file.

    Args:
        path: the TOML file.
        overrides: `key=value` strings, as `--set` takes them.

    Raises:
        ConfigError: with every problem in it, in file order.
    """
    from fastft.config.load import load as read

    return read(path, overrides).config


def train(
    config: str | Path | RunConfig,
    overrides: Iterable[str] = (),
    *,
    out: str | Path | None = None,
    resume: str = "auto",
) -> Run:
    """Train as a config says, and return the finished run.

    Args:
        config: a TOML file, or a config made with `load_config`.
        overrides: `key=value` strings, as `--set` takes them; only with a file.
        out: the run's folder; by default `runs/<name>/<time>`.
        resume: `auto` goes on from the newest checkpoint in the folder, `never` starts anew, a path names a checkpoint.

    Raises:
        FastftError: see `fastft.core.errors`; `exit_code` says which kind.
    """
    from pathlib import Path

    from fastft.core import env

    env.share_cores()
    from fastft.run import train as run_training

    folder = None if out is None else Path(out)
    if isinstance(config, str | Path):
        from fastft.config.load import load as read

        loaded = read(config, overrides, files=True)
        return run_training(loaded.config, out=folder, resume=resume, origins=loaded.origins, source=loaded.path)
    return run_training(config, out=folder, resume=resume)


def tokenizer_files(config: RunConfig) -> TokenizerFiles:
    """The tokenizer of a config's model, as the data engine reads it."""
    from fastft.models import tokenizer_files as read

    return read(config.model)


def tokenizer(source: Any, *, trust_remote_code: bool = False) -> Tokenizer:
    """A tokenizer whose ids are those of the `tokenizers` library, many times as fast where fastft has code of its own.

    Args:
        source: a model's path or name, a `tokenizer.json` or its text, or a live fast tokenizer of transformers or
            `tokenizers`.
        trust_remote_code: let a model's own Python code make its tokenizer.

    Raises:
        ModelError: there is no tokenizer there, or it can't be used.
    """
    from pathlib import Path

    from fastft.data.tokenizer import Tokenizer, description

    text = source if isinstance(source, str) and source.lstrip().startswith("{") else description(source)
    if text is not None:
        return Tokenizer(text)
    path = Path(str(source))
    if path.suffix != ".json" or not path.is_file():
        from fastft.config.schema import ModelConfig
        from fastft.models import tokenizer_files as read

        path = read(ModelConfig(path=str(source), trust_remote_code=trust_remote_code)).folder / "tokenizer.json"
    return Tokenizer.open(path)


def load_run(path: str | Path) -> Run:
    """The run in a folder."""
    from fastft.run import load_run as read

    return read(path)


def load(run: Run | str | Path) -> Chat:
    """A trained run, or any model's path, ready to talk: `load(run).chat("Hello")`."""
    from fastft.serve.chat import open_chat

    return open_chat(_folder(run))


def export(run: Run | str | Path, out: str | Path) -> Exported:
    """Merge a run's adapter into its base model and write a folder that plain transformers loads.

    Returns:
        What was written: `path`, and how far its logits are from the adapted model's.

    Raises:
        VerificationError: the merged model's logits differ from the adapted one's; `out` is not written.
    """
    from fastft.export import export_merged

    return export_merged(_folder(run), out)


def _folder(run: Run | str | Path) -> str | Path:
    from pathlib import Path

    return run if isinstance(run, str | Path) else run.path


def __getattr__(name: str) -> Any:
    if name == "errors":
        from fastft.core import errors

        return errors
    if name == "data":
        import importlib

        return importlib.import_module("fastft.data")  # `from fastft import data` would ask here again
    raise AttributeError(f"module 'fastft' has no attribute {name!r}")
