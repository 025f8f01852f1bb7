"""The control plane: worlds, time, faults and what happened, over HTTP under `/_mock/`."""
