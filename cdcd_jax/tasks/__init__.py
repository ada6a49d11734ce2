"""What is generated from what: data, codec, condition and metrics of each modality."""
