"""A real SLURM of one node on this machine: munged, slurmctld and slurmd in a folder of their own.

    python tests/slurm_cluster.py <folder> <command> ...

Runs a command with a SLURM of the partition ``here``. The node declares more processors, memory and
GPUs than there are, since VISSL asks for what its defaults say. Without slurmdbd ``sacct`` knows
nothing: a stand-in answers what submitit and VISSL ask it, from what ``scontrol`` says.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=30
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=64 RealMemory=1000000 Gres=gpu:16 State=UNKNOWN
PartitionName=here Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
"""
SACCT = """\
#!/bin/sh
echo "JobID|State|NodeList"
scontrol show job -o | sed -En 's/^JobId=([0-9]+) .* JobState=([A-Z_]+) .*$/\\1|\\2|{host}/p'
"""


def missing() -> str:
    """Why there can be no SLURM here, or nothing."""
    if os.getuid() != 0:
        return "SLURM's daemons need root"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    absent = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    return f"no {', '.join(absent)}: apt-get install slurm-wlm munge" if absent else ""


@contextlib.contextmanager
def started(folder: Path):
    """Start the daemons; yields the variables by which SLURM's programs find them."""
    folder.mkdir(parents=True, exist_ok=True)
    host = socket.gethostname().split(".")[0]
    (folder / "munge").mkdir(mode=0o755)
    (folder / "bin").mkdir()
    (folder / "state").mkdir()
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    controller, daemon = free_ports(2)
    places = {"host": host, "folder": folder, "controller": controller, "daemon": daemon}
    (folder / "slurm.conf").write_text(CONF.format(**places))
    for number in range(16):  # GPUs are counted by their files
        (folder / f"gpu{number}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-15]\n")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    (folder / "bin" / "sacct").write_text(SACCT.format(host=host))
    (folder / "bin" / "sacct").chmod(0o755)
    path = f"{folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"
    variables = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    munged = [
        *("munged", "--foreground", "--force", f"--key-file={key}"),
        *(f"--socket={folder}/munge/socket", f"--pid-file={folder}/munge/pid"),
        *(f"--seed-file={folder}/munge/seed", f"--log-file={folder}/munge/log"),
    ]
    daemons = []
    try:
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            with (folder / f"{command[0]}.out").open("w") as output:
                daemons.append(
                    subprocess.Popen(
                        command, env={**os.environ, **variables}, stdout=output, stderr=output
                    )
                )
            if command is munged:
                wait_for(lambda: (folder / "munge" / "socket").exists())
        idle = ["sinfo", "--noheader", "--partition=here", "--format=%T"]
        wait_for(lambda: output_of(idle, variables).strip() == "idle")
        yield variables
    finally:
        with contextlib.suppress(AssertionError):  # slurmd would wait for jobs that are left
            output_of(["scancel", "--user=root"], variables)
            wait_for(lambda: not output_of(["squeue", "--noheader"], variables), 10)
        for process in reversed(daemons):
            process.kill()
            process.wait()


def free_ports(count: int):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()


def output_of(command, variables) -> str:
    result = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True
    )
    return result.stdout + result.stderr


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited for {seconds} s in vain"
        time.sleep(0.05)


if __name__ == "__main__":
    with started(Path(sys.argv[1]).resolve()) as found:
        sys.exit(subprocess.call(sys.argv[2:], env={**os.environ, **found}))
