"""Talking to a trained model."""

from fastft.serve.chat import Chat, converse, open_chat

__all__ = ["Chat", "converse", "open_chat"]
