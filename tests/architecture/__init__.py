"""Rules about the code itself: small, fast, and each one a sentence of CONTRIBUTING."""
