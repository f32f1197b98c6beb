"""Training any Keras model: the loop, updates, checkpoints, weights, and when to stop."""
