from .augmentation import as_bytes as as_bytes
from .augmentation import random_crops as random_crops
from .dataset import Dataset as Dataset
from .loading import load as load
from .names import present as present
from .splits import About as About
from .splits import Split as Split
from .titles import NAMES as NAMES
