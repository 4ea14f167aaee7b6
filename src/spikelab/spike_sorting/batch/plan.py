"""Write a batch as files for a batch system without dask: a job file for each job, and example scripts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spikelab.spike_sorting.backends import get_backend_class
from spikelab.spike_sorting.backends.base import GPU_UNUSED
from spikelab.spike_sorting.batch.jobfile import write_batch, write_job
from spikelab.system import files
from spikelab.system.memory import requested_memory
from spikelab.system.quoting import in_shell

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spikelab.spike_sorting.run.jobs import Job

SLURM, KUBERNETES, SNAKEFILE = "slurm_array.sh", "kubernetes_job.yaml", "Snakefile"
AT_ONCE = 50  # jobs
LONGEST_NAME = 150  # bytes; with number and suffix it must fit into a file name

SLURM_TEXT = """\
#!/bin/bash
# sbatch slurm_array.sh: one task of the array for each job file. Queue it again to continue.
#SBATCH --job-name=spikelab
#SBATCH --array=0-{last}%{at_once}
#SBATCH --cpus-per-task={cores}
#SBATCH --mem={memory_gib}G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=logs/%A_%a.out
{gpu}
set -euo pipefail
here="${{SLURM_SUBMIT_DIR:-$(cd -- "$(dirname -- "$0")" && pwd)}}"
jobs=("$here"/jobs/*.toml)
exec spikelab sort-one "${{jobs[$SLURM_ARRAY_TASK_ID]}}"
"""
KUBERNETES_TEXT = """\
# kubectl apply -f kubernetes_job.yaml: a pod for each job file. Image and volume are yours to fill in; the pods must
# see recordings, results and this folder under the paths that are in the job files.
apiVersion: batch/v1
kind: Job
metadata:
  name: spikelab
spec:
  completionMode: Indexed
  completions: {count}
  parallelism: {parallel}
  backoffLimitPerIndex: 3
  podFailurePolicy:
    rules:
      - action: FailIndex        # bad input (3), biology (10): trying again changes nothing
        onExitCodes: {{operator: In, values: [2, 3, 10]}}
      - action: Ignore           # evicted, or its node drained: not its fault
        onPodConditions: [{{type: DisruptionTarget}}]
      # All else, the environment (11) too, is tried again: another node may have what this one lacks.
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: sort
          image: REGISTRY/spikelab:latest
          command: [bash, -c]
          args:
            - |
              jobs=({folder}/jobs/*.toml)
              exec spikelab sort-one "${{jobs[$JOB_COMPLETION_INDEX]}}"
          resources:
            limits: {{cpu: "{cores}", memory: {memory_gib}Gi{gpu}}}
          volumeMounts:
            - {{name: data, mountPath: /data}}
      volumes:
        - name: data
          persistentVolumeClaim: {{claimName: DATA}}
"""
SNAKEFILE_TEXT = """\
# snakemake --cores all --keep-going: a mark in done/ for each job file that was sorted.
NAMES = glob_wildcards("jobs/{{name}}.toml").name

rule all:
    input: expand("done/{{name}}", name=NAMES)

rule sort_one:
    input: "jobs/{{name}}.toml"
    output: touch("done/{{name}}")
    threads: {cores}
    resources: mem_mb={memory_mib}{gpu}
    shell: "spikelab sort-one {{input:q}}"
"""


def write_plan(jobs: Sequence[Job], folder: Path) -> list[Path]:
    """Write a job file for each of `jobs`, and example scripts that run them; return the scripts.

    `folder` gets ``jobs/``, ``batch.json`` for ``spikelab status``, and the scripts; it loses job files of an earlier
    plan.
    """
    folder = folder.absolute()
    job_files = folder / "jobs"
    job_files.mkdir(parents=True, exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    width = len(str(len(jobs) - 1))
    names = [f"{number:0{width}d}_{plain_name(job.name)}.toml" for number, job in enumerate(jobs)]
    for old in set(job_files.glob("*.toml")) - {job_files / name for name in names}:
        old.unlink()
    for job, name in zip(jobs, names, strict=True):
        write_job(job, job_files / name)
    write_batch(jobs, folder)
    scripts = {folder / name: text for name, text in scripts_for(jobs, folder).items()}
    for script, text in scripts.items():
        files.write_text(script, text)
    return list(scripts)


def plain_name(name: str) -> str:
    """Replace characters that mean something in a shell, YAML or Snakemake; numbers in front keep names distinct."""
    plain = re.sub(r"[^\w.-]", "-", name)
    return plain.encode("utf-8", "replace")[:LONGEST_NAME].decode("utf-8", "ignore")


def scripts_for(jobs: Sequence[Job], folder: Path) -> dict[str, str]:
    """Make name and text of each example script; scripts request what the most demanding job may use."""
    cores = max(job.config.execution.n_jobs for job in jobs)
    memory = max(requested_memory(job.config.execution.total_memory) for job in jobs)
    sizes = {"cores": cores, "memory_gib": -int(-memory // 2**30), "memory_mib": -int(-memory // 2**20)}
    gpu = any(get_backend_class(j.config.sorter.sorter_name)(j.config).gpu_use() != GPU_UNUSED for j in jobs)
    parallel = min(len(jobs), AT_ONCE)
    return {
        SLURM: SLURM_TEXT.format(
            **sizes, last=len(jobs) - 1, at_once=parallel, gpu="#SBATCH --gres=gpu:1\n" if gpu else ""
        ),
        KUBERNETES: KUBERNETES_TEXT.format(
            **sizes,
            count=len(jobs),
            parallel=parallel,
            folder=in_shell(folder),
            gpu=", nvidia.com/gpu: 1" if gpu else "",
        ),
        SNAKEFILE: SNAKEFILE_TEXT.format(**sizes, gpu=", gpu=1" if gpu else ""),
    }
