"""See a Vision Transformer work: the app and the maths behind it."""
