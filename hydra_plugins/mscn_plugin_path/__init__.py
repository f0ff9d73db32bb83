"""Adds the MSCN configs to Hydra's search path, and MSCN to VISSL where VISSL is running.

Every application that uses Hydra imports this module if the package is installed, so it imports
nothing heavy: neither PyTorch nor VISSL unless VISSL is already imported.
"""

import sys

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class MSCNSearchPathPlugin(SearchPathPlugin):
    """Puts the packaged configs last, so that a ``configs`` folder of the user's own wins."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if "vissl" not in sys.modules:
            return
        from mscn_plugin import register
        from mscn_plugin.config.composed import store_schema
        from mscn_plugin.config.folder import config_folder
        from mscn_plugin.training.signals import interruption
        from mscn_plugin.vissl import composition
        from mscn_plugin.vissl.command_line import names_no_config, print_help
        from mscn_plugin.vissl.error_messages import print_errors_plainly
        from mscn_plugin.vissl.startup import asks_for_mscn

        print_help(sys.argv)
        search_path.append(provider="mscn-plugin", path=f"file://{config_folder()}")
        store_schema()
        composition.install()
        if asks_for_mscn(sys.argv):
            interruption.listen()
            print_errors_plainly()
        if names_no_config(sys.argv):
            print_errors_plainly()
        register()
