"""From a trained model to outputs: search, sampling, ensembles."""
