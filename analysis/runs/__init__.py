"""Recording runs and reading run directories. Imports no other room of `analysis`."""
