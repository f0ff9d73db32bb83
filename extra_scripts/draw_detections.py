"""``mscn draw detections`` from a checkout."""

from mscn_plugin.cli import script

if __name__ == "__main__":
    script("draw detections")
