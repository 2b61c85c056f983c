"""Closed forms and toys of the papers' theory.

Four figures rest on this folder: gradient descent on the penalised multi-view loss (MV-F7), the spectrum of a sampled
augmentation graph (MV-F8), and DIET's linear model, its optimum and its predicted interactions (DIET-F4, DIET-F5).
Neither paper's proofs nor its toy parameters could be read. What is ours is said where it stands.

The papers:
    Agrawal, Ghosh, Oberman, Richards: Harnessing small projectors and multiple views for efficient vision
    pretraining, 2312.10725.
    Ibrahim, Klindt, Balestriero: Occam's razor for self supervised learning, 2406.10743.
"""
