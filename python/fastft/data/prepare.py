"""From sources to token stores: run the engine, tell how far it is, settle the books."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core import paths
from fastft.core.errors import DataError
from fastft.core.events import DataReady, Warned
from fastft.core.units import count
from fastft.data.copies import with_copies
from fastft.data.dataset import TokenStore
from fastft.data.engine import engine
from fastft.data.plan import EnginePlan, make_plan
from fastft.data.proof import tell, watched
from fastft.data.watch import Watch, tell_unused

if TYPE_CHECKING:
    from fastft.config.kinds import Stage, TokenizerFiles
    from fastft.config.schema import DataConfig, SourceConfig
    from fastft.core.events import Bus


@dataclass(frozen=True)
class Prepared:
    """Data that is ready to be trained on.

    Attributes:
        train: the rows to train on.
        eval: the rows to evaluate on, None without.
        books: what became of each row: `total` and `sources` of the training data, `split`, `eval` when evaluation
            has sources of its own, and `asked` when an endpoint wrote copies.
        key: content key of the training data (and of the evaluation's own).
        cached: nothing had to be made.
        seconds: how long it took.
        sources: for each source its name, path, files, bytes, hash, rows and the format that was used.
        plan: how the training rows were made.
    """

    train: TokenStore
    eval: TokenStore | None
    books: dict[str, Any]
    key: str
    cached: bool
    seconds: float
    sources: list[dict[str, Any]]
    plan: EnginePlan


def prepare(
    data: DataConfig,
    stage: Stage,
    tokenizer: TokenizerFiles,
    *,
    seed: int,
    eval_fraction: float = 0.0,
    config_dir: Path | None = None,
    cache: Path | None = None,
    out: Path | None = None,
    bus: Bus,
) -> Prepared:
    """Make tokens of the sources, or find those made before.

    Args:
        data: which rows, and how they become tokens.
        stage: which tokens carry a loss.
        tokenizer: makes ids.
        seed: of the choice of evaluation rows, when `data.seed` is absent.
        eval_fraction: part of the training rows set aside, when `data.eval` names no source.
        config_dir: where relative paths are looked for when the working directory has no such file.
        cache: folder of prepared data; None is fastft's.
        out: the run's folder: `data/manifest.json` and `data/rejected.jsonl` are written there.
        bus: hears of progress, warnings and the end.

    Raises:
        DataError: nothing is left to train on, too many rows are bad, or a source can't be used.
        ConfigError: the template can't be found.
    """
    begin = time.monotonic()
    cache = cache or paths.cache_folder()
    chosen_seed = data.chosen_seed(seed)
    made = [_make(data, data.train, stage, tokenizer, config_dir, cache, bus, chosen_seed)]
    fraction = 0.0 if data.eval else eval_fraction
    if data.eval:
        made.append(_make(data, data.eval, stage, tokenizer, config_dir, cache, bus, chosen_seed, as_they_are=True))
        train, evaluation = (
            TokenStore.open(made[0].folder, mix=made[0].plan.mix),
            TokenStore.open(made[1].folder),
        )
    elif fraction > 0:
        train = TokenStore.open(made[0].folder, "train", fraction, chosen_seed, made[0].plan.mix)
        evaluation = TokenStore.open(made[0].folder, "eval", fraction, chosen_seed)
    else:
        train, evaluation = TokenStore.open(made[0].folder, mix=made[0].plan.mix), None
    for part, store, name in zip(made, (train, evaluation), ("train", "eval"), strict=False):
        _check(data, part, store, name)
    if fraction > 0 and not len(train):
        raise DataError(
            "all rows are alike, so none is left to train on after the evaluation part",
            hint="set `eval.fraction = 0`, or name `data.eval`",
            code="data.empty",
        )
    books = dict(made[0].manifest["books"])
    books["split"] = {"train": train.counts()} | ({} if evaluation is None else {"eval": evaluation.counts()})
    if made[0].asked is not None:
        books["asked"] = made[0].asked
    if data.eval:
        books["eval"] = made[1].manifest["books"]
    key = "-".join(part.key for part in made)
    prepared = Prepared(
        train=train,
        eval=evaluation,
        books=books,
        key=key,
        cached=all(part.cached for part in made),
        seconds=time.monotonic() - begin,
        sources=[source for part in made for source in part.sources()],
        plan=made[0].plan,
    )
    if out is not None:
        _write_books(out / "data", prepared, made)
    for part in made:
        _tell(part, bus, out)
    bus.emit(DataReady(key=key, cached=prepared.cached, books=books, seconds=prepared.seconds))
    return prepared


@dataclass(frozen=True)
class _Made:
    folder: Path
    key: str
    cached: bool
    manifest: dict[str, Any]
    plan: EnginePlan
    names: dict[str, str]
    """What this config calls files that the store, made from the same bytes elsewhere, calls otherwise."""
    asked: dict[str, Any] | None = None
    """What endpoints were asked for copies, and what came of it."""

    def sources(self) -> list[dict[str, Any]]:
        found = []
        for index, source in enumerate(self.manifest["sources"]):
            files = [file for file in self.manifest["files"] if file["source"] == index]
            found.append(
                {
                    "name": source["name"],
                    "path": json.loads(self.plan.json)["sources"][index]["path"],
                    **({"origin": self.plan.origins[index]} if self.plan.origins[index] else {}),
                    "files": [{"path": f["path"], "bytes": f["bytes"], "hash": f["digest"]} for f in files],
                    "bytes": sum(file["bytes"] for file in files),
                    "hash": files[0]["digest"] if len(files) == 1 else self.key,
                    "rows": self.manifest["books"]["sources"].get(source["name"], {}).get("read", 0),
                    "format": source["format"],
                    "guessed": source["guessed"],
                }
            )
        return found


def _make(
    data: DataConfig,
    sources: Sequence[SourceConfig],
    stage: Stage,
    tokenizer: TokenizerFiles,
    config_dir: Path | None,
    cache: Path,
    bus: Bus,
    seed: int,
    as_they_are: bool = False,
) -> _Made:
    options: dict[str, Any] = {"config_dir": config_dir, "cache": cache, "augment_seed": seed, "asks": True}
    plan = make_plan(data, sources, stage, tokenizer, **options, as_they_are=as_they_are, bus=bus)
    asked = None
    if not as_they_are:
        plan, asked = with_copies(plan, data, seed=seed, cache=cache, bus=bus)
    progress = engine().Progress()
    with watched(tokenizer, cache), Watch(progress, bus):
        try:
            found = engine().prepare(plan.json, progress, plan.fallback)
        except DataError as error:
            if data.truncate != "error" or data.on_bad == "fail" or "E_TOO_LONG" not in error.code:
                raise
            hint = "it ends here because of `data.truncate`: choose another, or raise `data.max_length`"
            raise DataError(error.message, hint=hint, code=error.code, path=error.path, line=error.line) from None
    folder = Path(found["folder"])
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    names = {
        file["path"]: name for file, name in zip(manifest["files"], found["files"], strict=True) if file["path"] != name
    }
    for file in manifest["files"]:
        file["path"] = names.get(file["path"], file["path"])
    return _Made(folder, found["key"], found["cached"], manifest, plan, names, asked)


def _check(data: DataConfig, made: _Made, store: TokenStore | None, name: str) -> None:
    """The rules about bad rows, which hold for prepared data from the cache as well."""
    total = made.manifest["books"]["total"]
    bad = sum(total["quarantined"].values())
    if bad and data.on_bad == "fail":
        first = json.loads((made.folder / "rejected.jsonl").read_text("utf-8").split("\n", 1)[0])
        raise DataError(
            first["reason"],
            hint=_on_bad_hint(first["code"]),
            code=f"data.{first['code']}",
            path=made.names.get(first["file"], first["file"]),
            line=first["line"],
        )
    if bad > data.max_bad_fraction * total["read"]:
        raise DataError(
            f"{bad:,} of {count(total['read'], 'row')} of `data.{name}` can't be used ({_by_code(total['quarantined'])}), "
            f"more than `data.max_bad_fraction` = {data.max_bad_fraction:g}",
            hint=f"see {made.folder / 'rejected.jsonl'}",
            code="data.too-many-bad",
        )
    if total["used"] == 0 or store is None:
        raise _nothing_left(made, total, name, bad)


def _on_bad_hint(code: str) -> str:
    if code == "E_TOO_LONG":
        return "raise `data.max_length`, or choose another `data.truncate`"
    return 'with `data.on_bad = "quarantine"` such rows are set aside and listed'


def _nothing_left(made: _Made, total: dict[str, Any], name: str, bad: int) -> DataError:
    """What became of the rows when none is left, and what would keep some."""
    if not total["read"]:
        files = ", ".join(f"`{file['path']}`" for file in made.manifest["files"][:3])
        return DataError(
            f"there is no row in the files of `data.{name}`: {files}", hint="are they complete?", code="data.empty"
        )
    filtered, dropped = total.get("filtered", {}), total["dropped"].get("too_long", 0)
    parts = [f"{total['read']:,} read"]
    parts += [f"{bad:,} can't be used ({_by_code(total['quarantined'])})"] if bad else []
    parts += [f"{sum(filtered.values()):,} left out by rules ({_by_code(filtered)})"] if filtered else []
    parts += [f"{dropped:,} longer than `data.max_length`"] if dropped else []
    if filtered and sum(filtered.values()) >= max(bad, dropped):
        hint = f"loosen the rules of `data.clean`; each row is listed in {made.folder / 'left_out.jsonl'}"
    elif bad >= dropped:
        hint = f"see {made.folder / 'rejected.jsonl'}"
    else:
        hint = "raise `data.max_length` or set `data.truncate`"
    return DataError(f"no row of `data.{name}` is left: {', '.join(parts)}", hint=hint, code="data.empty")


def _by_code(counts: dict[str, int]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in sorted(counts.items()))


def _write_books(folder: Path, prepared: Prepared, made: Sequence[_Made]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        "key": prepared.key,
        "cached": prepared.cached,
        "seconds": prepared.seconds,
        "stores": [str(part.folder) for part in made],
        "books": prepared.books,
        "sources": prepared.sources,
        "notes": [part.manifest["notes"] for part in made],
    }
    paths.write_atomic(folder / "manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    paths.write_atomic(folder / "rejected.jsonl", b"".join(_rejected(part) for part in made))


def _rejected(made: _Made) -> bytes:
    """The rows that can't be used, by the names that this config has for their files."""
    rows = (made.folder / "rejected.jsonl").read_bytes()
    if not made.names:
        return rows
    renamed = []
    for line in rows.splitlines():
        row = json.loads(line)
        row["file"] = made.names.get(row["file"], row["file"])
        renamed.append(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    return "".join(renamed).encode()


_SHOWN = ("messages", "prompt", "completion", "instruction", "input", "output", "text", "chosen", "rejected")


def _inline(found: dict[str, Any]) -> str:
    """A format as a table of TOML with the columns that it is known by."""
    kept = {key: found[key] for key in ("kind", *_SHOWN) if found.get(key)}
    return "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in kept.items()) + "}"


def _tell(made: _Made, bus: Bus, out: Path | None) -> None:
    """Say what the user should know of rows, formats and cuts."""
    for source in made.manifest["sources"]:
        if source["guessed"]:
            bus.emit(
                Warned(
                    "data.format-found",
                    f"source `{source['name']}` is read as `{source['format']['kind']}`, found from its first rows",
                    hint=f"name it to be sure: format = {_inline(source['format'])}",
                )
            )
    if not made.cached:  # who finds the store was told when it was made
        tell_unused(made.plan.unused, bus)
    if made.plan.slow_template is not None:
        bus.emit(
            Warned(
                "data.template-in-python",
                f"the chat template is rendered by transformers, a row at a time: {made.plan.slow_template}",
            )
        )
    if made.plan.ids is not None:
        tell(made.plan.ids, bus)
    for sentence in made.manifest["warnings"]:
        bus.emit(Warned("data.source", sentence))
    total = made.manifest["books"]["total"]
    if bad := sum(total["quarantined"].values()):
        place = (out / "data" if out is not None else made.folder) / "rejected.jsonl"
        bus.emit(
            Warned(
                "data.quarantined",
                f"{bad:,} of {count(total['read'], 'row')} can't be used ({_by_code(total['quarantined'])})",
                hint=f"each is listed with file, line and reason in {place}",
            )
        )
    if dropped := total["dropped"].get("too_long", 0):
        bus.emit(
            Warned(
                "data.dropped",
                f"{dropped:,} of {count(total['read'], 'row')} left out: longer than `data.max_length`",
                hint="raise `data.max_length`, or choose another `data.truncate`",
            )
        )
    if cut := total["cut_rows"]:
        said = f"{count(cut, 'row')} cut, by {count(total['cut_tokens'], 'token')}"
        bus.emit(Warned("data.cut", said))
