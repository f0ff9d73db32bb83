"""What pyproject.toml cannot say: where ``configs/`` goes, and a README apart from its files."""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithConfigs(build_py):
    """Packages ``configs/``, whose name belongs to VISSL's own package, as ``mscn_plugin/configs``.

    A development install reads the folder in place, so it is not a part of ``package-dir``.
    """

    def run(self):
        if getattr(self, "editable_mode", False):
            super().run()
            return
        shutil.rmtree(self.build_lib, ignore_errors=True)  # with what has been removed since
        super().run()
        shutil.copytree(ROOT / "configs", Path(self.build_lib) / "mscn_plugin" / "configs")


def readme():
    """README.md apart from its files: without their pictures, and of links to them the text."""
    code, ours = r"(```.*?```|`[^`\n]*`)", r"\]\((?!https?://)[^)]*\)"
    picture, link = rf"!\[[^\[\]]*{ours}", rf"\[((?:`[^`]*`|[^\[\]`])*){ours}"
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(rf"{code}|{picture}|{link}", r"\1\2", text, flags=re.DOTALL)


setup(
    long_description=readme(),
    long_description_content_type="text/markdown",
    cmdclass={"build_py": BuildWithConfigs},
)
