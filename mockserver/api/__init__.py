"""The OpenAI routes, over HTTP."""
