"""Train, evaluate, publish and export the models."""
