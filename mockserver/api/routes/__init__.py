"""The operations of the API: a module for each resource, in the order of the API reference."""
