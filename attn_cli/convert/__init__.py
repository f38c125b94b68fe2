"""Other projects' models in and out: directories read without running their code."""
