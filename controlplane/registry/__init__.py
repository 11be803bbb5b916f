"""The registry of tokens: who may charge, in the whole network."""
