"""The study of neuroevolution with gradient misalignment of Operiano, Pora, Iba & Kera (2021).

A reference net makes adversarial examples. Architectures evolve so that nets with them, trained to
oppose the reference's input gradients, withstand these examples. Everything is repeated from the
reference net on: a run is a reference, a search and all nets that are compared.
"""

from kit.experiments.neuroevolution_gm.plan import plan
from kit.experiments.neuroevolution_gm.roles import BEST, MISALIGNED, REFERENCE, SECOND
from kit.experiments.neuroevolution_gm.settings import STUDY, Settings
from kit.experiments.neuroevolution_gm.tree import Net, Run, Scale

__all__ = [
    "BEST", "MISALIGNED", "REFERENCE", "SECOND", "STUDY", "Net", "Run", "Scale", "Settings", "plan",
]  # fmt: skip
