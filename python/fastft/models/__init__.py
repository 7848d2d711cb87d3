"""Models: found, read, checked, saved and merged."""

from fastft.models.load import Loaded, load
from fastft.models.resolve import resolve
from fastft.models.save import load_trained, save_trained
from fastft.models.tokenizer import load_tokenizer, tokenizer_files

__all__ = ["Loaded", "load", "load_tokenizer", "load_trained", "resolve", "save_trained", "tokenizer_files"]
