"""``python -m mscn_plugin.cli``, which is ``mscn``."""

from mscn_plugin.cli import main

if __name__ == "__main__":
    main()
