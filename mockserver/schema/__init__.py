"""The wire format of requests and responses, a module for each resource.

Requests are strict: `"20"` is not an integer and an unknown key is an error.
"""
