"""The MSCN section of a configuration, what is inferred, and the checks of all the rest."""
