"""A model server that misbehaves on purpose: the model's name in the request picks what it does."""
