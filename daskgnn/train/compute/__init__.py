"""What tasks compute with a model: gradients, updates, exact layers."""
