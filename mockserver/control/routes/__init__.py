"""The routes of the control plane: a module for each resource."""
