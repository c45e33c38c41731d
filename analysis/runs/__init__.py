"""Recording runs and reading run directories. Imports no other package of `analysis`."""
