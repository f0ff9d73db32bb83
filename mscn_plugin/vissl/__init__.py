"""All that is registered or replaced in VISSL: the command line, the launcher, the checks."""
