"""Who is in train, validation and test, which patients count as labelled, and what may be pretrained on."""
