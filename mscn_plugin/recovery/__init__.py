"""Exact resume: a run that was killed goes on as if it never had been.

What is claimed: on CPUs, with the same machine, software, configuration, number of processes and
threads, a run of ``mscn_task`` with SimCLR or BYOL that is killed any number of times and started
again ends with the weights, statistics, target network and optimizer state of an unbroken run, bit
for bit.
"""

import mscn_plugin.integration.quiet_warnings  # noqa: F401  before VISSL is imported
