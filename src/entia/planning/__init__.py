"""What params.yaml asks for, layer on layer, and whether it can be done."""
