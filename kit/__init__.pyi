# What `import kit` offers; the submodules are loaded on first use (lazy_loader reads this file).
from . import attacks as attacks
from . import checks as checks
from . import data as data
from . import defenses as defenses
from . import divergence as divergence
from . import evolution as evolution
from . import experiments as experiments
from . import explain as explain
from . import gradients as gradients
from . import harness as harness
from . import misalignment as misalignment
from . import neighbors as neighbors
from . import nets as nets
from . import neuroevolution as neuroevolution
from . import perturbations as perturbations
from . import robustness as robustness
from . import runtime as runtime
from . import training as training
from . import watching as watching

__version__: str
