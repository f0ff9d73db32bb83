"""The quickstart's images: labelled patches of photographs that the installed packages bring."""

from mscn_plugin.data.photographs import build_photographs

__all__ = ["build_photographs"]
