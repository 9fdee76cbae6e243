"""How a bundle is made: the only package that uses torch. Needs the extra `train`."""
