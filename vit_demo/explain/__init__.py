"""The maths of a Vision Transformer made visible: tensors (or a given model) in, tensors out."""
