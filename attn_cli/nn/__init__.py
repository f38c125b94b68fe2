"""The one model core: plain modules that import torch and nothing of ours but their options."""
