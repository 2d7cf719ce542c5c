"""What worker processes are like."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource

import torch

from kit.harness import processes


def taken_anew(values, tensors):
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        kept = [torch.ones(values) for _ in range(tensors)]
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


processes.keep_memory()
print(sum(taken_anew(*sizes) for sizes in ((25_000, 100), (250_000, 60), (650_000, 30))))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_that_was_freed_is_used_again():
    """Without keep_memory these tensors take some 3,000 pages anew from the system each time."""
    pages = subprocess.check_output([sys.executable, "-c", FAULTS], text=True)
    assert int(pages) < 100
