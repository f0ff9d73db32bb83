"""Stand-ins for SLURM's programs: a job is a process of this machine, and begins at once.

They know what submitit calls, and of that jobs of one task alone; what a job asks for is passed
over. :mod:`slurm_cluster` starts a real SLURM.
"""

from __future__ import annotations

from pathlib import Path

PROGRAMS = {
    "sbatch": """
cp "$1" "$jobs/$$.sh"  # submitit moves its own
export SLURM_JOB_ID=$$
setsid sh -c '
    while rm -f "$0.requeued"; sh "$0.sh"; code=$?; [ -e "$0.requeued" ]; do :; done
    echo $code > "$0.code"
' "$jobs/$$" < /dev/null > /dev/null 2>&1 &
echo "Submitted batch job $$"
""",
    "srun": """
log() { echo "$1" | sed "s/%j/$SLURM_JOB_ID/; s/%t/0/"; }
while :; do
    case $1 in
        --output) exec >> "$(log "$2")"; shift 2 ;;
        --error) exec 2>> "$(log "$2")"; shift 2 ;;
        --*) shift ;;
        *) break ;;
    esac
done
echo $$ > "$jobs/$SLURM_JOB_ID.pid"
exec "$@"
""",
    "scontrol": """
[ "$1" = requeue ] && touch "$jobs/$2.requeued"
""",
    "scancel": """
[ "$2" = --signal ] && kill -s "${3#SIG}" "$(cat "$jobs/$1.pid")"
""",
    "sacct": """
echo "JobID|State|NodeList"
for script in "$jobs"/*.sh; do
    job=${script%.sh}
    case $(cat "$job.code" 2> /dev/null) in
        "") state=RUNNING ;;
        0) state=COMPLETED ;;
        *) state=FAILED ;;
    esac
    echo "$(basename "$job")|$state|localhost"
done
""",
}


def write(folder: Path) -> Path:
    """Write the programs into a new folder of ``folder``, and return it, for ``PATH``."""
    programs, jobs = folder / "bin", folder / "jobs"
    programs.mkdir()
    jobs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\njobs='{jobs}'\n{text.lstrip()}")
        (programs / name).chmod(0o755)
    return programs
