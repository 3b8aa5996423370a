"""Where images come from: each source lists items, labels and published splits without decoding a pixel."""
