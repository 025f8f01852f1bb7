"""Containers, Files, uploads and skills for the control plane: find, read, expire, touch and delete them.

A module for each resource has the shapes of its responses, the queries of its lists, and its functions. Reading does not
refresh `last_active_at`. Some changes are not possible through the API: a container can expire at once, and the files of
an expired one can be deleted.
"""
