"""What is in a model directory, read without PyTorch: no weight is loaded."""
