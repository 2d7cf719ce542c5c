"""Training: fit one net or a population of one architecture; what trained nets say; losses."""

from kit.optimizers import OPTIMIZERS
from kit.training.evaluation import accuracy, evaluate, evaluate_or_nan, logits, predict
from kit.training.fitting import fit
from kit.training.losses import InputGradients, input_gradients, mean_cross_entropy
from kit.training.population import fit_many

__all__ = [
    "OPTIMIZERS",
    "InputGradients",
    "accuracy",
    "evaluate",
    "evaluate_or_nan",
    "fit",
    "fit_many",
    "input_gradients",
    "logits",
    "mean_cross_entropy",
    "predict",
]
