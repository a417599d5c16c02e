"""Networks over text, graph and cells, of PyTorch and PyG: stage 8 of the program's picture."""
