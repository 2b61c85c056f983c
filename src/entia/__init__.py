"""entia: simple self-supervised vision pretraining, every table and figure from one params.yaml."""
