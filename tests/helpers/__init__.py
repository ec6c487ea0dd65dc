"""What several test modules share: small models, tokenizers, corpora, studies, and a browser."""
