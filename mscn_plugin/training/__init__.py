"""The training task with its hooks, and exact resume.

What is claimed: on CPUs, with the same machine, software, configuration, number of processes and
threads, a run of ``mscn_task`` with SimCLR or BYOL that is killed any number of times and started
again ends with the weights, statistics, target network and optimizer state of an unbroken run, bit
for bit.
"""
