"""Fine-tune, measure and publish Vision Transformers."""
