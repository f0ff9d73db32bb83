"""Installs mscn-plugin beside VISSL without touching VISSL's own top-level packages."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "mscn_plugin/__init__.py").read_text()).group(
    1
)


class BuildWithConfigs(build_py):
    """Packages ``configs/``, whose name belongs to VISSL's own package, as ``mscn_plugin/configs``.

    A development install reads the folder in place, so it is not a part of ``package_dir``.
    """

    def run(self):
        super().run()
        if not getattr(self, "editable_mode", False):
            target = Path(self.build_lib) / "mscn_plugin" / "configs"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(ROOT / "configs", target)


setup(
    name="mscn-plugin",
    version=VERSION,
    description="Masked Siamese ConvNets (Jing, Zhu, LeCun 2022) as a plugin for VISSL",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    # hydra_plugins is a namespace that all Hydra plugins share.
    packages=[
        *find_packages(include=["mscn_plugin", "mscn_plugin.*"]),
        "hydra_plugins.mscn_plugin_path",
    ],
    # Said openly, so that setuptools serves a development install by a plain path: Hydra does not
    # find plugins behind setuptools' import hook.
    package_dir={"": "."},
    package_data={"mscn_plugin": ["py.typed"]},
    # PyTorch's way to be extended without an import; see mscn_plugin/vissl/startup.py.
    entry_points={
        "torch.backends": ["mscn_plugin = mscn_plugin.vissl.startup:prepare_vissl"],
        "console_scripts": ["mscn = mscn_plugin.cli:main"],
    },
    cmdclass={"build_py": BuildWithConfigs},
    # VISSL is not named: pip would demand its pins of 2021, which no current Python can meet.
    install_requires=[
        "fvcore",
        "hydra-core>=1.3",
        "iopath",
        "jinja2",
        "matplotlib",
        "numpy",
        "opencv-python-headless>=4.5",
        "pillow",
        "pyyaml",
        "scikit-image>=0.18",
        "scikit-learn>=0.24",
        "scipy",
        "tabulate",
        "tensorboard",
        "torch>=2.4",
        "torchvision>=0.19",
        "tqdm",
    ],
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
