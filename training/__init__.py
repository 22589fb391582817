"""Fine-tune, measure and publish Vision Transformers."""

import vit_demo  # noqa: F401  (a command begins there)
