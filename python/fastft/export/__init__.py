"""Trained models as folders that other tools read."""

from fastft.export.merged import Exported, export_merged

__all__ = ["Exported", "export_merged"]
